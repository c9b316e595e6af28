
/*
 * What an answer of the endpoint without a token says, as it goes to the log.
 * Input: the client's secret, NUL, its id, NUL, the value of a parameter, NUL,
 * the value of its headers, NUL, the body.
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


/* the labels are constant, and may contain what is short */

static void
fuzz_hidden(ngx_str_t *said, ngx_str_t *secret)
{
    size_t  i;

    if (secret->len < sizeof(", Content-Encoding: ")) {
        return;
    }

    /* a secret of letters that were replaced may be in it by chance */

    for (i = 0; i < secret->len; i++) {
        if (secret->data[i] == '?') {
            return;
        }
    }

    fuzz_check(!fuzz_contains(said, secret));
}


static void
fuzz_header(fuzz_t *fz, ngx_list_t *headers, char *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(headers);
    fuzz_check(h);

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;
}


int
fuzz_one(fuzz_t *fz)
{
    size_t                     i;
    ngx_str_t                  id, secret, param, header, body, said, basic;
    ngx_uint_t                 status;
    ngx_array_t               *members;
    ngx_http_upstream_t        upstream;
    ngx_http_token_fetch_t     fetch;
    ngx_http_token_request_t   request, sent;

    static ngx_uint_t  statuses[] = { 200, 302, 401, 500 };

    secret = fuzz_text(fz);
    id = fuzz_text(fz);
    param = fuzz_text(fz);
    header = fuzz_text(fz);
    body = fuzz_rest(fz);

    ngx_memzero(&request, sizeof(ngx_http_token_request_t));

    fuzz_check(ngx_http_token_basic_value(fz->pool, &id, &secret, 0,
                                          &request.authorization)
               == NGX_OK);

    request.tlcf = &fz->tlcf;
    request.secret = secret;
    request.body = fuzz_pair(fz, "grant_type=password&assertion", &param);
    request.endpoint = fuzz_pair(fz, "https://id/token?code", &id);

    sent = request;

    ngx_memzero(&upstream, sizeof(ngx_http_upstream_t));

    fuzz_check(ngx_list_init(&upstream.headers_in.headers, fz->pool, 4,
                             sizeof(ngx_table_elt_t))
               == NGX_OK);

    fuzz_header(fz, &upstream.headers_in.headers, "Location", &header);
    fuzz_header(fz, &upstream.headers_in.headers, "Date", &header);

    if (header.len & 1) {
        fuzz_header(fz, &upstream.headers_in.headers, "Content-Encoding",
                    &header);
    }

    fz->request.upstream = &upstream;

    ngx_memzero(&fetch, sizeof(ngx_http_token_fetch_t));

    fetch.request = &request;
    fetch.sent = (body.len & 1) ? &request : &sent;
    fetch.subrequest = &fz->request;
    fetch.outcome = NGX_HTTP_TOKEN_REFUSED;

    status = statuses[(secret.len + param.len) % 4];
    fetch.upstream_status = status;

    if (ngx_http_token_json_parse(fz->pool, &body, &members) != NGX_OK) {
        members = NULL;
    }

    said.data = ngx_http_token_endpoint_said(&fz->request, &fetch, &body,
                                             members);
    said.len = ngx_strlen(said.data);

    for (i = 0; i < said.len; i++) {
        fuzz_check(said.data[i] >= 0x20 && said.data[i] <= 0x7e);
    }

    fuzz_check(said.len == 0 || ngx_strncmp(said.data, ", ", 2) == 0);

    basic = request.authorization;
    basic.data += sizeof("Basic ") - 1;
    basic.len -= sizeof("Basic ") - 1;

    fuzz_hidden(&said, &secret);
    fuzz_hidden(&said, &param);
    fuzz_hidden(&said, &id);
    fuzz_hidden(&said, &basic);

    if (members) {
        (void) ngx_http_token_is_error(members);
    }

    return 0;
}
