
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * One call of the token endpoint: the request out, the response in, nothing of
 * either in a log.
 */


#include "ngx_http_token_module.h"


static ngx_int_t ngx_http_token_init_headers_in(ngx_http_request_t *sr,
    ngx_http_token_request_t *request);
static void ngx_http_token_fetch_run(ngx_http_request_t *sr);
static void ngx_http_token_fetch_mute(ngx_http_request_t *sr);
static u_char *ngx_http_token_fetch_log(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);
static ngx_int_t ngx_http_token_process_header(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_reinit_request(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);


static ngx_str_t  ngx_http_token_post_method = ngx_string("POST");


/* who describes a caller's request in the log, while his fetch is begun */

static ngx_http_log_handler_pt  ngx_http_token_log_handler;


ngx_int_t
ngx_http_token_fetch(ngx_http_request_t *r, ngx_http_token_fetch_t *fetch)
{
    ngx_int_t                    rc;
    ngx_uint_t                   flags, in_memory;
    ngx_http_request_t          *sr;
    ngx_http_token_ctx_t        *ctx;
    ngx_http_token_loc_conf_t   *tlcf;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_post_subrequest_t  *ps;

    tlcf = fetch->request->tlcf;
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    /* an assertion is good for one call */

    fetch->sent = ngx_http_token_assert(r, fetch->request);
    if (fetch->sent == NULL) {
        return NGX_DECLINED;
    }

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_token_ctx_t));

    if (ps == NULL || ctx == NULL) {
        return NGX_DECLINED;
    }

    ps->handler = ngx_http_token_fetch_done;
    ps->data = fetch;

    flags = NGX_HTTP_SUBREQUEST_IN_MEMORY|NGX_HTTP_SUBREQUEST_WAITED;
    in_memory = r->subrequest_in_memory;

    if (r->background || in_memory) {
        /* "mirror" and SSI's "set": out of the order of the caller's output */
        flags |= NGX_HTTP_SUBREQUEST_BACKGROUND;
    }

    /* nginx nests none of these, since their outputs would mix: not here */

    r->subrequest_in_memory = 0;

    rc = ngx_http_subrequest(r, &r->uri, NULL, &sr, ps, flags);

    r->subrequest_in_memory = in_memory;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    /*
     * The subrequest has nothing of the caller: no header, no query, no body,
     * and no variable that was evaluated for it.
     */

    sr->variables = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                         * sizeof(ngx_http_variable_value_t));
    if (sr->variables == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_token_init_headers_in(sr, fetch->sent) != NGX_OK) {
        return NGX_ERROR;
    }

    sr->request_body = NULL;

    /* the path of an endpoint whose URL has none */
    ngx_str_set(&sr->uri, "/");

    sr->method = NGX_HTTP_POST;
    sr->method_name = ngx_http_token_post_method;

    /* it starts in its location, no phase looks for one */

    sr->loc_conf = tlcf->fetch_conf;
    sr->content_handler = tlcf->proxy_handler;
    sr->write_event_handler = ngx_http_token_fetch_run;

    ctx->request = fetch->sent;
    ngx_http_set_ctx(sr, ctx, ngx_http_token_module);

    fetch->subrequest = sr;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_init_headers_in(ngx_http_request_t *sr,
    ngx_http_token_request_t *request)
{
    u_char           *p, *last, *host;
    ngx_table_elt_t  *h;

    ngx_memzero(&sr->headers_in, sizeof(ngx_http_headers_in_t));

    if (ngx_list_init(&sr->headers_in.headers, sr->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sr->headers_in.content_length_n = -1;
    sr->headers_in.keep_alive_n = -1;

    /* $host and $http_host name the endpoint */

    h = ngx_pcalloc(sr->pool, sizeof(ngx_table_elt_t));
    if (h == NULL) {
        return NGX_ERROR;
    }

    last = request->endpoint.data + request->endpoint.len;
    host = ngx_strlchr(request->endpoint.data, last, '/');

    host = (host && last - host > 1) ? host + 2 : last;

    for (p = host; p < last && *p != '/' && *p != '?'; p++) { /* void */ }

    h->hash = 1;
    ngx_str_set(&h->key, "Host");
    h->lowcase_key = (u_char *) "host";
    h->value.data = host;
    h->value.len = p - host;

    sr->headers_in.host = h;

    /* without the port, which follows the bracket of an IPv6 address */

    sr->headers_in.server = h->value;

    while (p > host && p[-1] >= '0' && p[-1] <= '9') {
        p--;
    }

    if (p > host && p[-1] == ':') {
        sr->headers_in.server.len = p - 1 - host;
    }

    return NGX_OK;
}


static void
ngx_http_token_fetch_run(ngx_http_request_t *sr)
{
    ngx_int_t            rc;
    ngx_log_t           *log;
    ngx_uint_t           level;
    ngx_http_request_t  *main;

    sr->write_event_handler = ngx_http_request_empty_handler;

    /* the proxy module writes the header block that it has made to the log */

    log = sr->connection->log;

    level = ngx_http_token_mute(log);

    /* and nginx the URI in each error, with the query, if that can fail here */

    main = sr->main;

    ngx_http_token_log_handler = main->log_handler;
    main->log_handler = ngx_http_token_fetch_log;

    rc = sr->content_handler(sr);

    main->log_handler = ngx_http_token_log_handler;

    log->log_level = level;

    if (sr->upstream) {
        ngx_http_token_fetch_mute(sr);

        sr->upstream->uri = ngx_http_token_shown(&sr->upstream->uri);
    }

    ngx_http_finalize_request(sr, rc);
}


/* an upstream's URI is for the log alone: what is sent has been made of it */

static u_char *
ngx_http_token_fetch_log(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);

    if (ctx && ctx->request && sr->upstream) {
        sr->upstream->uri = ngx_http_token_shown(&sr->upstream->uri);
    }

    return ngx_http_token_log_handler(r, sr, buf, len);
}


/* and each header that it receives, which may repeat what it has sent */

static void
ngx_http_token_fetch_mute(ngx_http_request_t *sr)
{
    ngx_http_upstream_t   *u;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);
    u = sr->upstream;

    if (u->process_header != ngx_http_token_process_header) {
        ctx->process_header = u->process_header;
        u->process_header = ngx_http_token_process_header;
    }

    if (u->reinit_request != ngx_http_token_reinit_request) {
        ctx->reinit_request = u->reinit_request;
        u->reinit_request = ngx_http_token_reinit_request;
    }
}


static ngx_int_t
ngx_http_token_process_header(ngx_http_request_t *sr)
{
    ngx_int_t              rc;
    ngx_log_t             *log;
    ngx_uint_t             level;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);

    log = sr->connection->log;

    level = ngx_http_token_mute(log);

    rc = ctx->process_header(sr);

    log->log_level = level;

    /* the status line's handler sets that of the headers */

    ngx_http_token_fetch_mute(sr);

    return rc;
}


static ngx_int_t
ngx_http_token_reinit_request(ngx_http_request_t *sr)
{
    ngx_int_t              rc;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);

    rc = ctx->reinit_request(sr);

    ngx_http_token_fetch_mute(sr);

    return rc;
}


/* may run twice, and decides nothing */

static ngx_int_t
ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_token_fetch_t *fetch = data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, sr->connection->log, 0,
                   "http token fetch done: %i, %ui", rc,
                   sr->headers_out.status);

    if (!fetch->finished) {
        fetch->finished = 1;
        fetch->rc = rc;
    }

    if (sr->upstream && sr->upstream->pipe
        && sr->upstream->pipe->downstream_error)
    {
        /* an answer that is too large is no error of the caller's connection */
        sr->connection->error = 0;
    }

    if (rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || sr->connection->error) {
        return rc;
    }

    if (sr->background && ngx_http_post_request(sr->parent, NULL) != NGX_OK) {
        return NGX_ERROR;
    }

    /* an error is the parent's to answer, nginx shall make no page of it */

    return NGX_OK;
}
