
/*
 * Origins: their normal form, and lists of them.  Input: an origin, NUL, the
 * origins of a list, each with a NUL behind it.
 */


#include "fuzz.h"


static ngx_uint_t
fuzz_normalize(fuzz_t *fz, ngx_str_t *text, ngx_str_t *origin)
{
    origin->data = ngx_pnalloc(fz->pool, ngx_max(text->len, 1));
    fuzz_check(origin->data);

    return ngx_http_token_origin_normalize(text, origin) == NULL;
}


int
fuzz_one(fuzz_t *fz)
{
    size_t                     i;
    u_char                     ch;
    ngx_str_t                  text, origin, again, listed, *directive;
    ngx_uint_t                 normal, wanted, n;
    ngx_conf_t                 cf;
    ngx_http_token_origins_t  *origins;

    text = fuzz_text(fz);

    normal = fuzz_normalize(fz, &text, &origin);

    if (normal) {
        fuzz_check(origin.len && origin.len <= text.len);

        for (i = 0; i < origin.len; i++) {
            ch = origin.data[i];

            fuzz_check((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
                       || ngx_strlchr((u_char *) ":/[].-_+",
                                      (u_char *) ":/[].-_+" + 8, ch));
        }

        fuzz_check(fuzz_normalize(fz, &origin, &again));
        fuzz_check(fuzz_equal(&origin, &again));
    }

    ngx_memzero(&cf, sizeof(ngx_conf_t));

    cf.args = ngx_array_create(fz->pool, 1, sizeof(ngx_str_t));
    fuzz_check(cf.args);

    directive = ngx_array_push(cf.args);
    ngx_str_set(directive, "token_proxy_cors_origin");

    cf.pool = fz->pool;
    cf.log = &fz->log;

    origins = ngx_http_token_origins_create(&cf);
    fuzz_check(origins);

    /* the list allows what one of it is equal to, and nothing else */

    wanted = 0;

    for (n = 0; n < 8 && fz->size; n++) {
        listed = fuzz_argument(fz);

        if (listed.len && (listed.data[0] == '~' || listed.data[0] == '*')) {
            continue;
        }

        if (ngx_http_token_origins_add(&cf, origins, &listed) != NGX_CONF_OK) {
            continue;
        }

        fuzz_check(fuzz_normalize(fz, &listed, &again));

        if (normal && fuzz_equal(&origin, &again)) {
            wanted = 1;
        }
    }

    if (ngx_http_token_origins_init(&cf, origins) != NGX_CONF_OK) {
        return 0;
    }

    if (normal) {
        fuzz_check(ngx_http_token_origins_match(origins, &origin, &fz->log)
                   == wanted);
    }

    return 0;
}
