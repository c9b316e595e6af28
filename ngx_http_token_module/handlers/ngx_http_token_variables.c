
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * $token_proxy_*, for logs and headers.  None holds a token or a secret, but
 * for $token_proxy_access_token, which exists with token_proxy_bearer alone.
 */


#include "ngx_http_token_handlers.h"


#define NGX_HTTP_TOKEN_VAR_EXPIRES_IN       0
#define NGX_HTTP_TOKEN_VAR_UPSTREAM_STATUS  1
#define NGX_HTTP_TOKEN_VAR_UPSTREAM_TIME    2


static ngx_int_t ngx_http_token_set_variable(ngx_http_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_http_token_result_t *ngx_http_token_variable_result(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_token_number_variable(ngx_http_request_t *r,
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
      ngx_http_token_number_variable, NGX_HTTP_TOKEN_VAR_EXPIRES_IN,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_upstream_status"), NULL,
      ngx_http_token_number_variable, NGX_HTTP_TOKEN_VAR_UPSTREAM_STATUS,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_upstream_time"), NULL,
      ngx_http_token_number_variable, NGX_HTTP_TOKEN_VAR_UPSTREAM_TIME,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_access_token"), NULL,
      ngx_http_token_access_token_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /*
     * These are not found by name while serving.  The proxy module uses the
     * first four in a fetch's location, the URI of an error page the last one.
     */

    { ngx_string("token_proxy_internal_endpoint"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_fetch_t, url),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_internal_authorization"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_fetch_t, authorization),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_internal_bearer"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_fetch_t, bearer),
      NGX_HTTP_VAR_NOHASH|NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("token_proxy_internal_body"), NULL,
      ngx_http_token_endpoint_variable,
      offsetof(ngx_http_token_fetch_t, body),
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


/* sets the value of a variable, which is not found if it is NULL */

static ngx_int_t
ngx_http_token_set_variable(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    if (value == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = value->len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = value->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_cache_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_uint_t                status;
    ngx_http_token_result_t  *result;

    result = ngx_http_token_variable_result(r);

    if (result == NULL) {
        return ngx_http_token_set_variable(v, NULL);
    }

    status = (result->outcome == NGX_HTTP_TOKEN_OK)
             ? result->cache_status : NGX_HTTP_TOKEN_CACHE_ERROR;

    return ngx_http_token_set_variable(v,
                                       &ngx_http_token_cache_statuses[status]);
}


static ngx_http_token_result_t *
ngx_http_token_variable_result(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    return ctx ? ctx->result : NULL;
}


static ngx_int_t
ngx_http_token_number_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                    number[NGX_INT_T_LEN + sizeof(".000") - 1], *p;
    ngx_str_t                 value;
    ngx_http_token_result_t  *result;

    result = ngx_http_token_variable_result(r);

    p = number;

    switch (data) {

    case NGX_HTTP_TOKEN_VAR_EXPIRES_IN:

        if (result && result->outcome == NGX_HTTP_TOKEN_OK
            && result->expires_in >= 0)
        {
            p = ngx_sprintf(p, "%T", result->expires_in);
        }

        break;

    case NGX_HTTP_TOKEN_VAR_UPSTREAM_STATUS:

        if (result && result->upstream_status) {
            p = ngx_sprintf(p, "%ui", result->upstream_status);
        }

        break;

    default: /* NGX_HTTP_TOKEN_VAR_UPSTREAM_TIME */

        /* seconds with milliseconds, as in $upstream_response_time */

        if (result && result->fetched) {
            p = ngx_sprintf(p, "%M.%03M", result->upstream_time / 1000,
                            result->upstream_time % 1000);
        }
    }

    if (p == number) {
        return ngx_http_token_set_variable(v, NULL);
    }

    value.data = number;
    value.len = p - number;

    value.data = ngx_pstrdup(r->pool, &value);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_token_set_variable(v, &value);
}


static ngx_int_t
ngx_http_token_access_token_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *token;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    token = (ctx && ctx->bearer && ctx->bearer->token.len)
            ? &ctx->bearer->token : NULL;

    return ngx_http_token_set_variable(v, token);
}


static ngx_int_t
ngx_http_token_endpoint_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *value;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    value = (ctx && ctx->fetch)
            ? (ngx_str_t *) ((u_char *) ctx->fetch + data) : NULL;

    return ngx_http_token_set_variable(v, value);
}


static ngx_int_t
ngx_http_token_cors_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_token_loc_conf_t  *tlcf;

    static ngx_str_t  empty = ngx_string("");

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->enable == 1 && tlcf->cors.origins
        && ngx_http_token_cors_leave(r, tlcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_token_set_variable(v, &empty);
}
