
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What is done when an API refuses a token: another one, for the request or
 * for the next.
 */


#include "ngx_http_token_handlers.h"


typedef struct {
    ngx_str_t                       code;
    ngx_uint_t                      status;
} ngx_http_token_bearer_grpc_t;


static ngx_uint_t ngx_http_token_bearer_refused(ngx_http_request_t *r);
static ngx_uint_t ngx_http_token_bearer_grpc_status(ngx_http_request_t *r);
static ngx_uint_t ngx_http_token_bearer_drop_refused(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_uint_t status);
static ngx_uint_t ngx_http_token_bearer_repeatable(ngx_http_request_t *r);
static void ngx_http_token_bearer_repeat(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);


/* grpc-status: UNAUTHENTICATED and PERMISSION_DENIED */

static ngx_http_token_bearer_grpc_t  ngx_http_token_bearer_grpc_codes[] = {
    { ngx_string("16"), NGX_HTTP_UNAUTHORIZED },
    { ngx_string("7"), NGX_HTTP_FORBIDDEN },
    { ngx_null_string, 0 }
};


ngx_uint_t
ngx_http_token_bearer_retry(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_uint_t  status;

    status = ngx_http_token_bearer_refused(r);

    if (status == 0 || !ngx_http_token_bearer_drop_refused(r, bearer, status)) {
        return 0;
    }

    ngx_http_token_bearer_repeat(r, bearer);

    return 1;
}


/* the status by which the API has refused the token, or 0 */

static ngx_uint_t
ngx_http_token_bearer_refused(ngx_http_request_t *r)
{
    ngx_uint_t                  i, n, *status;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (r->upstream->cleanup == NULL || tlcf->bearer.retry == NULL) {
        return 0;
    }

#if (NGX_HTTP_CACHE)

    /* what was cached says nothing about this token */

    if (r->cached) {
        return 0;
    }

#endif

    n = tlcf->bearer.grpc ? ngx_http_token_bearer_grpc_status(r)
                          : r->upstream->headers_in.status_n;

    status = tlcf->bearer.retry->elts;

    for (i = 0; i < tlcf->bearer.retry->nelts; i++) {
        if (status[i] == n) {
            return n;
        }
    }

    return 0;
}


/*
 * A gRPC server refuses a call with HTTP status 200, and says why in
 * grpc-status.  That stands among trailers, or, if there is no message, among
 * the headers ("Trailers-Only"), which is where it can be seen before anything
 * is sent to the client.  A server in front of it may use 204.
 */

static ngx_uint_t
ngx_http_token_bearer_grpc_status(ngx_http_request_t *r)
{
    ngx_uint_t                       n;
    ngx_table_elt_t                 *h;
    ngx_http_token_bearer_grpc_t    *code;
    ngx_http_upstream_headers_in_t  *headers;

    headers = &r->upstream->headers_in;
    n = headers->status_n;

    if (n >= NGX_HTTP_SPECIAL_RESPONSE) {
        return n;
    }

    h = ngx_http_token_find_header(&headers->headers, "grpc-status");

    if (h == NULL) {
        return n;
    }

    for (code = ngx_http_token_bearer_grpc_codes; code->code.len; code++) {

        if (h->value.len == code->code.len
            && ngx_strncmp(h->value.data, code->code.data, code->code.len) == 0)
        {
            return code->status;
        }
    }

    return n;
}


/* the token is dropped in any case */

static ngx_uint_t
ngx_http_token_bearer_drop_refused(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_uint_t status)
{
    ngx_str_t   endpoint;
    ngx_uint_t  dropped, another;

    another = ngx_http_token_bearer_drop(bearer, &dropped);

    if (dropped) {
        endpoint = ngx_http_token_log_url(&bearer->request.endpoint);

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "token of \"%V\" was refused with status %ui%s",
                      &endpoint, status,
                      (status != r->upstream->headers_in.status_n)
                      ? " (grpc-status)" : "");
    }

    return another && !bearer->retried && ngx_http_token_bearer_repeatable(r);
}


/* safe methods without a body */

static ngx_uint_t
ngx_http_token_bearer_repeatable(ngx_http_request_t *r)
{
    ngx_chain_t  *cl;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))) {
        return 0;
    }

    if (r->request_body == NULL) {
        return 1;
    }

    if (r->request_body->temp_file) {
        return 0;
    }

    /* from its start: what has been sent is no longer the buffer's size */

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        if (cl->buf->last != cl->buf->start || cl->buf->in_file) {
            return 0;
        }
    }

    /* of a body that is sent while it is read, nothing is left */

    return !(r->request_body_no_buffering
             && (r->headers_in.content_length_n > 0 || r->headers_in.chunked));
}


/*
 * The upstream is ended as ngx_http_upstream_create() ends one that has to
 * give way to another, and the phases are run again from the precontent phase
 * on.  The second reference is for the upstream code that called, which ends
 * the request once more when it is told that it failed.
 */

static void
ngx_http_token_bearer_repeat(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_http_cleanup_pt  cleanup;

    bearer->retried = 1;
    bearer->result = NULL;

    cleanup = *r->upstream->cleanup;

    r->main->count++;
    cleanup(r);

    r->main->count++;

    r->phase_handler = bearer->phase_handler;
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    if (ngx_http_post_request(r, NULL) != NGX_OK) {
        r->connection->error = 1;
    }
}
