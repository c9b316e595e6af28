
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * $token_proxy_*, for logs and headers.  None holds a token or a secret, but
 * for $token_proxy_access_token, which exists with token_proxy_bearer alone.
 */


#include "ngx_http_token_module.h"


static ngx_int_t ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_expires_in_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_upstream_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_token_upstream_time_variable(ngx_http_request_t *r,
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

    return ngx_http_token_add_endpoint_variables(cf);
}


static ngx_int_t
ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *status;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->got == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    status = (ctx->got->outcome == NGX_HTTP_TOKEN_OK)
             ? &ngx_http_token_cache_statuses[ctx->got->cache_status]
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

    if (ctx == NULL || ctx->got == NULL || ctx->got->expires_in < 0
        || ctx->got->outcome != NGX_HTTP_TOKEN_OK)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%T", ctx->got->expires_in) - p;
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

    if (ctx == NULL || ctx->got == NULL || ctx->got->upstream_status == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%ui", ctx->got->upstream_status) - p;
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

    if (ctx == NULL || ctx->got == NULL || !ctx->got->fetched) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%M.%03M", ctx->got->upstream_time / 1000,
                         ctx->got->upstream_time % 1000)
             - p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = p;

    return NGX_OK;
}
