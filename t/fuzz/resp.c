
/*
 * Replies of a Redis server, from anything that listens there: whatever comes,
 * in whatever pieces, is one reply, or not yet one, or none, and what is taken
 * for one is inside of it and within its bounds.
 */


#include "fuzz.h"


static void fuzz_reply(ngx_str_t *text, ngx_http_token_resp_t *resp);


int
fuzz_one(fuzz_t *fz)
{
    size_t                  n;
    ngx_int_t               rc, part;
    ngx_str_t               text, piece;
    ngx_http_token_resp_t  *resp, *cut;

    text = fuzz_rest(fz);

    resp = ngx_palloc(fz->pool, sizeof(ngx_http_token_resp_t));
    cut = ngx_palloc(fz->pool, sizeof(ngx_http_token_resp_t));

    fuzz_check(resp && cut);

    rc = ngx_http_token_resp_parse(&text, resp);

    fuzz_check(rc == NGX_OK || rc == NGX_AGAIN || rc == NGX_ERROR);

    if (rc == NGX_OK) {
        fuzz_reply(&text, resp);
    }

    /* a text that begins like it, in memory that ends with it */

    for (n = 0; n < text.len && n < 64; n++) {

        piece.len = n;
        piece.data = malloc(ngx_max(n, 1));
        fuzz_check(piece.data);

        ngx_memcpy(piece.data, text.data, n);

        part = ngx_http_token_resp_parse(&piece, cut);

        if (part == NGX_OK) {
            fuzz_check(rc == NGX_OK && cut->size == resp->size);
            fuzz_reply(&piece, cut);

        } else if (part == NGX_ERROR) {
            fuzz_check(rc == NGX_ERROR);

        } else {
            fuzz_check(rc != NGX_OK || n < resp->size);
        }

        free(piece.data);
    }

    return 0;
}


static void
fuzz_reply(ngx_str_t *text, ngx_http_token_resp_t *resp)
{
    size_t                        i;
    ngx_str_t                     code;
    ngx_uint_t                    n;
    ngx_http_token_resp_value_t  *value;

    fuzz_check(resp->size && resp->size <= text->len);
    fuzz_check(resp->nvalues && resp->nvalues <= NGX_HTTP_TOKEN_RESP_VALUES);

    for (n = 0; n < resp->nvalues; n++) {
        value = &resp->values[n];

        fuzz_check(ngx_strchr("+-:$*", value->type) && value->type);
        fuzz_check(value->text.len <= NGX_HTTP_TOKEN_RESP_BULK);

        if (value->null) {
            fuzz_check(value->type == '$' || value->type == '*');
            continue;
        }

        fuzz_check(value->text.data >= text->data
                   && value->text.data + value->text.len
                      <= text->data + resp->size);
    }

    code = ngx_http_token_resp_error(resp);

    fuzz_check((code.len != 0) == (resp->values[0].type == '-'));
    fuzz_check(code.len <= NGX_HTTP_TOKEN_RESP_CODE);

    for (i = 0; i < code.len; i++) {
        fuzz_check(code.data[i] >= 'A' && code.data[i] <= 'Z');
    }
}
