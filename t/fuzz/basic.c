
/*
 * The caller's Basic header.  Input: the name of a user, NUL, his password,
 * NUL, the value of the header.
 */


#include "ngx_http_token_basic.c"
#include "fuzz.h"


/* RFC 4648, from the text: the value of a Basic header, or none */

static ngx_uint_t
fuzz_decode(fuzz_t *fz, ngx_str_t *header, ngx_str_t *plain)
{
    char        *p;
    size_t       i, len;
    uint32_t     bits;
    ngx_uint_t   n;

    static char  alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789+/";

    if (header->len < 6
        || ngx_strncasecmp(header->data, (u_char *) "Basic ", 6) != 0)
    {
        return 0;
    }

    for (i = 6; i < header->len && header->data[i] == ' '; i++);

    for (len = header->len; len > i && header->data[len - 1] == '='; len--);

    plain->data = ngx_pnalloc(fz->pool, header->len);
    plain->len = 0;
    fuzz_check(plain->data);

    for (bits = 0, n = 0; i < len; i++) {
        p = header->data[i] ? strchr(alphabet, header->data[i]) : NULL;

        if (p == NULL) {
            return 0;
        }

        bits = (bits << 6) | (uint32_t) (p - alphabet);
        n += 6;

        if (n >= 8) {
            n -= 8;
            plain->data[plain->len++] = (u_char) (bits >> n);
        }
    }

    return 1;
}


int
fuzz_one(fuzz_t *fz)
{
    u_char                       *p;
    ngx_int_t                     rc;
    ngx_str_t                     name, password, header, plain, pair;
    ngx_uint_t                    decoded;
    ngx_table_elt_t               h;
    ngx_http_token_user_t        *user;
    ngx_http_token_basic_conf_t   basic;

    name = fuzz_text(fz);
    password = fuzz_text(fz);
    header = fuzz_argument(fz);

    ngx_memzero(&basic, sizeof(ngx_http_token_basic_conf_t));
    ngx_memzero(&h, sizeof(ngx_table_elt_t));

    basic.users = ngx_array_create(fz->pool, 1, sizeof(ngx_http_token_user_t));
    fuzz_check(basic.users);

    user = ngx_array_push(basic.users);
    fuzz_check(user);

    ngx_memzero(user, sizeof(ngx_http_token_user_t));
    user->name = name;

    fuzz_check(ngx_http_token_basic_digest(&name, user->name_digest)
               == NGX_OK);
    fuzz_check(ngx_http_token_basic_digest(&password, user->password_digest)
               == NGX_OK);

    h.value = header;
    fz->request.headers_in.authorization = &h;

    rc = ngx_http_token_basic_check(&fz->request, &basic);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    /* a caller is let in with that name and password alone */

    decoded = fuzz_decode(fz, &header, &plain);

    pair.data = ngx_pnalloc(fz->pool, name.len + 1 + password.len);
    fuzz_check(pair.data);

    p = ngx_cpymem(pair.data, name.data, name.len);
    *p++ = ':';
    p = ngx_cpymem(p, password.data, password.len);
    pair.len = p - pair.data;

    if (rc == NGX_OK) {
        fuzz_check(decoded && fuzz_equal(&plain, &pair));
    }

    /* and whoever he is, his secret is not logged */

    if (password.len >= 12) {
        fuzz_check(!fuzz_contains(&fz->logged, &password));
    }

    /* with it, written as RFC 4648 has it, he is let in */

    plain.len = pair.len;
    header.data = ngx_pnalloc(fz->pool,
                              6 + ngx_base64_encoded_length(pair.len));
    fuzz_check(header.data);

    h.value.data = header.data;
    h.value.len = ngx_cpymem(header.data, "Basic ", 6) - header.data;

    header.data += 6;
    ngx_encode_base64(&header, &pair);
    h.value.len += header.len;

    rc = ngx_http_token_basic_check(&fz->request, &basic);

    fuzz_check(rc == NGX_OK || ngx_strlchr(name.data, name.data + name.len,
                                           ':'));

    return 0;
}
