
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Gets a token for a request: at once from the cache, or when the fetch that it
 * waits for has ended.
 */


#include "ngx_http_token_cache.h"


static ngx_uint_t ngx_http_token_cache_bypass(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static void ngx_http_token_check_inputs(ngx_http_request_t *r,
    ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_cache_try(ngx_http_token_waiter_t *w);
static ngx_int_t ngx_http_token_cache_start_fetch(ngx_http_token_waiter_t *w,
    ngx_http_token_lookup_t *lookup);
static ngx_int_t ngx_http_token_uncached_start(ngx_http_token_waiter_t *w);
static void ngx_http_token_uncached_handler(ngx_http_token_fetch_t *fetch);


ngx_http_token_result_t *
ngx_http_token_get_copy(ngx_http_request_t *r, ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *scheme, ngx_str_t *inputs, ngx_int_t *rc)
{
    *rc = NGX_OK;

    ngx_str_null(inputs);

    if (tlcf->cache.zone == NULL || tlcf->plain
        || (tlcf->cache.bypass && ngx_http_token_cache_bypass(r, tlcf)))
    {
        return NULL;
    }

    if (tlcf->digest == NULL) {

        /* of others' tokens not even the requests are known yet */

        if (tlcf->chained || tlcf->inputs == NULL) {
            return NULL;
        }

        *rc = ngx_http_token_request_inputs(r, tlcf, inputs);

        if (*rc != NGX_OK) {
            return NULL;
        }
    }

    return ngx_http_token_local_get(r, tlcf, scheme, inputs);
}


ngx_http_token_result_t *
ngx_http_token_get(ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_str_t *scheme, ngx_http_token_resume_pt resume, ngx_int_t *rc)
{
    ngx_http_token_waiter_t  *w;

    *rc = NGX_ERROR;

    w = ngx_pcalloc(r->pool, sizeof(ngx_http_token_waiter_t));
    if (w == NULL) {
        return NULL;
    }

    w->request = r;
    w->result.limit = -1;
    w->token_request = request;
    w->look = ngx_http_token_cache_try;
    w->resume = resume;
    w->scheme = scheme;

    if (request->tlcf->cache.zone == NULL || request->refresh_grant) {
        *rc = ngx_http_token_uncached_start(w);
        return &w->result;
    }

    w->result.cache_status = NGX_HTTP_TOKEN_CACHE_HIT;
    w->zone = request->tlcf->cache.zone->data;

    w->digest = ngx_http_token_request_digest(r, request);
    if (w->digest == NULL) {
        return NULL;
    }

    ngx_http_token_check_inputs(r, request);

    w->result.digest = w->digest;
    w->bypass = ngx_http_token_cache_bypass(r, request->tlcf);

    *rc = ngx_http_token_cache_try(w);

    return &w->result;
}


/*
 * A file may have been read again between the evaluation of the inputs and that
 * of the request, which is then kept without them.
 */

static void
ngx_http_token_check_inputs(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_str_t  inputs;

    if (request->inputs.len == 0 || !request->tlcf->file_inputs) {
        return;
    }

    if (ngx_http_token_request_inputs(r, request->tlcf, &inputs) != NGX_OK
        || inputs.len != request->inputs.len
        || CRYPTO_memcmp(inputs.data, request->inputs.data, inputs.len) != 0)
    {
        ngx_str_null(&request->inputs);
    }
}


/* whether the caller wants the token to be renewed */

static ngx_uint_t
ngx_http_token_cache_bypass(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_int_t   rc;
    ngx_uint_t  level;

    /* a fetch that needs the token is no caller */

    if (tlcf->cache.bypass == NULL || ngx_http_token_is_fetch(r)) {
        return 0;
    }

    /* what tells who may do that is a secret */

    level = ngx_http_token_debug_off(r->connection->log);

    rc = ngx_http_test_predicates(r, tlcf->cache.bypass);

    r->connection->log->log_level = level;

    /* an error is logged, and the caller gets what others get */

    return (rc == NGX_DECLINED);
}


/* returns NGX_OK if there is a result, good or bad, NGX_AGAIN or NGX_ERROR */

static ngx_int_t
ngx_http_token_cache_try(ngx_http_token_waiter_t *w)
{
    ngx_http_token_lookup_t  lookup;

    lookup.generation = w->generation;
    lookup.scheme = w->scheme;
    lookup.bypass = w->bypass;
    lookup.passed = w->passed;

    if (ngx_http_token_cache_lookup(w->request, w->token_request,
                                    w->digest, w->waiting, &lookup)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    w->generation = lookup.generation;
    w->passed = lookup.passed;
    w->elsewhere = 0;

    switch (lookup.todo) {

    case NGX_HTTP_TOKEN_DO_SERVE:
        w->result.outcome = NGX_HTTP_TOKEN_OK;
        w->result.value = lookup.value;
        w->result.expires_in = lookup.expires_in;
        w->result.serial = lookup.serial;

        if (lookup.renew) {
            ngx_http_token_cache_fetch(w->token_request, w->digest,
                                       lookup.lease,
                                       w->request->connection->log,
                                       ngx_http_token_get);
        }

        return NGX_OK;

    case NGX_HTTP_TOKEN_DO_FETCH:
        return ngx_http_token_cache_start_fetch(w, &lookup);

    case NGX_HTTP_TOKEN_DO_WAIT:

        w->elsewhere = lookup.elsewhere;

        if (!w->waiting) {
            w->result.cache_status = NGX_HTTP_TOKEN_CACHE_WAIT;
        }

        return ngx_http_token_wait(w, lookup.recheck);

    case NGX_HTTP_TOKEN_DO_FAIL:
        w->result.outcome = lookup.outcome;
        w->result.retry_after = lookup.retry_after;

        return NGX_OK;

    default: /* NGX_HTTP_TOKEN_DO_BYPASS */

        if (!w->waiting) {
            w->digest = NULL;
            w->result.digest = NULL;

            return ngx_http_token_uncached_start(w);
        }

        w->result.outcome = NGX_HTTP_TOKEN_INTERNAL;

        return NGX_OK;
    }
}


/* starts a fetch, for this caller and all that will wait for it */

static ngx_int_t
ngx_http_token_cache_start_fetch(ngx_http_token_waiter_t *w,
    ngx_http_token_lookup_t *lookup)
{
    ngx_int_t  rc;

    if (w->waiting) {

        /* it is known already */

    } else if (lookup->passed) {
        w->result.cache_status = NGX_HTTP_TOKEN_CACHE_BYPASS;

    } else {
        w->result.cache_status = lookup->expired ? NGX_HTTP_TOKEN_CACHE_EXPIRED
                                                 : NGX_HTTP_TOKEN_CACHE_MISS;
    }

    rc = ngx_http_token_wait(w, NGX_TIMER_INFINITE);

    if (rc != NGX_AGAIN) {
        ngx_http_token_cache_fetch_failed(w->token_request, w->digest,
                                          lookup->lease);
        return rc;
    }

    /* if it fails at once, the waiter is told as if it failed later */

    ngx_http_token_cache_fetch(w->token_request, w->digest, lookup->lease,
                               w->request->connection->log,
                               ngx_http_token_get);

    return NGX_AGAIN;
}


/* the fetch is for this caller alone, and ends with it */

static ngx_int_t
ngx_http_token_uncached_start(ngx_http_token_waiter_t *w)
{
    ngx_int_t                rc;
    ngx_http_token_fetch_t  *fetch;

    w->result.cache_status = NGX_HTTP_TOKEN_CACHE_BYPASS;

    fetch = ngx_http_token_fetch_create(w->token_request->tlcf,
                                        w->request->connection->log);
    if (fetch == NULL) {
        w->result.outcome = NGX_HTTP_TOKEN_INTERNAL;
        return NGX_OK;
    }

    fetch->handler = ngx_http_token_uncached_handler;
    fetch->data = w;

    rc = ngx_http_token_wait_start(w);

    if (rc != NGX_OK) {
        ngx_http_token_fetch_close(fetch);
        return rc;
    }

    w->fetch = fetch;

    /* if it fails at once, the caller is told as if it failed later */

    ngx_http_token_chain_start(fetch, w->token_request, NULL,
                               ngx_http_token_get);

    return NGX_AGAIN;
}


/* the handler of a caller's own fetch */

static void
ngx_http_token_uncached_handler(ngx_http_token_fetch_t *fetch)
{
    ngx_http_token_waiter_t    *w = fetch->data;

    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = fetch->request->tlcf;

    if (tlcf->cache.zone) {
        ngx_http_token_cache_count(tlcf->cache.zone->data, fetch);
    }

    w->fetch = NULL;

    ngx_http_token_wake(w, fetch);
}
