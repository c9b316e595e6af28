
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token among the headers of an upstream request.
 */


#include "ngx_http_token_handlers.h"


static ngx_http_token_bearer_t *ngx_http_token_bearer_inherit(
    ngx_http_request_t *r, ngx_http_token_ctx_t *ctx);
static ngx_int_t ngx_http_token_bearer_write_event(ngx_http_request_t *r);
static void ngx_http_token_bearer_watch(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_create_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_reinit_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_uint_t ngx_http_token_bearer_sent(ngx_list_t *list,
    ngx_str_t *name);
static ngx_int_t ngx_http_token_bearer_remove(ngx_http_request_t *r,
    ngx_str_t *name);
static void ngx_http_token_bearer_insert(ngx_list_t *list, ngx_table_elt_t *h,
    ngx_list_part_t *rest);
static ngx_uint_t ngx_http_token_bearer_same_name(ngx_str_t *a, ngx_str_t *b);


/*
 * The content handler of a location with token_proxy_bearer, instead of that of
 * a gateway: proxy_pass, or one of its likes.
 *
 * They all make an upstream, read the body, and go on when it has been read, at
 * once or later, with ngx_http_upstream_init().  That does nothing while r->aio
 * is set, and so waits until the callbacks are those of the module.
 */

ngx_int_t
ngx_http_token_bearer_content_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_uint_t                  read;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_bearer_t    *bearer;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->bearer.handler == NULL) {

        /*
         * The handler is that of one "if" block, the configuration that of
         * another one, in a location that has no handler.
         */

        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "no upstream for \"token_proxy_bearer\" in an \"if\" "
                      "of location \"%V\"", &clcf->name);

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (tlcf->bearer.location == NULL) {

        /* "off" in an "if" */

        return tlcf->bearer.handler(r);
    }

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    bearer = ctx->bearer ? ctx->bearer : ngx_http_token_bearer_inherit(r, ctx);

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

    /* it is what reads a body that has not been read */

    if (read || r->read_event_handler == ngx_http_block_reading) {
        ngx_http_upstream_init(r);
    }

    return NGX_DONE;
}


/* the one thing before that which ngx_http_upstream_init() can fail at */

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


/*
 * A subrequest that the content handler makes, for a slice or to update a cache
 * in the background, starts there.
 */

static ngx_http_token_bearer_t *
ngx_http_token_bearer_inherit(ngx_http_request_t *r, ngx_http_token_ctx_t *ctx)
{
    ngx_http_token_ctx_t     *parent;
    ngx_http_token_bearer_t  *bearer;

    parent = r->parent ? ngx_http_get_module_ctx(r->parent,
                                                 ngx_http_token_module)
                       : NULL;

    if (parent == NULL || parent->bearer == NULL) {
        return NULL;
    }

    bearer = ngx_palloc(r->pool, sizeof(ngx_http_token_bearer_t));
    if (bearer == NULL) {
        return NULL;
    }

    *bearer = *parent->bearer;

    bearer->origin = parent->bearer;
    bearer->retried = 0;

    ctx->bearer = bearer;

    return bearer;
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
 * The upstream modules send what is in the list of headers: the token stands
 * at its head, while they make the request.
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

    /* they write them to a debug log */

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


/* before an error page is looked for, or another server is asked */

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

        /* of this upstream, nothing is left */

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

    /* a variable with that header is the caller's, whoever asks for it next */

    (void) ngx_http_get_indexed_variable(r, tlcf->bearer.variable);

    if (ngx_http_token_bearer_sent(&r->headers_in.headers,
                                   &tlcf->bearer.header)
        && ngx_http_token_bearer_remove(r, &tlcf->bearer.header) != NGX_OK)
    {
        return NGX_ERROR;
    }

    h = &bearer->header;

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    /* a hash of 0: who looks for a header by its name takes it for deleted */

    h->key = tlcf->bearer.header;
    h->lowcase_key = tlcf->bearer.lowcase;
    h->value = bearer->result->value;

    ngx_http_token_bearer_insert(&r->headers_in.headers, h, &bearer->rest);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_token_bearer_sent(ngx_list_t *list, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &list->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_token_bearer_same_name(&h[i].key, name)) {
                return 1;
            }
        }
    }

    return 0;
}


/* the list becomes a copy without those that have the name */

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
    n = 0;

    for (part = &list->part; part; part = part->next) {
        n += part->nelts;
    }

    headers = ngx_palloc(r->pool, n * sizeof(ngx_table_elt_t));
    if (headers == NULL) {
        return NGX_ERROR;
    }

    list->nalloc = n;
    n = 0;

    for (part = &list->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_token_bearer_same_name(&h[i].key, name)) {
                continue;
            }

            headers[n] = h[i];

#if (nginx_version >= 1023000)

            /* headers with one name are linked */

            for (k = 0; k < n; k++) {
                if (headers[k].next == &h[i]) {
                    headers[k].next = &headers[n];
                }
            }
#endif

            n++;
        }
    }

    list->part.elts = headers;
    list->part.nelts = n;
    list->part.next = NULL;
    list->last = &list->part;

    return NGX_OK;
}


/* at the head; who reads a list takes no part but the first for empty */

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


/* FastCGI and uwsgi make one parameter of "X-Token" and "X_Token" */

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
