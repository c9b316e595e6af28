
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * $token_proxy_*, for logs and headers.  None holds a token or a secret, but
 * for $token_proxy_access_token, which exists with token_proxy_bearer alone.
 */


#include "ngx_http_token_handlers.h"


static ngx_int_t ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_expires_in_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_upstream_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_upstream_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_access_token_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_endpoint_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_cors_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_token_vars[] = {

    { ngx_string("token_proxy_cache_status"), NULL,
      ngx_http_token_cache_status_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_expires_in"), NULL,
      ngx_http_token_expires_in_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_upstream_status"), NULL,
      ngx_http_token_upstream_status_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_upstream_time"), NULL,
      ngx_http_token_upstream_time_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_access_token"), NULL,
      ngx_http_token_access_token_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /*
     * Not found by name while serving.  The first three are known to the proxy
     * module in a fetch's location, the last one to an error page's URI.
     */

    { ngx_string("token_proxy_internal_endpoint"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_request_t, endpoint),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_internal_authorization"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_request_t, authorization),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_internal_body"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_request_t, body),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string(NGX_HTTP_TOKEN_CORS_VARIABLE), NULL,
      ngx_http_token_cors_variable, 0,
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_str_t  ngx_http_token_cache_statuses[] = {
    ngx_null_string,
    ngx_string("BYPASS"),
    ngx_string("ERROR"),
    ngx_string("HIT"),
    ngx_string("MISS"),
    ngx_string("WAIT"),
    ngx_string("EXPIRED")
};


ngx_int_t
ngx_http_token_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_token_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *status;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->result == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    status = (ctx->result->outcome == NGX_HTTP_TOKEN_OK)
             ? &ngx_http_token_cache_statuses[ctx->result->cache_status]
             : &ngx_http_token_cache_statuses[NGX_HTTP_TOKEN_CACHE_ERROR];

    v->len = status->len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = status->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_expires_in_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                *p;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->result == NULL || ctx->result->expires_in < 0
        || ctx->result->outcome != NGX_HTTP_TOKEN_OK)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%T", ctx->result->expires_in) - p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_upstream_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                *p;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->result == NULL
        || ctx->result->upstream_status == 0)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%ui", ctx->result->upstream_status) - p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


/* seconds with milliseconds, as in $upstream_response_time */

static ngx_int_t
ngx_http_token_upstream_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                *p;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->result == NULL || !ctx->result->fetched) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%M.%03M", ctx->result->upstream_time / 1000,
                         ctx->result->upstream_time % 1000)
             - p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_access_token_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->bearer == NULL || ctx->bearer->token.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = ctx->bearer->token.len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = ctx->bearer->token.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_endpoint_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *s;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->fetch == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = (ngx_str_t *) ((u_char *) ctx->fetch->sent + data);

    v->len = s->len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = s->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_cors_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_token_loc_conf_t  *tlcf;

    (void) data;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->enable == 1 && tlcf->cors.origins
        && ngx_http_token_cors_leave(r, tlcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    v->len = 0;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = (u_char *) "";

    return NGX_OK;
}
