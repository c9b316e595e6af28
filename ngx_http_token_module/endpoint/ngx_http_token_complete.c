
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What is sent of a token request: its form, which parameters authenticate the
 * client, and, when it is sent, what is in the files that it names, which of
 * two secrets, and the tokens of other locations.
 */


#include "ngx_http_token_endpoint.h"


static ngx_int_t ngx_http_token_read_client(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_uint_t secret);
static ngx_http_token_pair_t *ngx_http_token_read_pairs(ngx_http_request_t *r,
    ngx_http_token_pair_t *pairs, ngx_uint_t n);
static ngx_http_token_pair_t *ngx_http_token_copy_pairs(ngx_pool_t *pool,
    ngx_http_token_pair_t *pairs, ngx_uint_t n);
static ngx_int_t ngx_http_token_copy_token(ngx_pool_t *pool,
    ngx_http_token_pair_t *kv);
static ngx_int_t ngx_http_token_copy_str(ngx_pool_t *pool, ngx_str_t *s);


/* whether a request is authenticated by the client's secret */

ngx_uint_t
ngx_http_token_uses_secret(ngx_http_token_loc_conf_t *tlcf)
{
    return (tlcf->auth.method != NGX_HTTP_TOKEN_AUTH_NONE
            && tlcf->auth.method != NGX_HTTP_TOKEN_CLIENT_ASSERTION
            && tlcf->auth.method != NGX_HTTP_TOKEN_PRIVATE_KEY_JWT);
}


/*
 * token_proxy_bearer in the token location itself: what an outer level says is
 * meant for the locations that pass requests to an API
 */

ngx_uint_t
ngx_http_token_sends_bearer(ngx_http_token_loc_conf_t *tlcf)
{
    return (tlcf->bearer.own && tlcf->bearer.name.len);
}


/*
 * RFC 7521 4.1: a grant's assertion names the client, so there is no need of
 * an id beside it
 */

ngx_uint_t
ngx_http_token_sends_id(ngx_http_token_loc_conf_t *tlcf)
{
    switch (tlcf->auth.method) {

    case NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC:
        return 0;

    case NGX_HTTP_TOKEN_CLIENT_ASSERTION:
        return (tlcf->auth.client_id != NULL);

    case NGX_HTTP_TOKEN_AUTH_NONE:
        return (tlcf->auth.client_id != NULL && tlcf->auth.grant_alg == NULL);

    default:
        return 1;
    }
}


/* the first parameter is the grant type */

ngx_int_t
ngx_http_token_encode_body(ngx_pool_t *pool, ngx_http_token_request_t *request)
{
    u_char                 *p;
    size_t                  len;
    ngx_uint_t              i, n;
    ngx_http_token_pair_t  *kv;

    kv = ngx_palloc(pool, (request->nparams + 4)
                          * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    kv[0] = request->params[0];
    n = 1;

    if (ngx_http_token_sends_id(request->tlcf)) {
        ngx_str_set(&kv[n].name, "client_id");
        kv[n++].value = request->client_id;
    }

    if (request->tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_POST) {
        ngx_str_set(&kv[n].name, "client_secret");
        kv[n++].value = request->secret;
    }

    if (request->tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_ASSERTION) {
        ngx_str_set(&kv[n].name, "client_assertion_type");
        kv[n++].value = request->tlcf->auth.assertion_type;

        ngx_str_set(&kv[n].name, "client_assertion");
        kv[n++].value = request->assertion;
    }

    for (i = 1; i < request->nparams; i++) {
        kv[n++] = request->params[i];
    }

    len = 1;

    for (i = 0; i < n; i++) {
        len += ngx_http_token_form_encode(NULL, &kv[i].name)
               + ngx_http_token_form_encode(NULL, &kv[i].value)
               + sizeof("=&") - 1;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    request->body.data = p;

    for (i = 0; i < n; i++) {

        /* RFC 6749 3.2: one without a value is as good as omitted */

        if (kv[i].value.len == 0) {
            continue;
        }

        if (p != request->body.data) {
            *p++ = '&';
        }

        p = (u_char *) ngx_http_token_form_encode(p, &kv[i].name);
        *p++ = '=';
        p = (u_char *) ngx_http_token_form_encode(p, &kv[i].value);
    }

    request->body.len = p - request->body.data;

    return NGX_OK;
}


ngx_http_token_request_t *
ngx_http_token_complete_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_uint_t secret)
{
    ngx_http_token_request_t   *sent;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    if (!tlcf->deferred) {
        return request;
    }

    sent = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));
    if (sent == NULL) {
        return NULL;
    }

    *sent = *request;

    sent->params = ngx_http_token_read_pairs(r, sent->params, sent->nparams);

    if (sent->params == NULL
        || ngx_http_token_read_client(r, sent, secret) != NGX_OK
        || ngx_http_token_encode_body(r->pool, sent) != NGX_OK)
    {
        return NULL;
    }

    if (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC
        && ngx_http_token_basic_value(r->pool, &sent->client_id, &sent->secret,
                                      tlcf->auth.form, &sent->authorization)
           != NGX_OK)
    {
        return NULL;
    }

    if (sent->bearer.token
        && ngx_http_token_bearer_value(r->pool, &tlcf->bearer.scheme,
                                       &sent->bearer.value,
                                       &sent->bearer_value)
           != NGX_OK)
    {
        return NULL;
    }

    if (tlcf->auth.grant_alg == NULL) {
        return sent;
    }

    sent->claim_values = ngx_http_token_read_pairs(r, sent->claim_values,
                                                   sent->nclaim_values);

    if (sent->claim_values == NULL
        || ngx_http_token_write_claims(r->pool, sent->claim_values,
                                       sent->nclaim_values, &sent->claims)
           != NGX_OK)
    {
        return NULL;
    }

    return sent;
}


static ngx_int_t
ngx_http_token_read_client(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_uint_t secret)
{
    ngx_http_token_value_t      *value;
    ngx_http_token_auth_conf_t  *auth;

    auth = &request->tlcf->auth;

    if (auth->client_id && auth->client_id->file
        && ngx_http_token_watch_text(auth->client_id->file, r,
                                     &request->client_id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (auth->method == NGX_HTTP_TOKEN_CLIENT_ASSERTION) {
        return auth->assertion->file
               ? ngx_http_token_watch_text(auth->assertion->file, r,
                                           &request->assertion)
               : NGX_OK;
    }

    if (!ngx_http_token_uses_secret(request->tlcf)) {
        return NGX_OK;
    }

    value = auth->client_secret;

    if (secret == NGX_HTTP_TOKEN_SECOND_SECRET) {
        value = auth->second_secret;
        request->secret = request->second_secret;
    }

    return value->file
           ? ngx_http_token_watch_text(value->file, r, &request->secret)
           : NGX_OK;
}


ngx_uint_t
ngx_http_token_request_secrets(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *secrets)
{
    ngx_uint_t                   i, n;
    ngx_http_token_value_t      *values[2];
    ngx_http_token_auth_conf_t  *auth;

    if (!ngx_http_token_uses_secret(request->tlcf)) {
        return 0;
    }

    auth = &request->tlcf->auth;

    values[0] = auth->client_secret;
    values[1] = auth->second_secret;

    secrets[0] = request->secret;
    secrets[1] = request->second_secret;

    n = auth->second_secret ? 2 : 1;

    for (i = 0; i < n; i++) {
        if (values[i]->file
            && ngx_http_token_watch_text(values[i]->file, r, &secrets[i])
               != NGX_OK)
        {
            return 0;
        }
    }

    return n;
}


static ngx_http_token_pair_t *
ngx_http_token_read_pairs(ngx_http_request_t *r, ngx_http_token_pair_t *pairs,
    ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_http_token_pair_t  *kv;

    kv = ngx_palloc(r->pool, n * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NULL;
    }

    ngx_memcpy(kv, pairs, n * sizeof(ngx_http_token_pair_t));

    for (i = 0; i < n; i++) {
        if (kv[i].file
            && ngx_http_token_watch_text(kv[i].file, r, &kv[i].value)
               != NGX_OK)
        {
            return NULL;
        }
    }

    return kv;
}


ngx_int_t
ngx_http_token_copy_request(ngx_pool_t *pool, ngx_http_token_request_t *dst,
    ngx_http_token_request_t *src)
{
    ngx_str_t   *s;
    ngx_uint_t   i;

    static size_t  offsets[] = {
        offsetof(ngx_http_token_request_t, endpoint),
        offsetof(ngx_http_token_request_t, authorization),
        offsetof(ngx_http_token_request_t, body),
        offsetof(ngx_http_token_request_t, client_id),
        offsetof(ngx_http_token_request_t, secret),
        offsetof(ngx_http_token_request_t, second_secret),
        offsetof(ngx_http_token_request_t, assertion),
        offsetof(ngx_http_token_request_t, audience),
        offsetof(ngx_http_token_request_t, claims)
    };

    *dst = *src;

    ngx_str_null(&dst->inputs);

    if (src->tlcf->constant) {
        return NGX_OK;
    }

    for (i = 0; i < sizeof(offsets) / sizeof(size_t); i++) {
        s = (ngx_str_t *) ((u_char *) dst + offsets[i]);

        if (ngx_http_token_copy_str(pool, s) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (src->digest) {
        dst->digest = ngx_pnalloc(pool, NGX_HTTP_TOKEN_DIGEST_LEN);
        if (dst->digest == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(dst->digest, src->digest, NGX_HTTP_TOKEN_DIGEST_LEN);
    }

    /* it may be made once more when the caller has gone */

    dst->params = ngx_http_token_copy_pairs(pool, src->params, src->nparams);
    dst->claim_values = ngx_http_token_copy_pairs(pool, src->claim_values,
                                                  src->nclaim_values);

    if (dst->params == NULL || dst->claim_values == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_token_copy_token(pool, &dst->bearer);
}


static ngx_http_token_pair_t *
ngx_http_token_copy_pairs(ngx_pool_t *pool, ngx_http_token_pair_t *pairs,
    ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_http_token_pair_t  *kv;

    kv = ngx_palloc(pool, (n + 1) * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        kv[i] = pairs[i];

        if (ngx_http_token_copy_str(pool, &kv[i].value) != NGX_OK
            || ngx_http_token_copy_token(pool, &kv[i]) != NGX_OK)
        {
            return NULL;
        }
    }

    return kv;
}


static ngx_int_t
ngx_http_token_copy_token(ngx_pool_t *pool, ngx_http_token_pair_t *kv)
{
    ngx_http_token_request_t  *token;

    token = kv->token;

    if (token == NULL || token->tlcf->digest) {
        return NGX_OK;
    }

    kv->token = ngx_palloc(pool, sizeof(ngx_http_token_request_t));
    if (kv->token == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_token_copy_request(pool, kv->token, token);
}


static ngx_int_t
ngx_http_token_copy_str(ngx_pool_t *pool, ngx_str_t *s)
{
    if (s->len) {
        s->data = ngx_pstrdup(pool, s);
    }

    return (s->len == 0 || s->data) ? NGX_OK : NGX_ERROR;
}
