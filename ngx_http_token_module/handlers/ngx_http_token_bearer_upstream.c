
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The content handler of a location with token_proxy_bearer: the token among
 * the headers of an upstream request, and what is done when the API refuses it.
 */


#include "ngx_http_token_handlers.h"


typedef struct {
    ngx_str_t                       code;
    ngx_uint_t                      status;
} ngx_http_token_bearer_grpc_t;


static ngx_int_t ngx_http_token_bearer_no_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_write_event(ngx_http_request_t *r);
static void ngx_http_token_bearer_watch(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_create_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_reinit_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_remove(ngx_http_request_t *r,
    ngx_str_t *name);
static ngx_uint_t ngx_http_token_bearer_has(ngx_list_t *list,
    ngx_str_t *name);
static void ngx_http_token_bearer_insert(ngx_list_t *list, ngx_table_elt_t *h,
    ngx_list_part_t *rest);
static ngx_uint_t ngx_http_token_bearer_same_name(ngx_str_t *a, ngx_str_t *b);
static ngx_uint_t ngx_http_token_bearer_retry(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
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


/*
 * Stands in for the content handler of proxy_pass, grpc_pass, fastcgi_pass,
 * uwsgi_pass or scgi_pass.  Each of these makes an upstream, and then calls
 * ngx_http_read_client_request_body(), which calls ngx_http_upstream_init() at
 * once, or later if the body has not come yet.  The callbacks of the upstream
 * have to be replaced between the two.
 *
 * A header that is set in the configuration ("proxy_set_header") would be
 * simpler, but nginx writes its value to the debug log:
 * ngx_http_script_copy_var_code() ("http script var") and
 * ngx_http_proxy_create_request() ("http proxy header").  The log has to be
 * silent in create_request, which nginx may call much later: when a late body
 * is there, or when ngx_http_upstream_cache() has returned NGX_BUSY.  So the
 * callback has to be replaced in any case.
 *
 * It rests on this in nginx 1.22.1 to 1.31.5, and t/bearer_upstream.t fails
 * where that changes:
 *
 * - ngx_http_upstream_init_request(), ngx_http_upstream.c: returns at once if
 *   r->aio is set, before it has changed anything.
 * - ngx_http_read_client_request_body(), ngx_http_request_body.c: calls its
 *   post handler at once for a subrequest, for a body that has been read and
 *   for one that is discarded.  Otherwise r->read_event_handler is that of the
 *   body while the post handler is still to be called, and
 *   ngx_http_block_reading() once it has been called; where there is no body,
 *   it stays as it was.
 */

ngx_int_t
ngx_http_token_bearer_content_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_uint_t                  read;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_bearer_t    *bearer;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->bearer.handler == NULL) {
        return ngx_http_token_bearer_no_handler(r);
    }

    if (tlcf->bearer.location == NULL) {

        /* "off" in an "if" */

        return tlcf->bearer.handler(r);
    }

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->bearer == NULL
        && ngx_http_token_bearer_inherit(r, ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    bearer = ctx->bearer;

    if (bearer == NULL) {

        /* a subrequest that finds out whether access is granted */

        return tlcf->bearer.handler(r);
    }

    if (ngx_http_token_bearer_write_event(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* whether the body has been read, or will not be */

    read = (r != r->main || r->request_body || r->discard_body);

    if (!read) {
        r->read_event_handler = ngx_http_block_reading;
    }

    r->aio = 1;

    rc = tlcf->bearer.handler(r);

    r->aio = 0;

    if (rc != NGX_DONE || r->upstream == NULL) {
        return rc;
    }

    ngx_http_token_bearer_watch(r, bearer);

    /* otherwise nginx calls it when the body is there */

    if (read || r->read_event_handler == ngx_http_block_reading) {
        ngx_http_upstream_init(r);
    }

    return NGX_DONE;
}


/*
 * The handler is that of one "if" block, the configuration that of another one,
 * in a location that has no handler.
 */

static ngx_int_t
ngx_http_token_bearer_no_handler(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "no upstream for \"token_proxy_bearer\" in an \"if\" "
                  "of location \"%V\"", &clcf->name);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/*
 * ngx_http_upstream_init() adds this event before r->aio is looked at, and
 * finalizes the request if that fails.  It must not do so inside of the content
 * handler, which goes on with the request, and so the event is added before.
 */

static ngx_int_t
ngx_http_token_bearer_write_event(ngx_http_request_t *r)
{
    ngx_event_t  *wev;

#if (NGX_HTTP_V2)
    if (r->stream) {
        return NGX_OK;
    }
#endif

#if (NGX_HTTP_V3)
    if (r->http_version == NGX_HTTP_VERSION_30) {
        return NGX_OK;
    }
#endif

    wev = r->connection->write;

    if ((ngx_event_flags & NGX_USE_CLEAR_EVENT) && !wev->active) {
        return ngx_add_event(wev, NGX_WRITE_EVENT, NGX_CLEAR_EVENT);
    }

    return NGX_OK;
}


static void
ngx_http_token_bearer_watch(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u->create_request != ngx_http_token_bearer_create_request) {
        bearer->create_request = u->create_request;
        u->create_request = ngx_http_token_bearer_create_request;
    }

    if (u->process_header != ngx_http_token_bearer_process_header) {
        bearer->process_header = u->process_header;
        u->process_header = ngx_http_token_bearer_process_header;
    }

    if (u->reinit_request != ngx_http_token_bearer_reinit_request) {
        bearer->reinit_request = u->reinit_request;
        u->reinit_request = ngx_http_token_bearer_reinit_request;
    }
}


/*
 * The upstream modules send the headers that are in the list of the client's:
 * the token is in front of them while the request is made.
 */

static ngx_int_t
ngx_http_token_bearer_create_request(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_log_t                *log;
    ngx_list_t                headers;
    ngx_uint_t                level;
    ngx_http_token_ctx_t     *ctx;
    ngx_http_token_bearer_t  *bearer;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    bearer = ctx->bearer;
    log = r->connection->log;

    headers = r->headers_in.headers;

    if (ngx_http_token_bearer_header(r, bearer) != NGX_OK) {
        return NGX_ERROR;
    }

    /* the upstream modules write each header to the debug log */

    level = ngx_http_token_debug_off(log);

    rc = bearer->create_request(r);

    log->log_level = level;

    r->headers_in.headers = headers;

    return rc;
}


static ngx_int_t
ngx_http_token_bearer_reinit_request(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    rc = ctx->bearer->reinit_request(r);

    ngx_http_token_bearer_watch(r, ctx->bearer);

    return rc;
}


/* called before nginx looks for an error page or for the next server */

static ngx_int_t
ngx_http_token_bearer_process_header(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_token_ctx_t     *ctx;
    ngx_http_token_bearer_t  *bearer;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    bearer = ctx->bearer;

    rc = bearer->process_header(r);

    ngx_http_token_bearer_watch(r, bearer);

    if (rc == NGX_OK && ngx_http_token_bearer_retry(r, bearer)) {

        /* ngx_http_token_bearer_repeat() says what nginx does with it */

        return NGX_ERROR;
    }

    return rc;
}


static ngx_int_t
ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_table_elt_t            *h;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    /* evaluated now, $http_... keeps the client's value */

    if (tlcf->bearer.variable != NGX_HTTP_TOKEN_NO_VARIABLE) {
        (void) ngx_http_get_indexed_variable(r, tlcf->bearer.variable);
    }

    if (ngx_http_token_bearer_remove(r, &tlcf->bearer.header) != NGX_OK) {
        return NGX_ERROR;
    }

    h = &bearer->header;

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    /* with a hash of 0 nginx takes it for deleted when it looks for a name */

    h->key = tlcf->bearer.header;
    h->lowcase_key = tlcf->bearer.lowcase;
    h->value = bearer->result->value;

    ngx_http_token_bearer_insert(&r->headers_in.headers, h, &bearer->rest);

    return NGX_OK;
}


/* makes a copy of the list without the headers of that name, if it has any */

static ngx_int_t
ngx_http_token_bearer_remove(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i, n;
    ngx_list_t       *list;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *headers;
#if (nginx_version >= 1023000)
    ngx_uint_t        k;
#endif

    list = &r->headers_in.headers;

    if (!ngx_http_token_bearer_has(list, name)) {
        return NGX_OK;
    }

    n = 0;

    for (part = &list->part; part; part = part->next) {
        n += part->nelts;
    }

    headers = ngx_palloc(r->pool, n * sizeof(ngx_table_elt_t));
    if (headers == NULL) {
        return NGX_ERROR;
    }

    list->nalloc = n;

    part = &list->part;
    i = 0;
    n = 0;

    while ((h = ngx_http_token_next_header(&part, &i)) != NULL) {

        if (ngx_http_token_bearer_same_name(&h->key, name)) {
            continue;
        }

        headers[n] = *h;

#if (nginx_version >= 1023000)

        /* headers with one name are linked */

        for (k = 0; k < n; k++) {
            if (headers[k].next == h) {
                headers[k].next = &headers[n];
            }
        }
#endif

        n++;
    }

    list->part.elts = headers;
    list->part.nelts = n;
    list->part.next = NULL;
    list->last = &list->part;

    return NGX_OK;
}


/* most requests do not have it */

static ngx_uint_t
ngx_http_token_bearer_has(ngx_list_t *list, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &list->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == name->len
                && ngx_http_token_bearer_same_name(&h[i].key, name))
            {
                return 1;
            }
        }
    }

    return 0;
}


/*
 * Puts h into a part of its own in front of the others, as ngx_list_t is laid
 * out (src/core/ngx_list.h, 1.22.1 to 1.31.5): a loop over a list reads a part
 * that it goes on to without asking whether it is empty, so the first part is
 * left out if it is; ngx_list_push() writes to the part "last" as long as that
 * has fewer than nalloc elements, so "last" never is the part of h, unless this
 * is the only one, and full.
 */

static void
ngx_http_token_bearer_insert(ngx_list_t *list, ngx_table_elt_t *h,
    ngx_list_part_t *rest)
{
    *rest = list->part;

    list->part.elts = h;
    list->part.nelts = 1;
    list->part.next = rest->nelts ? rest : rest->next;

    if (list->part.next == NULL) {
        list->nalloc = 1;

    } else if (list->last == &list->part) {
        list->last = rest;
    }
}


/* "X-Token" and "X_Token" are one parameter in FastCGI, SCGI and uwsgi */

static ngx_uint_t
ngx_http_token_bearer_same_name(ngx_str_t *a, ngx_str_t *b)
{
    u_char  ca, cb;
    size_t  i;

    if (a->len != b->len) {
        return 0;
    }

    for (i = 0; i < a->len; i++) {
        ca = ngx_tolower(a->data[i]);
        cb = ngx_tolower(b->data[i]);

        if (ca != cb && !((ca == '-' || ca == '_') && (cb == '-' || cb == '_')))
        {
            return 0;
        }
    }

    return 1;
}


/*
 * Drops a token that the API has refused.  Returns 1 if the request is on its
 * way to be sent once more, and its upstream has ended.
 */

static ngx_uint_t
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
 * A gRPC server refuses a call with HTTP status 200 and a grpc-status.  That
 * is one of the trailers, or, if there is no message, one of the headers
 * ("Trailers-Only"), where it is seen before anything is sent to the client.
 * A server in front of it may use 204.
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


/* the token is dropped, or another one used, in any case */

static ngx_uint_t
ngx_http_token_bearer_drop_refused(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer, ngx_uint_t status)
{
    ngx_str_t   endpoint;
    ngx_uint_t  dropped, another;

    another = ngx_http_token_bearer_drop(bearer, &dropped);

    if (dropped) {
        endpoint = ngx_http_token_bearer_endpoint(r, bearer);

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "token of \"%V\" was refused with status %ui%s%s",
                      &endpoint, status,
                      (status != r->upstream->headers_in.status_n)
                      ? " (grpc-status)" : "",
                      (dropped == NGX_HTTP_TOKEN_USES_BEFORE)
                      ? ", the one before it is used for a while" : "");
    }

    return another && !bearer->retried && ngx_http_token_bearer_repeatable(r);
}


/*
 * Safe methods without a body, unless more is configured: then all that has not
 * been sent while it was read, as grpc_pass always does.
 *
 * A body that has been read is there for another upstream: each module sends
 * copies of the buffers in r->request_body->bufs, whose places in memory and in
 * the temporary file stay as they are (ngx_http_proxy_create_request() and its
 * likes, nginx 1.22.1 to 1.31.5), and the file is closed when a response is
 * sent on, not before.  ngx_http_read_client_request_body() does nothing when
 * it is called again.
 */

static ngx_uint_t
ngx_http_token_bearer_repeatable(ngx_http_request_t *r)
{
    ngx_chain_t                *cl;
    ngx_http_token_loc_conf_t  *tlcf;

    /* the buffers of a body that is sent while it is read are used again */

    if (r->request_body_no_buffering
        && (r->headers_in.content_length_n > 0 || r->headers_in.chunked))
    {
        return 0;
    }

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->bearer.non_idempotent && !tlcf->bearer.grpc) {
        return 1;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))) {
        return 0;
    }

    if (r->request_body == NULL) {
        return 1;
    }

    if (r->request_body->temp_file) {
        return 0;
    }

    /* from the buffer's start, since pos moves on as the body is sent */

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        if (cl->buf->last != cl->buf->start || cl->buf->in_file) {
            return 0;
        }
    }

    return 1;
}


/*
 * Ends the upstream inside its own process_header, and runs the phases again
 * from the precontent phase on.  Other ways do less: an "error_page" needs
 * proxy_intercept_errors, which would take other statuses from the client as
 * well, and a redirect clears the contexts of all modules.
 *
 * It rests on this in ngx_http_upstream.c of nginx 1.22.1 to 1.31.5, and
 * t/bearer_upstream.t fails where that changes:
 *
 * - The cleanup handler is ngx_http_upstream_cleanup(), which is called as
 *   ngx_http_upstream_create() calls it for an upstream that another replaces,
 *   with one more reference for it to drop.  It sets u->cleanup to NULL.
 * - ngx_http_upstream_process_header() has called process_header.  It calls
 *   ngx_http_upstream_finalize_request() for NGX_ERROR, and does nothing else
 *   with the upstream.  As u->cleanup is NULL ("the request was already
 *   finalized"), only ngx_http_finalize_request(r, NGX_DONE) follows, which
 *   drops a reference: the second one here is for that.
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
