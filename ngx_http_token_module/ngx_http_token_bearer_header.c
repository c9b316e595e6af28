
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token among the headers of an upstream request.
 */


#include "ngx_http_token_cache.h"


static ngx_http_token_bearer_t *ngx_http_token_bearer_inherit(
    ngx_http_request_t *r, ngx_http_token_ctx_t *ctx);
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
static void ngx_http_token_bearer_restore(ngx_http_token_bearer_t *bearer);
static void ngx_http_token_bearer_restore_of(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_header_filter(ngx_http_request_t *r);


/* whose token stands among the headers of a request just now */

static ngx_http_token_bearer_t  *ngx_http_token_bearer_applied;


static ngx_http_output_header_filter_pt  ngx_http_token_next_header_filter;


/* the content handler of a location with token_proxy_bearer */

ngx_int_t
ngx_http_token_bearer_content_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_bearer_t    *bearer;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    bearer = ctx->bearer ? ctx->bearer : ngx_http_token_bearer_inherit(r, ctx);

    if (bearer == NULL || ngx_http_token_bearer_header(r, bearer) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = tlcf->bearer_handler(r);

    ngx_http_token_bearer_restore(bearer);

    /* it may have been redirected, and have another upstream */

    if (ngx_http_get_module_ctx(r, ngx_http_token_module) == ctx
        && r->upstream)
    {
        ngx_http_token_bearer_watch(r, bearer);
    }

    return rc;
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

    if (parent->bearer->applied) {
        r->headers_in.headers = bearer->headers;
        bearer->applied = NULL;
    }

    ctx->bearer = bearer;

    return bearer;
}


static void
ngx_http_token_bearer_watch(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    /* a body may have to be read before the upstream request is made */

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


static ngx_int_t
ngx_http_token_bearer_create_request(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ngx_http_token_bearer_header(r, ctx->bearer) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ctx->bearer->create_request(r);

    ngx_http_token_bearer_restore(ctx->bearer);

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


/*
 * The upstream modules send what is in the list of headers: the token stands
 * at its head, while they do.
 */

static ngx_int_t
ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_table_elt_t            *h;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    /* a variable with that header is the caller's, whoever asks for it next */

    (void) ngx_http_get_indexed_variable(r, tlcf->bearer_variable);

    bearer->headers = r->headers_in.headers;

    if (ngx_http_token_bearer_sent(&r->headers_in.headers,
                                   &tlcf->bearer_header)
        && ngx_http_token_bearer_remove(r, &tlcf->bearer_header) != NGX_OK)
    {
        return NGX_ERROR;
    }

    h = &bearer->header;

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = tlcf->bearer_hash;
    h->key = tlcf->bearer_header;
    h->lowcase_key = tlcf->bearer_lowcase;
    h->value = bearer->got->answer;

    ngx_http_token_bearer_insert(&r->headers_in.headers, h, &bearer->rest);

    bearer->applied = r;

    ngx_http_token_bearer_applied = bearer;

    /* whoever makes the upstream request writes its headers to a debug log */

    bearer->level = ngx_http_token_mute(r->connection->log);

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


static void
ngx_http_token_bearer_restore(ngx_http_token_bearer_t *bearer)
{
    ngx_http_request_t  *r;

    r = bearer->applied;

    if (r == NULL) {
        return;
    }

    r->headers_in.headers = bearer->headers;

    r->connection->log->log_level |= bearer->level & NGX_LOG_DEBUG_HTTP;

    bearer->applied = NULL;

    ngx_http_token_bearer_applied = NULL;
}


/*
 * A handler of the rewrite phases: a request that fails at once may be sent to
 * an error page from within the content handler, and the token is not for it.
 */

ngx_int_t
ngx_http_token_bearer_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_token_bearer_restore_of(r);

    return NGX_DECLINED;
}


static void
ngx_http_token_bearer_restore_of(ngx_http_request_t *r)
{
    ngx_http_token_bearer_t  *bearer;

    bearer = ngx_http_token_bearer_applied;

    if (bearer && bearer->applied == r) {
        ngx_http_token_bearer_restore(bearer);
    }
}


/*
 * A content handler may send what it has in a cache instead of a request: what
 * filters see of the caller's headers, and subrequests get, is without the
 * token.
 */

static ngx_int_t
ngx_http_token_bearer_header_filter(ngx_http_request_t *r)
{
    ngx_http_token_bearer_restore_of(r);

    return ngx_http_token_next_header_filter(r);
}


/* before the filters of modules that were loaded later as well */

void
ngx_http_token_bearer_first_filter(void)
{
    if (ngx_http_top_header_filter == NULL
        || ngx_http_top_header_filter == ngx_http_token_bearer_header_filter)
    {
        return;
    }

    ngx_http_token_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_token_bearer_header_filter;
}
