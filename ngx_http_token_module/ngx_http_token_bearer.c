
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token goes to the API, not to the browser: token_proxy_bearer.
 */


#include "ngx_http_token_cache.h"


struct ngx_http_token_bearer_s {
    ngx_http_token_request_t        request;
    ngx_http_token_got_t           *got;
    ngx_str_t                       token;
    ngx_int_t                       phase_handler;

    /* what is replaced while the upstream request is made */

    ngx_http_request_t             *applied;   /* to whom, NULL if to none */
    ngx_list_t                      headers;   /* of the caller */
    ngx_uint_t                      level;     /* of his log */

    /* whom the module stands in front of */

    ngx_int_t                     (*create_request)(ngx_http_request_t *r);
    ngx_int_t                     (*process_header)(ngx_http_request_t *r);
    ngx_int_t                     (*reinit_request)(ngx_http_request_t *r);

    unsigned                        waiting:1;
    unsigned                        retried:1;
};


static ngx_int_t ngx_http_token_bearer_get(ngx_http_request_t *r,
    ngx_http_token_ctx_t *ctx, ngx_http_token_loc_conf_t *token);
static void ngx_http_token_bearer_resume(ngx_http_request_t *r,
    ngx_http_token_got_t *got);
static ngx_int_t ngx_http_token_bearer_apply(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_fail(ngx_http_request_t *r,
    ngx_uint_t outcome, time_t retry_after);
static ngx_int_t ngx_http_token_bearer_decode(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_http_token_bearer_t *ngx_http_token_bearer_inherit(
    ngx_http_request_t *r, ngx_http_token_ctx_t *ctx);
static void ngx_http_token_bearer_watch(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_int_t ngx_http_token_bearer_create_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_reinit_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_uint_t ngx_http_token_bearer_copy(ngx_list_t *list, ngx_str_t *name,
    ngx_table_elt_t *headers);
static void ngx_http_token_bearer_restore(ngx_http_token_bearer_t *bearer);
static ngx_uint_t ngx_http_token_bearer_again(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static ngx_uint_t ngx_http_token_bearer_refused(ngx_http_request_t *r);
static ngx_uint_t ngx_http_token_bearer_repeatable(ngx_http_request_t *r);
static void ngx_http_token_bearer_repeat(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);


/* whose token stands among the headers of a request just now */

static ngx_http_token_bearer_t  *ngx_http_token_bearer_applied;


/* a handler of the precontent phase: access has been granted by then */

ngx_int_t
ngx_http_token_bearer_handler(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_bearer_t    *bearer;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->bearer_location == NULL) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    bearer = ctx->bearer;

    if (bearer == NULL) {

        bearer = ngx_pcalloc(r->pool, sizeof(ngx_http_token_bearer_t));
        if (bearer == NULL) {
            return NGX_ERROR;
        }

        ctx->bearer = bearer;
    }

    bearer->phase_handler = r->phase_handler;

    if (!bearer->waiting) {
        return ngx_http_token_bearer_get(r, ctx, tlcf->bearer_location);
    }

    /* the call of a token location without a cache is a subrequest of r */

    bearer->got = ngx_http_token_fetch_got(r, 1);

    if (bearer->got == NULL) {
        return NGX_AGAIN;
    }

    bearer->waiting = 0;

    return ngx_http_token_bearer_apply(r, bearer);
}


static ngx_int_t
ngx_http_token_bearer_get(ngx_http_request_t *r, ngx_http_token_ctx_t *ctx,
    ngx_http_token_loc_conf_t *token)
{
    ngx_int_t                 rc;
    ngx_http_token_fetch_t   *fetch;
    ngx_http_token_bearer_t  *bearer;

    bearer = ctx->bearer;

    if (bearer->got) {

        /* resumed */

        return ngx_http_token_bearer_apply(r, bearer);
    }

    if (ngx_http_token_evaluate(r, token, &bearer->request) != NGX_OK) {
        return ngx_http_token_bearer_fail(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    if (token->cache) {

        bearer->got = ngx_http_token_get(r, &bearer->request, 1,
                                         ngx_http_token_bearer_resume, &rc);

        if (rc == NGX_OK) {
            return ngx_http_token_bearer_apply(r, bearer);
        }

        bearer->got = NULL;

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    fetch = ngx_pcalloc(r->pool, sizeof(ngx_http_token_fetch_t));
    if (fetch == NULL) {
        return NGX_ERROR;
    }

    fetch->request = &bearer->request;

    rc = ngx_http_token_fetch(r, fetch);

    if (rc == NGX_DECLINED) {
        return ngx_http_token_bearer_fail(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->fetch = fetch;
    bearer->waiting = 1;

    return NGX_AGAIN;
}


static void
ngx_http_token_bearer_resume(ngx_http_request_t *r, ngx_http_token_got_t *got)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    ctx->bearer->got = got;

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
    ngx_http_token_ctx_t  *ctx;
    ngx_http_token_got_t  *got;

    got = bearer->got;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);
    ctx->got = got;

    if (got->outcome != NGX_HTTP_TOKEN_OK) {
        return ngx_http_token_bearer_fail(r, got->outcome, got->retry_after);
    }

    switch (ngx_http_token_bearer_decode(r, bearer)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "token of \"%V\" cannot stand in a header",
                      &bearer->request.endpoint);

        return ngx_http_token_bearer_fail(r, NGX_HTTP_TOKEN_INVALID, 0);

    default: /* NGX_ERROR */
        return NGX_ERROR;
    }

    return NGX_DECLINED;
}


/* the API is not called */

static ngx_int_t
ngx_http_token_bearer_fail(ngx_http_request_t *r, ngx_uint_t outcome,
    time_t retry_after)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc == NGX_OK) {
        rc = ngx_http_token_send_failure(r, outcome, retry_after);
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* from JSON; RFC 6750 2.1, and RFC 6749 A.12 for what is no Bearer token */

static ngx_int_t
ngx_http_token_bearer_decode(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    size_t      i;
    ngx_int_t   rc;
    ngx_str_t  *token;

    token = &bearer->token;

    rc = ngx_http_token_json_string(r->pool, &bearer->got->answer, token);

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; i < token->len; i++) {
        if (token->data[i] < 0x20 || token->data[i] > 0x7e) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


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

    if (rc == NGX_OK && ngx_http_token_bearer_refused(r)
        && ngx_http_token_bearer_again(r, bearer))
    {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "token was refused with status %ui, trying another one",
                      r->upstream->headers_in.status_n);

        ngx_http_token_bearer_repeat(r, bearer);

        return NGX_ERROR;
    }

    return rc;
}


/*
 * The upstream modules send what is in the list of headers: it is replaced by
 * one with the token, while they do.
 */

static ngx_int_t
ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    u_char                     *p;
    ngx_log_t                  *log;
    ngx_list_t                 *list;
    ngx_uint_t                  n;
    ngx_list_part_t            *part;
    ngx_table_elt_t            *headers, *new;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    /* a variable with that header is the caller's, whoever asks for it next */

    (void) ngx_http_get_indexed_variable(r, tlcf->bearer_variable);

    list = &r->headers_in.headers;
    n = 1;

    for (part = &list->part; part; part = part->next) {
        n += part->nelts;
    }

    headers = ngx_palloc(r->pool, n * sizeof(ngx_table_elt_t));

    p = ngx_pnalloc(r->pool, tlcf->bearer_scheme.len + 1 + bearer->token.len);

    if (headers == NULL || p == NULL) {
        return NGX_ERROR;
    }

    new = headers + ngx_http_token_bearer_copy(list, &tlcf->bearer_header,
                                               headers);

    ngx_memzero(new, sizeof(ngx_table_elt_t));

    new->hash = tlcf->bearer_hash;
    new->key = tlcf->bearer_header;
    new->lowcase_key = tlcf->bearer_lowcase;
    new->value.data = p;

    if (tlcf->bearer_scheme.len) {
        p = ngx_cpymem(p, tlcf->bearer_scheme.data, tlcf->bearer_scheme.len);
        *p++ = ' ';
    }

    p = ngx_cpymem(p, bearer->token.data, bearer->token.len);

    new->value.len = p - new->value.data;

    bearer->applied = r;
    bearer->headers = *list;

    ngx_http_token_bearer_applied = bearer;

    list->part.elts = headers;
    list->part.nelts = new + 1 - headers;
    list->part.next = NULL;
    list->last = &list->part;
    list->nalloc = n;

    /* whoever makes the upstream request writes its headers to a debug log */

    log = r->connection->log;

    bearer->level = log->log_level;
    log->log_level &= ~NGX_LOG_DEBUG_HTTP;

    return NGX_OK;
}


/* all but those with the name; returns how many */

static ngx_uint_t
ngx_http_token_bearer_copy(ngx_list_t *list, ngx_str_t *name,
    ngx_table_elt_t *headers)
{
    ngx_uint_t        i, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;
#if (nginx_version >= 1023000)
    ngx_uint_t        k;
#endif

    n = 0;

    for (part = &list->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == name->len
                && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
            {
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

    return n;
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
    ngx_http_token_bearer_t  *bearer;

    bearer = ngx_http_token_bearer_applied;

    if (bearer && bearer->applied == r) {
        ngx_http_token_bearer_restore(bearer);
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_token_bearer_refused(ngx_http_request_t *r)
{
    ngx_uint_t                  i, *status;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (r->upstream->cleanup == NULL || tlcf->bearer_retry == NULL) {

        /* a response that was cached says nothing about this token */

        return 0;
    }

    status = tlcf->bearer_retry->elts;

    for (i = 0; i < tlcf->bearer_retry->nelts; i++) {
        if (status[i] == r->upstream->headers_in.status_n) {
            return 1;
        }
    }

    return 0;
}


/* the token is dropped in any case */

static ngx_uint_t
ngx_http_token_bearer_again(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    ngx_http_token_got_t       *got;
    ngx_http_token_loc_conf_t  *token;

    got = bearer->got;
    token = bearer->request.tlcf;

    if (got->digest
        && !ngx_http_token_cache_drop(token->cache->data, got->digest,
                                      got->serial, token->backoff_min))
    {
        return 0;
    }

    return !bearer->retried && ngx_http_token_bearer_repeatable(r);
}


/* safe methods without a body */

static ngx_uint_t
ngx_http_token_bearer_repeatable(ngx_http_request_t *r)
{
    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))) {
        return 0;
    }

    return (r->request_body == NULL
            || (r->request_body->bufs == NULL
                && r->request_body->temp_file == NULL));
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
    bearer->got = NULL;

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


ngx_int_t
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
