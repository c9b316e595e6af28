
/*
 * What an error answer of the endpoint says, as it goes to the log.  Input:
 * the client's secret, NUL, its id, NUL, the value of a parameter, NUL, the
 * answer.
 */


#include "fuzz.h"


static ngx_str_t
fuzz_pair(fuzz_t *fz, char *name, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   text;

    text.data = ngx_pnalloc(fz->pool, ngx_strlen(name) + 1
                                      + ngx_http_token_form_encode(NULL,
                                                                   value));
    fuzz_check(text.data);

    p = ngx_cpymem(text.data, name, ngx_strlen(name));
    *p++ = '=';
    p = (u_char *) ngx_http_token_form_encode(p, value);

    text.len = p - text.data;

    return text;
}


int
fuzz_one(fuzz_t *fz)
{
    size_t                     i;
    u_char                    *p;
    ngx_str_t                  id, secret, param, text, said, basic;
    ngx_array_t               *members;
    ngx_http_token_request_t   request;

    secret = fuzz_text(fz);
    id = fuzz_text(fz);
    param = fuzz_text(fz);
    text = fuzz_rest(fz);

    ngx_memzero(&request, sizeof(ngx_http_token_request_t));

    fuzz_check(ngx_http_token_basic_value(fz->pool, &id, &secret, 0,
                                          &request.authorization)
               == NGX_OK);

    request.tlcf = &fz->tlcf;
    request.secret = secret;

    request.body = fuzz_pair(fz, "grant_type=password&assertion", &param);

    if (ngx_http_token_json_parse(fz->pool, &text, &members) != NGX_OK) {
        members = NULL;
    }

    said = ngx_http_token_endpoint_error(&fz->request, &request, members, "error");

    if (members == NULL) {
        fuzz_check(said.len == 0);
    }

    fuzz_check(said.len <= 200);

    for (i = 0; i < said.len; i++) {
        fuzz_check(said.data[i] >= 0x20 && said.data[i] <= 0x7e);
    }

    if (said.len == 0
        || (said.len == sizeof("(not shown)") - 1
            && ngx_memcmp(said.data, "(not shown)", said.len) == 0))
    {
        return 0;
    }

    /* a secret of letters that were replaced cannot be in it by chance only */

    for (p = secret.data; p < secret.data + secret.len && *p != '?'; p++);

    if (secret.len && p == secret.data + secret.len) {
        fuzz_check(!fuzz_contains(&said, &secret));
    }

    for (p = param.data; p < param.data + param.len && *p != '?'; p++);

    if (param.len && p == param.data + param.len) {
        fuzz_check(!fuzz_contains(&said, &param));
    }

    basic = request.authorization;
    basic.data += sizeof("Basic ") - 1;
    basic.len -= sizeof("Basic ") - 1;

    fuzz_check(!fuzz_contains(&said, &basic));

    return 0;
}
