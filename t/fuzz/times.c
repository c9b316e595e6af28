
/*
 * Retry-After, and lifetimes.  Input: the name of a header, NUL, its value,
 * which is taken for expires_in and expires_at, as a string and as a number,
 * for an access token, and for the claims of one.
 */


#include "ngx_http_token_result.c"
#include "fuzz.h"


static void
fuzz_lifetime(fuzz_t *fz, char *format, ngx_str_t *value)
{
    u_char       *p;
    int64_t       lifetime;
    ngx_str_t     text;
    ngx_array_t  *members;

    p = ngx_pnalloc(fz->pool, value->len + 64);
    fuzz_check(p);

    text.data = p;
    text.len = ngx_sprintf(p, format, value) - p;

    if (ngx_http_token_json_parse(fz->pool, &text, &members) != NGX_OK) {
        return;
    }

    if (ngx_http_token_json_find(members, "access_token")
        && !ngx_http_token_json_find(members, "access_token")->is_string)
    {
        return;
    }

    lifetime = ngx_http_token_lifetime(fz->pool, members);

    fuzz_check(lifetime >= -1 && lifetime <= 315360000000);
}


static void
fuzz_claims(fuzz_t *fz, ngx_str_t *claims)
{
    u_char     *p;
    ngx_str_t   jwt, payload;

    payload.data = ngx_pnalloc(fz->pool,
                               ngx_base64_encoded_length(claims->len));
    p = ngx_pnalloc(fz->pool, ngx_base64_encoded_length(claims->len) + 8);

    fuzz_check(payload.data && p);

    ngx_encode_base64url(&payload, claims);

    jwt.data = p;
    jwt.len = ngx_sprintf(p, "e30.%V.x", &payload) - p;

    fuzz_lifetime(fz, "{\"access_token\":\"%V\"}", &jwt);
}


int
fuzz_one(fuzz_t *fz)
{
    size_t                i;
    time_t                seconds;
    ngx_str_t             name, value;
    ngx_uint_t            n;
    ngx_table_elt_t      *h;
    ngx_http_upstream_t   upstream;

    name = fuzz_argument(fz);
    value = fuzz_argument(fz);

    ngx_memzero(&upstream, sizeof(ngx_http_upstream_t));

    fuzz_check(ngx_list_init(&upstream.headers_in.headers, fz->pool, 1,
                             sizeof(ngx_table_elt_t))
               == NGX_OK);

    for (i = 0; i < 3; i++) {
        h = ngx_list_push(&upstream.headers_in.headers);
        fuzz_check(h);

        ngx_memzero(h, sizeof(ngx_table_elt_t));
        h->hash = 1;

        ngx_str_set(&h->key, "Date");

        if (i == 1) {
            h->key = name;
        }

        if (i == 2) {
            ngx_str_set(&h->key, "retry-after");
        }

        h->value = value;
    }

    fz->request.upstream = &upstream;

    seconds = ngx_http_token_retry_after(&fz->request);

    fuzz_check(seconds >= 0 && seconds <= 3600);

    /* a plain number is that number */

    for (n = 0, i = 0; i < value.len && n <= 3600; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            break;
        }

        n = n * 10 + (value.data[i] - '0');
    }

    if (value.len && i == value.len) {
        fuzz_check(seconds == (time_t) ngx_min(n, 3600));
    }

    fuzz_lifetime(fz, "{\"expires_in\":%V}", &value);
    fuzz_lifetime(fz, "{\"expires_in\":\"%V\"}", &value);
    fuzz_lifetime(fz, "{\"expires_at\":%V}", &value);
    fuzz_lifetime(fz, "{\"expires_on\":\"%V\"}", &value);
    fuzz_lifetime(fz, "{\"access_token\":\"%V\"}", &value);
    fuzz_claims(fz, &value);

    return 0;
}
