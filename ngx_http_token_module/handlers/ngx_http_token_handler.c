
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The content handler of a token location: a request for a token, or for a
 * refresh grant.
 */


#include "ngx_http_token_handlers.h"


static ngx_int_t ngx_http_token_grant(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_uint_t ngx_http_token_has_form(ngx_http_request_t *r);
static void ngx_http_token_form_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_form_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_form_text(ngx_http_request_t *r,
    ngx_str_t *text);
static ngx_int_t ngx_http_token_grant_start(ngx_http_request_t *r,
    ngx_http_token_grant_t *grant);
static ngx_int_t ngx_http_token_serve(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_serve_location(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_serve_copy(ngx_http_request_t *r,
    ngx_http_token_result_t *result);
static ngx_int_t ngx_http_token_serve_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request);
static void ngx_http_token_resume(ngx_http_request_t *r,
    ngx_http_token_result_t *result);
static ngx_int_t ngx_http_token_serve_result(ngx_http_request_t *r,
    ngx_http_token_result_t *result);


ngx_int_t
ngx_http_token_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_token_loc_conf_t  *tlcf;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token handler");

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    rc = tlcf->refresh_grant ? ngx_http_token_grant(r, tlcf) : NGX_DECLINED;

    if (rc == NGX_DECLINED) {
        rc = ngx_http_token_serve(r, tlcf);
    }

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_token_remove_body(r);
    }

    return rc;
}


static ngx_int_t
ngx_http_token_serve(ngx_http_request_t *r, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_result_t  *result;

    if (!(r->method & tlcf->methods)
        && !(r->method == NGX_HTTP_HEAD && (tlcf->methods & NGX_HTTP_GET)))
    {
        if (ngx_http_token_add_header(r, "Allow", &tlcf->allow) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_token_send_error(r, NGX_HTTP_NOT_ALLOWED,
                                         "invalid_request",
                                         "This method is not allowed.");
    }

    if (tlcf->plain) {
        result = ngx_http_token_local_get_plain(r, tlcf, NULL,
                                                &tlcf->cache.copy);
        if (result) {
            return ngx_http_token_serve_copy(r, result);
        }
    }

    return ngx_http_token_serve_location(r, tlcf);
}


static ngx_int_t
ngx_http_token_serve_copy(ngx_http_request_t *r,
    ngx_http_token_result_t *result)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    return ngx_http_token_send_token(r, ctx, result);
}


static ngx_int_t
ngx_http_token_serve_location(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_int_t                 rc;
    ngx_str_t                 inputs;
    ngx_http_token_result_t  *result;

    result = ngx_http_token_get_copy(r, tlcf, NULL, &inputs, &rc);

    if (result) {
        return ngx_http_token_serve_copy(r, result);
    }

    return ngx_http_token_serve_request(r,
               (rc == NGX_OK) ? ngx_http_token_make_request(r, tlcf, &inputs)
                              : NULL);
}


/* request is NULL if it cannot be made */

static ngx_int_t
ngx_http_token_serve_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_int_t                 rc;
    ngx_http_token_result_t  *result;

    if (request) {
        result = ngx_http_token_get(r, request, NULL, ngx_http_token_resume,
                                    &rc);

    } else {
        result = ngx_pcalloc(r->pool, sizeof(ngx_http_token_result_t));
        rc = NGX_OK;

        if (result) {
            result->outcome = NGX_HTTP_TOKEN_INTERNAL;
        }
    }

    if (result == NULL || rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    return ngx_http_token_serve_result(r, result);
}


static void
ngx_http_token_resume(ngx_http_request_t *r, ngx_http_token_result_t *result)
{
    ngx_http_token_finalize(r, ngx_http_token_serve_result(r, result));
}


static ngx_int_t
ngx_http_token_serve_result(ngx_http_request_t *r,
    ngx_http_token_result_t *result)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->result = result;

    if (result->outcome == NGX_HTTP_TOKEN_OK) {
        return ngx_http_token_send_token(r, ctx, result);
    }

    return ngx_http_token_send_failure(r, result->outcome, result->retry_after);
}


static ngx_int_t
ngx_http_token_grant(ngx_http_request_t *r, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_int_t  rc;

    if (r != r->main
        || !(r->method & tlcf->methods & NGX_HTTP_POST)
        || !ngx_http_token_has_form(r))
    {
        return NGX_DECLINED;
    }

    if (r->headers_in.chunked) {
        return ngx_http_token_send_error(r, NGX_HTTP_LENGTH_REQUIRED,
                                         "invalid_request",
                                         "The length of the request is "
                                         "missing.");
    }

    if (r->headers_in.content_length_n > NGX_HTTP_TOKEN_MAX_FORM) {
        return ngx_http_token_send_error(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                         "invalid_request",
                                         "The request is too large.");
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_token_form_read);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_token_has_form(ngx_http_request_t *r)
{
    size_t      len;
    ngx_str_t  *type;

    static ngx_str_t  form = ngx_string("application/x-www-form-urlencoded");

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        return 0;
    }

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;
    len = form.len;

    return (type->len >= len
            && ngx_strncasecmp(type->data, form.data, len) == 0
            && (type->len == len || type->data[len] == ';'
                || type->data[len] == ' '));
}


static void
ngx_http_token_form_read(ngx_http_request_t *r)
{
    ngx_http_token_finalize(r, ngx_http_token_form_handler(r));
}


static ngx_int_t
ngx_http_token_form_handler(ngx_http_request_t *r)
{
    ngx_str_t                   text;
    ngx_http_token_grant_t      grant;
    ngx_http_token_loc_conf_t  *tlcf;

    if (ngx_http_token_form_text(r, &text) != NGX_OK
        || ngx_http_token_form_parse(r->pool, &text, &grant) != NGX_OK)
    {
        return ngx_http_token_send_failure(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token form: %uz, grant type: %uz, malformed: %ui",
                   text.len, grant.type.len, grant.malformed);

    if (grant.malformed) {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "invalid_request",
                                         "The request is malformed.");
    }

    if (grant.type.len == 0) {
        tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

        return ngx_http_token_serve(r, tlcf);
    }

    if (!ngx_http_token_equals(&grant.type, "refresh_token")) {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "unsupported_grant_type",
                                         "This grant type is not supported.");
    }

    if (grant.token.len == 0) {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "invalid_request",
                                         "The refresh token is missing.");
    }

    return ngx_http_token_grant_start(r, &grant);
}


static ngx_int_t
ngx_http_token_form_text(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char       *p;
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    len = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        /* a module that read the body before may have written it to a file */

        if (b->in_file || b->last - b->pos > NGX_HTTP_TOKEN_MAX_FORM) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "the body of a request for a token was not kept "
                          "in memory");
            return NGX_ERROR;
        }

        len += b->last - b->pos;
    }

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;
    text->len = len;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_grant_start(ngx_http_request_t *r,
    ngx_http_token_grant_t *grant)
{
    ngx_http_token_request_t   *request;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    request = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));
    if (request == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_token_evaluate(r, tlcf, request) != NGX_OK
        || ngx_http_token_refresh_body(r, request, grant) != NGX_OK)
    {
        return ngx_http_token_send_failure(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    return ngx_http_token_serve_request(r, request);
}
