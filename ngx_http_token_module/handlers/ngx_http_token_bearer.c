
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_bearer: gets the token for a request to an API.
 */


#include "ngx_http_token_handlers.h"


static ngx_uint_t ngx_http_token_bearer_granted(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_get(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_bearer_get_location(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_http_token_loc_conf_t *tlcf);
static void ngx_http_token_bearer_resume(ngx_http_request_t *r,
    ngx_http_token_result_t *result);
static ngx_int_t ngx_http_token_bearer_apply(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_fail(ngx_http_request_t *r,
    ngx_uint_t outcome, time_t retry_after);


/* in the precontent phase access has been granted */

ngx_int_t
ngx_http_token_bearer_handler(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_ctx_t     *ctx;
    ngx_http_token_bearer_t  *bearer;

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    bearer = ctx->bearer;

    if (bearer == NULL) {

        if (!tlcf->bearer.own && !ngx_http_token_bearer_granted(r)) {
            return NGX_DECLINED;
        }

        bearer = ngx_pcalloc(r->pool, sizeof(ngx_http_token_bearer_t));
        if (bearer == NULL) {
            return NGX_ERROR;
        }

        ctx->bearer = bearer;
    }

    bearer->phase_handler = r->phase_handler;

    if (bearer->result) {

        /* the phases go on after a wait */

        return ngx_http_token_bearer_apply(r, bearer);
    }

    return ngx_http_token_bearer_get(r, bearer, tlcf);
}


/*
 * Whether the client has been granted access.  The access phase is run for the
 * main request alone.  A subrequest that is made before its end finds out
 * whether access is granted: auth_request makes it, or a script.  One that is
 * made for a response that is being sent, perhaps of "return", does not.
 */

static ngx_uint_t
ngx_http_token_bearer_granted(ngx_http_request_t *r)
{
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    if (r == r->main || r->main->header_sent) {
        return 1;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ph = cmcf->phase_engine.handlers;

    for (ph += r->main->phase_handler; ph->checker; ph++) {
        if (ph->checker == ngx_http_core_post_access_phase) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_token_bearer_get(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_loc_conf_t  *token;

    token = tlcf->bearer.location;

    bearer->location = token;

    if (token->plain) {
        bearer->result = ngx_http_token_local_get_plain(r, token,
                                                        &tlcf->bearer.scheme,
                                                        &tlcf->bearer.copy);
        if (bearer->result) {
            return ngx_http_token_bearer_apply(r, bearer);
        }
    }

    return ngx_http_token_bearer_get_location(r, bearer, tlcf);
}


static ngx_int_t
ngx_http_token_bearer_get_location(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_int_t                   rc;
    ngx_str_t                   inputs;
    ngx_http_token_result_t    *result;
    ngx_http_token_loc_conf_t  *token;

    token = bearer->location;

    result = ngx_http_token_get_copy(r, token, &tlcf->bearer.scheme, &inputs,
                                     &rc);

    if (result) {
        bearer->result = result;

        return ngx_http_token_bearer_apply(r, bearer);
    }

    bearer->request = (rc == NGX_OK)
                      ? ngx_http_token_make_request(r, token, &inputs)
                      : NULL;

    if (bearer->request == NULL) {
        return ngx_http_token_bearer_fail(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    result = ngx_http_token_get(r, bearer->request, &tlcf->bearer.scheme,
                                ngx_http_token_bearer_resume, &rc);

    if (rc != NGX_OK) {
        return rc;
    }

    bearer->result = result;

    return ngx_http_token_bearer_apply(r, bearer);
}


static void
ngx_http_token_bearer_resume(ngx_http_request_t *r,
    ngx_http_token_result_t *result)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    ctx->bearer->result = result;

    if (r == r->main
        && ngx_handle_read_event(r->connection->read, 0) != NGX_OK)
    {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
}


static ngx_int_t
ngx_http_token_bearer_apply(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_str_t                   endpoint;
    ngx_uint_t                  dropped;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_result_t    *result;
    ngx_http_token_loc_conf_t  *tlcf;

    result = bearer->result;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);
    ctx->result = result;

    if (result->outcome != NGX_HTTP_TOKEN_OK) {
        return ngx_http_token_bearer_fail(r, result->outcome,
                                          result->retry_after);
    }

    if (result->value.len == 0) {
        (void) ngx_http_token_bearer_drop(bearer, &dropped);

        if (dropped) {
            endpoint = ngx_http_token_bearer_endpoint(r, bearer);

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "token of \"%V\" cannot stand in a header",
                          &endpoint);
        }

        return ngx_http_token_bearer_fail(r, NGX_HTTP_TOKEN_INVALID, 0);
    }

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    bearer->token.data = result->value.data + tlcf->bearer.scheme.len;
    bearer->token.len = result->value.len - tlcf->bearer.scheme.len;

    if (!bearer->retried) {
        return NGX_DECLINED;
    }

    /* the parent's next slices start with this token */

    if (bearer->origin) {
        bearer->origin->result = result;
        bearer->origin->token = bearer->token;
    }

    /*
     * the handlers between this phase and the content phase have been run
     * before the request was sent for the first time
     */

    return NGX_OK;
}


ngx_int_t
ngx_http_token_bearer_inherit(ngx_http_request_t *r, ngx_http_token_ctx_t *ctx)
{
    ngx_http_token_ctx_t     *parent;
    ngx_http_token_bearer_t  *bearer;

    parent = r->parent ? ngx_http_get_module_ctx(r->parent,
                                                 ngx_http_token_module)
                       : NULL;

    if (parent == NULL || parent->bearer == NULL) {
        return NGX_OK;
    }

    bearer = ngx_palloc(r->pool, sizeof(ngx_http_token_bearer_t));
    if (bearer == NULL) {
        return NGX_ERROR;
    }

    *bearer = *parent->bearer;

    bearer->origin = parent->bearer;
    bearer->retried = 0;

    ctx->bearer = bearer;

    return NGX_OK;
}


ngx_str_t
ngx_http_token_bearer_endpoint(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_str_t  url;

    if (bearer->request) {
        return ngx_http_token_log_url(&bearer->request->endpoint);
    }

    if (ngx_http_token_secret_value(r, bearer->location->endpoint, &url)
        != NGX_OK)
    {
        ngx_str_set(&url, "?");
    }

    return ngx_http_token_log_url(&url);
}


ngx_uint_t
ngx_http_token_bearer_drop(ngx_http_token_bearer_t *bearer,
    ngx_uint_t *dropped)
{
    ngx_http_token_result_t    *result;
    ngx_http_token_loc_conf_t  *token;

    result = bearer->result;
    token = bearer->location;

    if (result->digest == NULL || result->serial == 0) {

        /* it is not in a cache */

        *dropped = 1;
        return 1;
    }

    return ngx_http_token_cache_drop(token->cache.zone->data, result->digest,
                                     result->serial, token->cache.backoff_min,
                                     dropped);
}


/* answers in place of the API */

static ngx_int_t
ngx_http_token_bearer_fail(ngx_http_request_t *r, ngx_uint_t outcome,
    time_t retry_after)
{
    ngx_http_token_finalize(r, ngx_http_token_send_failure(r, outcome,
                                                           retry_after));

    return NGX_DONE;
}
