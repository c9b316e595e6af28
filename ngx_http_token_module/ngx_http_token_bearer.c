
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
    ngx_list_t                      headers;   /* of the caller */
    ngx_uint_t                      level;     /* of his log */
    ngx_int_t                       phase_handler;

    unsigned                        waiting:1;
    unsigned                        applied:1;
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
static ngx_int_t ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static void ngx_http_token_bearer_restore(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);
static void ngx_http_token_bearer_cleanup(void *data);
static ngx_uint_t ngx_http_token_bearer_refused(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_uint_t ngx_http_token_bearer_repeatable(ngx_http_request_t *r);
static void ngx_http_token_bearer_repeat(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);


/* a handler of the precontent phase: access has been granted by then */

ngx_int_t
ngx_http_token_bearer_handler(ngx_http_request_t *r)
{
    ngx_http_cleanup_t         *cln;
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
        cln = ngx_http_cleanup_add(r, 0);

        if (bearer == NULL || cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_token_bearer_cleanup;
        cln->data = r;

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
    ngx_log_t             *log;
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

    if (ngx_http_token_bearer_header(r, bearer) != NGX_OK) {
        return NGX_ERROR;
    }

    /* whoever makes the upstream request writes its headers to a debug log */

    log = r->connection->log;

    bearer->level = log->log_level;
    log->log_level &= ~NGX_LOG_DEBUG_HTTP;

    bearer->applied = 1;

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


/*
 * The upstream modules send what is in the list of headers: it is replaced by
 * one with the token, until the response is there.
 */

static ngx_int_t
ngx_http_token_bearer_header(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    u_char                     *p;
    ngx_list_t                  headers;
    ngx_uint_t                  i;
    ngx_table_elt_t            *h, *new;
    ngx_list_part_t            *part;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (ngx_list_init(&headers, r->pool, 20, sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == tlcf->bearer_header.len
            && ngx_strncasecmp(h[i].key.data, tlcf->bearer_header.data,
                               h[i].key.len)
               == 0)
        {
            continue;
        }

        new = ngx_list_push(&headers);
        if (new == NULL) {
            return NGX_ERROR;
        }

        *new = h[i];
    }

    new = ngx_list_push(&headers);
    if (new == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(new, sizeof(ngx_table_elt_t));

    new->hash = tlcf->bearer_hash;
    new->key = tlcf->bearer_header;
    new->lowcase_key = tlcf->bearer_lowcase;

    new->value.data = ngx_pnalloc(r->pool, tlcf->bearer_scheme.len + 1
                                           + bearer->token.len);
    if (new->value.data == NULL) {
        return NGX_ERROR;
    }

    p = new->value.data;

    if (tlcf->bearer_scheme.len) {
        p = ngx_cpymem(p, tlcf->bearer_scheme.data, tlcf->bearer_scheme.len);
        *p++ = ' ';
    }

    p = ngx_cpymem(p, bearer->token.data, bearer->token.len);

    new->value.len = p - new->value.data;

    bearer->headers = r->headers_in.headers;

    r->headers_in.headers = headers;

    if (headers.last == &headers.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    return NGX_OK;
}


/* so that a log of the caller's headers has no token in it */

static void
ngx_http_token_bearer_restore(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer)
{
    r->headers_in.headers = bearer->headers;

    r->connection->log->log_level |= bearer->level & NGX_LOG_DEBUG_HTTP;

    bearer->applied = 0;
}


static void
ngx_http_token_bearer_cleanup(void *data)
{
    ngx_http_request_t *r = data;

    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx && ctx->bearer && ctx->bearer->applied) {
        ngx_http_token_bearer_restore(r, ctx->bearer);
    }
}


/*
 * For the header filter: NGX_DECLINED if the response is not to be sent, as
 * the API is asked again.
 */

ngx_int_t
ngx_http_token_bearer_filter(ngx_http_request_t *r)
{
    ngx_uint_t                  another;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_bearer_t    *bearer;
    ngx_http_token_loc_conf_t  *tlcf, *token;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->bearer == NULL || !ctx->bearer->applied) {
        return NGX_OK;
    }

    bearer = ctx->bearer;

    ngx_http_token_bearer_restore(r, bearer);

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (!ngx_http_token_bearer_refused(r, tlcf)) {
        return NGX_OK;
    }

    token = bearer->request.tlcf;

    another = 1;

    if (bearer->got->digest) {
        another = ngx_http_token_cache_drop(token->cache->data,
                                            bearer->got->digest,
                                            bearer->got->serial,
                                            token->backoff_min);
    }

    if (!another || bearer->retried || !ngx_http_token_bearer_repeatable(r)) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "token was refused with status %ui, trying another one",
                  r->headers_out.status);

    ngx_http_token_bearer_repeat(r, bearer);

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_token_bearer_refused(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t   i, *status;

    if (r->upstream == NULL || tlcf->bearer_retry == NULL) {
        return 0;
    }

    status = tlcf->bearer_retry->elts;

    for (i = 0; i < tlcf->bearer_retry->nelts; i++) {
        if (status[i] == r->headers_out.status) {
            return 1;
        }
    }

    return 0;
}


/* safe methods without a body, and nothing of the response is sent yet */

static ngx_uint_t
ngx_http_token_bearer_repeatable(ngx_http_request_t *r)
{
    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS))) {
        return 0;
    }

    if (r->request_body
        && (r->request_body->bufs || r->request_body->temp_file))
    {
        return 0;
    }

    return (r->upstream->cleanup != NULL && !r->upstream->header_sent);
}


/*
 * The upstream is ended as ngx_http_upstream_create() ends one that has to
 * give way to another, and the phases are run again from the precontent phase
 * on.  The second reference is for the upstream code that called the filter,
 * which ends the request once more when it is told that it failed.
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

    ngx_http_clean_header(r);

    r->phase_handler = bearer->phase_handler;
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
