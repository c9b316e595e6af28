
/*
 * A caller's form with a refresh token.  Input: the form.
 */


#include "ngx_http_token_form.c"
#include "fuzz.h"


/* what comes back is what RFC 6749 allows, and survives a way there and back */

static void
fuzz_value(fuzz_t *fz, ngx_str_t *value)
{
    size_t     i;
    ngx_str_t  encoded, decoded;

    for (i = 0; i < value->len; i++) {
        fuzz_check(value->data[i] >= 0x20 && value->data[i] <= 0x7e);
    }

    encoded.len = ngx_http_token_form_encode(NULL, value);
    encoded.data = ngx_pnalloc(fz->pool, ngx_max(encoded.len, 1));
    decoded.data = ngx_pnalloc(fz->pool, ngx_max(encoded.len, 1));
    fuzz_check(encoded.data && decoded.data);

    (void) ngx_http_token_form_encode(encoded.data, value);

    fuzz_check(ngx_http_token_form_valid(&encoded));

    decoded.len = ngx_http_token_form_decode(decoded.data, &encoded)
                  - decoded.data;

    fuzz_check(fuzz_equal(value, &decoded));
}


int
fuzz_one(fuzz_t *fz)
{
    ngx_str_t               text;
    ngx_http_token_grant_t  grant;

    text = fuzz_rest(fz);

    fuzz_check(ngx_http_token_form_parse(fz->pool, &text, &grant) == NGX_OK);

    if (!grant.malformed) {
        fuzz_value(fz, &grant.type);
        fuzz_value(fz, &grant.token);
        fuzz_value(fz, &grant.scope);
    }

    return 0;
}
