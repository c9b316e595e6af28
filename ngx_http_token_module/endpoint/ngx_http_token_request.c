
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token request: its constant parts, made when the configuration has been
 * read, and the parts that are evaluated for a caller.
 */


#include "ngx_http_token_endpoint.h"


static ngx_uint_t ngx_http_token_request_init_client(
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_request_init_body(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_uint_t client);
static ngx_int_t ngx_http_token_evaluate_client(ngx_http_request_t *r,
    ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_evaluate_secret(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_value_t *value,
    ngx_str_t *text);
static ngx_int_t ngx_http_token_evaluate_audience(ngx_http_request_t *r,
    ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_check_value(ngx_http_request_t *r,
    char *directive, char *wrong);
static ngx_int_t ngx_http_token_evaluate_body(ngx_http_request_t *r,
    ngx_pool_t *pool, ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_evaluate_param(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_param_t *param,
    ngx_str_t *text);
static ngx_int_t ngx_http_token_evaluate_tokens(ngx_http_request_t *r,
    ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_evaluate_token(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_pair_t *kv);
static ngx_uint_t ngx_http_token_has_tokens(ngx_http_token_loc_conf_t *tlcf);
static ngx_uint_t ngx_http_token_has_files(ngx_http_token_loc_conf_t *tlcf);
static ngx_uint_t ngx_http_token_is_file(ngx_http_token_value_t *value);


char *
ngx_http_token_request_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t                 client;
    ngx_http_token_request_t  *request;

    request = &tlcf->request;

    request->tlcf = tlcf;

    if (tlcf->endpoint->lengths == NULL) {
        request->endpoint = tlcf->endpoint->value;
    }

    if (tlcf->auth.audience && tlcf->auth.audience->lengths == NULL) {
        request->audience = tlcf->auth.audience->value;
    }

    client = ngx_http_token_request_init_client(tlcf);

    tlcf->chained = ngx_http_token_has_tokens(tlcf);

    tlcf->deferred = (ngx_http_token_has_files(tlcf) || tlcf->chained
                      || tlcf->auth.second_secret != NULL);

    if (client && tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC
        && ngx_http_token_basic_value(cf->pool, &request->client_id,
                                      &request->secret, tlcf->auth.form,
                                      &request->authorization)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_request_init_body(cf, tlcf, client) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    tlcf->constant = (client && request->endpoint.data && request->body.data
                      && (tlcf->auth.audience == NULL
                          || request->audience.data));

    if (tlcf->auth.grant_alg) {

        if (tlcf->constant && ngx_http_token_claims_constant(tlcf)
            && ngx_http_token_evaluate_claims(NULL, cf->pool, request)
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        tlcf->constant = (request->claims.data != NULL);
    }

    return NGX_CONF_OK;
}


/* returns 1 if the client's values are constant, which need no request */

static ngx_uint_t
ngx_http_token_request_init_client(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t                   i;
    ngx_http_token_request_t    *request;
    ngx_http_token_auth_conf_t  *auth;

    struct {
        ngx_http_token_value_t  *value;
        ngx_str_t               *text;
    } parts[4];

    auth = &tlcf->auth;
    request = &tlcf->request;

    parts[0].value = auth->client_id;
    parts[0].text = &request->client_id;
    parts[1].value = ngx_http_token_uses_secret(tlcf) ? auth->client_secret
                                                      : NULL;
    parts[1].text = &request->secret;
    parts[2].value = auth->second_secret;
    parts[2].text = &request->second_secret;
    parts[3].value = auth->assertion;
    parts[3].text = &request->assertion;

    for (i = 0; i < 4; i++) {
        if (parts[i].value && parts[i].value->complex) {
            return 0;
        }
    }

    for (i = 0; i < 4; i++) {
        if (parts[i].value) {
            (void) ngx_http_token_evaluate_value(NULL, tlcf, parts[i].value,
                                                 parts[i].text);
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_token_request_init_body(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_uint_t client)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    if (!client && tlcf->auth.method != NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC) {
        return NGX_OK;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (param[i].value.complex) {
            return NGX_OK;
        }
    }

    return ngx_http_token_evaluate_body(NULL, cf->pool, &tlcf->request);
}


ngx_http_token_request_t *
ngx_http_token_make_request(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *inputs)
{
    ngx_http_token_request_t  *request;

    if (tlcf->constant && inputs->len == 0) {
        return &tlcf->request;
    }

    request = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));

    if (request == NULL
        || ngx_http_token_evaluate(r, tlcf, request) != NGX_OK)
    {
        return NULL;
    }

    request->inputs = *inputs;

    return request;
}


ngx_int_t
ngx_http_token_evaluate(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_request_t *request)
{
    ngx_int_t    rc;
    ngx_log_t   *log;
    ngx_uint_t   level;

    /* what is in files is read, and tokens are got, when it is sent */

    *request = tlcf->request;

    if (tlcf->constant) {
        return NGX_OK;
    }

    log = r->connection->log;

    level = ngx_http_token_debug_off(log);

    rc = ngx_http_complex_value(r, tlcf->endpoint, &request->endpoint);

    if (rc == NGX_OK) {
        rc = ngx_http_token_evaluate_client(r, request);
    }

    if (rc == NGX_OK && tlcf->auth.assertion) {
        rc = ngx_http_token_evaluate_secret(r, tlcf, tlcf->auth.assertion,
                                            &request->assertion);
    }

    if (rc == NGX_OK && tlcf->auth.audience) {
        rc = ngx_http_token_evaluate_audience(r, request);
    }

    if (rc == NGX_OK && request->body.data == NULL) {
        rc = ngx_http_token_evaluate_body(r, r->pool, request);
    }

    if (rc == NGX_OK && tlcf->chained) {
        rc = ngx_http_token_evaluate_tokens(r, request);
    }

    if (rc == NGX_OK && tlcf->auth.grant_alg) {
        rc = ngx_http_token_evaluate_claims(r, r->pool, request);
    }

    log->log_level = level;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (request->authorization.data == NULL
        && tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC)
    {
        return ngx_http_token_basic_value(r->pool, &request->client_id,
                                          &request->secret, tlcf->auth.form,
                                          &request->authorization);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_evaluate_client(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    char                       *wrong;
    ngx_str_t                  *id;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;
    id = &request->client_id;
    wrong = NULL;

    if (tlcf->auth.client_id == NULL) {
        return NGX_OK;
    }

    if (ngx_http_token_evaluate_value(r, tlcf, tlcf->auth.client_id, id)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* what is constant, or in a file, has been checked */

    if (tlcf->auth.client_id->complex) {
        wrong = ngx_http_token_check_credential(id);
    }

    if (wrong == NULL && tlcf->auth.client_id->complex
        && tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC
        && !tlcf->auth.form
        && ngx_strlchr(id->data, id->data + id->len, ':'))
    {
        wrong = "contains a colon";
    }

    if (ngx_http_token_check_value(r, "token_proxy_client_id", wrong)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_http_token_uses_secret(tlcf)) {
        return NGX_OK;
    }

    if (ngx_http_token_evaluate_secret(r, tlcf, tlcf->auth.client_secret,
                                       &request->secret)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return tlcf->auth.second_secret
           ? ngx_http_token_evaluate_secret(r, tlcf, tlcf->auth.second_secret,
                                            &request->second_secret)
           : NGX_OK;
}


static ngx_int_t
ngx_http_token_evaluate_secret(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_value_t *value,
    ngx_str_t *text)
{
    char  *wrong;

    if (ngx_http_token_evaluate_value(r, tlcf, value, text) != NGX_OK) {
        return NGX_ERROR;
    }

    wrong = value->complex ? ngx_http_token_check_credential(text) : NULL;

    return ngx_http_token_check_value(r, (value == tlcf->auth.assertion)
                                             ? "token_proxy_client_assertion"
                                             : "token_proxy_client_secret",
                                      wrong);
}


static ngx_int_t
ngx_http_token_evaluate_audience(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    char  *wrong;

    if (ngx_http_complex_value(r, request->tlcf->auth.audience,
                               &request->audience)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    wrong = ngx_http_token_check_credential(&request->audience);

    return ngx_http_token_check_value(r, "token_proxy_assertion_audience",
                                      wrong);
}


/* logs what is wrong with a value, if anything is */

static ngx_int_t
ngx_http_token_check_value(ngx_http_request_t *r, char *directive, char *wrong)
{
    if (wrong == NULL) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "the value of \"%s\" %s", directive, wrong);

    return NGX_ERROR;
}


/* r is NULL while the configuration is read: then all values are constant */

static ngx_int_t
ngx_http_token_evaluate_body(ngx_http_request_t *r, ngx_pool_t *pool,
    ngx_http_token_request_t *request)
{
    ngx_uint_t                  i, n;
    ngx_http_token_pair_t      *kv;
    ngx_http_token_param_t     *param;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    kv = ngx_pcalloc(pool, (tlcf->params->nelts + 1)
                           * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&kv[0].name, "grant_type");
    kv[0].value = tlcf->grant_type;

    if (ngx_http_token_equals(&tlcf->grant_type, "off")) {
        ngx_str_null(&kv[0].value);
    }

    n = 1;

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {

        if (ngx_http_token_evaluate_param(r, tlcf, &param[i], &kv[n].value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        kv[n].file = param[i].value.file;
        kv[n++].name = param[i].name;
    }

    request->params = kv;
    request->nparams = n;

    return ngx_http_token_encode_body(pool, request);
}


ngx_int_t
ngx_http_token_refresh_body(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_http_token_grant_t *grant)
{
    ngx_int_t                   rc;
    ngx_log_t                  *log;
    ngx_uint_t                  i, n, level;
    ngx_http_token_pair_t      *kv;
    ngx_http_token_param_t     *param;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    kv = ngx_pcalloc(r->pool, (tlcf->params->nelts + 3)
                              * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    request->refresh_grant = grant->scope.len ? NGX_HTTP_TOKEN_GRANT_SCOPE
                                              : NGX_HTTP_TOKEN_GRANT_PLAIN;

    ngx_str_set(&kv[0].name, "grant_type");
    kv[0].value = grant->type;

    ngx_str_set(&kv[1].name, "refresh_token");
    kv[1].value = grant->token;

    ngx_str_set(&kv[2].name, "scope");
    kv[2].value = grant->scope;

    n = 3;
    rc = NGX_OK;

    log = r->connection->log;
    level = ngx_http_token_debug_off(log);

    /* what the user has written of the client's authentication */

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts && rc == NGX_OK; i++) {

        if (ngx_strncmp(param[i].name.data, "client_", 7) == 0) {
            kv[n].name = param[i].name;
            kv[n].file = param[i].value.file;
            kv[n].token = request->params[i + 1].token;
            rc = ngx_http_token_evaluate_param(r, tlcf, &param[i],
                                               &kv[n++].value);
        }
    }

    log->log_level = level;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    request->params = kv;
    request->nparams = n;

    return ngx_http_token_encode_body(r->pool, request);
}


static ngx_int_t
ngx_http_token_evaluate_param(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_param_t *param,
    ngx_str_t *text)
{
    if (ngx_http_token_evaluate_value(r, tlcf, &param->value, text)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* what is constant, or in a file, has been checked */

    if (tlcf->format != NGX_HTTP_TOKEN_FORMAT_JSON
        || param->value.complex == NULL || ngx_http_token_is_utf8(text))
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "the value of parameter \"%V\" of \"token_proxy_param\" "
                  "is not UTF-8", &param->name);

    return NGX_ERROR;
}


/* the token requests of the locations whose tokens the request needs */

static ngx_int_t
ngx_http_token_evaluate_tokens(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_uint_t                  i;
    ngx_http_token_pair_t      *kv;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    /* what is constant belongs to the configuration */

    kv = ngx_palloc(r->pool, request->nparams * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(kv, request->params,
               request->nparams * sizeof(ngx_http_token_pair_t));

    request->params = kv;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (ngx_http_token_evaluate_token(r, tlcf->tokens[i], &kv[i + 1])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_token_evaluate_token(r, tlcf->bearer_token,
                                         &request->bearer);
}


static ngx_int_t
ngx_http_token_evaluate_token(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_pair_t *kv)
{
    if (tlcf == NULL) {
        return NGX_OK;
    }

    if (tlcf->digest) {
        kv->token = &tlcf->request;
        return NGX_OK;
    }

    kv->token = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));

    if (kv->token == NULL
        || ngx_http_token_evaluate(r, tlcf, kv->token) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* when it is fetched, the caller may have gone */

    kv->token->digest = ngx_http_token_request_digest(r, kv->token);

    return kv->token->digest ? NGX_OK : NGX_ERROR;
}


void
ngx_http_token_request_init_tokens(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t                  i, n;
    ngx_http_token_loc_conf_t  *inner;

    n = tlcf->params->nelts;

    for (i = 0; i <= n; i++) {
        inner = (i < n) ? tlcf->tokens[i] : tlcf->bearer_token;

        if (inner && inner->digest == NULL) {
            tlcf->constant = 0;
            return;
        }

        if (inner && tlcf->constant) {
            (i < n ? &tlcf->request.params[i + 1]
                   : &tlcf->request.bearer)->token = &inner->request;
        }
    }
}


/* whether the token of another location is sent */

static ngx_uint_t
ngx_http_token_has_tokens(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (param[i].value.is_token) {
            return 1;
        }
    }

    return ngx_http_token_sends_bearer(tlcf);
}


/* whether something that is sent is in a file that is read again */

static ngx_uint_t
ngx_http_token_has_files(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    if (ngx_http_token_is_file(tlcf->auth.client_id)
        || ngx_http_token_is_file(tlcf->auth.assertion)
        || ngx_http_token_is_file(tlcf->auth.second_secret)
        || (ngx_http_token_uses_secret(tlcf)
            && ngx_http_token_is_file(tlcf->auth.client_secret)))
    {
        return 1;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (param[i].value.file) {
            return 1;
        }
    }

    return ngx_http_token_claims_have_file(tlcf);
}


static ngx_uint_t
ngx_http_token_is_file(ngx_http_token_value_t *value)
{
    return (value && value->file);
}
