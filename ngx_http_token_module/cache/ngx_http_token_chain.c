
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Tokens that a token request needs of other token locations: VALUE "token:" of
 * token_proxy_param, and token_proxy_bearer in a token location.  They are got
 * as for a caller, by the fetch that needs them, before it calls its endpoint.
 */


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_http_token_request_t       *evaluated;
    ngx_http_token_request_t        request;    /* with the tokens */
    ngx_http_token_get_pt           get;
    ngx_http_token_time_t          *start;
    ngx_http_token_time_t           until;      /* the end of the first token
                                                   to end, 0 if not known */
    ngx_http_token_result_t       **results;    /* one for each parameter, and
                                                   one for the header */
    ngx_uint_t                      n;          /* the one that is got */
    ngx_uint_t                      repeated;
} ngx_http_token_chain_t;


static ngx_http_token_chain_t *ngx_http_token_chain_create(
    ngx_http_token_fetch_t *fetch, ngx_http_token_request_t *request);
static void ngx_http_token_chain_begin(ngx_http_token_fetch_t *fetch);
static void ngx_http_token_chain_next(ngx_http_token_fetch_t *fetch);
static void ngx_http_token_chain_resume(ngx_http_request_t *r,
    ngx_http_token_result_t *result);
static ngx_int_t ngx_http_token_chain_take(ngx_http_token_fetch_t *fetch,
    ngx_http_token_result_t *result);
static void ngx_http_token_chain_bound(ngx_http_token_chain_t *chain,
    ngx_http_token_pair_t *kv, ngx_http_token_result_t *result);
static void ngx_http_token_chain_fail(ngx_http_token_fetch_t *fetch,
    ngx_uint_t outcome);
static void ngx_http_token_chain_call(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_chain_drop(ngx_http_token_fetch_t *fetch);


void
ngx_http_token_chain_start(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request, ngx_http_token_time_t *start,
    ngx_http_token_get_pt get)
{
    ngx_http_token_chain_t  *chain;

    fetch->request = request;

    if (!request->tlcf->chained) {
        ngx_http_token_fetch_start(fetch, request);
        return;
    }

    chain = ngx_http_token_chain_create(fetch, request);

    if (chain == NULL) {
        ngx_http_token_chain_fail(fetch, NGX_HTTP_TOKEN_INTERNAL);
        return;
    }

    chain->get = get;
    chain->start = start;

    fetch->chain = chain;
    fetch->again = ngx_http_token_chain_begin;

    ngx_http_token_chain_begin(fetch);
}


static ngx_http_token_chain_t *
ngx_http_token_chain_create(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request)
{
    size_t                   size;
    ngx_pool_t              *pool;
    ngx_http_token_chain_t  *chain;

    pool = fetch->main->pool;

    chain = ngx_pcalloc(pool, sizeof(ngx_http_token_chain_t));
    if (chain == NULL) {
        return NULL;
    }

    chain->evaluated = request;
    chain->request = *request;

    size = request->nparams * sizeof(ngx_http_token_pair_t);

    chain->request.params = ngx_palloc(pool, size);

    chain->results = ngx_pcalloc(pool, (request->nparams + 1)
                                       * sizeof(ngx_http_token_result_t *));

    if (chain->request.params == NULL || chain->results == NULL) {
        return NULL;
    }

    ngx_memcpy(chain->request.params, request->params, size);

    return chain;
}


static void
ngx_http_token_chain_begin(ngx_http_token_fetch_t *fetch)
{
    ngx_http_token_chain_t  *chain = fetch->chain;

    fetch->request = chain->evaluated;

    chain->n = 0;
    chain->until = 0;

    ngx_http_token_chain_next(fetch);
}


/* gets one token after the other, and calls the endpoint with all of them */

static void
ngx_http_token_chain_next(ngx_http_token_fetch_t *fetch)
{
    ngx_int_t                 rc;
    ngx_http_token_pair_t    *kv;
    ngx_http_token_chain_t   *chain = fetch->chain;
    ngx_http_token_result_t  *result;

    static ngx_str_t  none = ngx_string("");

    for ( /* void */ ; chain->n <= chain->request.nparams; chain->n++) {

        kv = ngx_http_token_pair(&chain->request, chain->n);

        if (kv->token == NULL) {
            continue;
        }

        result = chain->get(fetch->main, kv->token, &none,
                            ngx_http_token_chain_resume, &rc);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (result == NULL || rc != NGX_OK) {
            ngx_http_token_chain_fail(fetch, NGX_HTTP_TOKEN_INTERNAL);
            return;
        }

        if (ngx_http_token_chain_take(fetch, result) != NGX_OK) {
            return;
        }
    }

    ngx_http_token_chain_call(fetch);
}


static void
ngx_http_token_chain_resume(ngx_http_request_t *r,
    ngx_http_token_result_t *result)
{
    ngx_http_token_chain_t  *chain;
    ngx_http_token_fetch_t  *fetch;

    fetch = ngx_http_token_ctx(r)->fetch;
    chain = fetch->chain;

    if (ngx_http_token_chain_take(fetch, result) == NGX_OK) {
        chain->n++;
        ngx_http_token_chain_next(fetch);
    }
}


/* returns NGX_OK, or NGX_DECLINED if the fetch has ended without the token */

static ngx_int_t
ngx_http_token_chain_take(ngx_http_token_fetch_t *fetch,
    ngx_http_token_result_t *result)
{
    ngx_str_t                  *name;
    ngx_uint_t                  level;
    ngx_http_token_pair_t      *kv;
    ngx_http_token_chain_t     *chain = fetch->chain;
    ngx_http_core_loc_conf_t   *clcf;

    kv = ngx_http_token_pair(&chain->request, chain->n);

    clcf = kv->token->tlcf->loc_conf[ngx_http_core_module.ctx_index];
    name = &clcf->name;

    if (result->outcome != NGX_HTTP_TOKEN_OK) {

        /* of a backoff everybody has heard */

        level = (result->outcome == NGX_HTTP_TOKEN_BACKOFF) ? NGX_LOG_INFO
                                                            : NGX_LOG_ERR;

        ngx_log_error(level, fetch->main->connection->log, 0,
                      "token request needs the token of location \"%V\", "
                      "which has none", name);

        fetch->retry_after = result->retry_after;

        ngx_http_token_chain_fail(fetch, result->outcome);
        return NGX_DECLINED;
    }

    if (result->value.len == 0) {
        ngx_log_error(NGX_LOG_ERR, fetch->main->connection->log, 0,
                      "token request needs the token of location \"%V\", "
                      "which has characters that no token may have", name);

        ngx_http_token_chain_fail(fetch, NGX_HTTP_TOKEN_INVALID);
        return NGX_DECLINED;
    }

    kv->value = result->value;
    chain->results[chain->n] = result;

    ngx_http_token_chain_bound(chain, kv, result);

    return NGX_OK;
}


/*
 * A token does not outlive what it was exchanged for.  What authenticates the
 * client is not exchanged.
 */

static void
ngx_http_token_chain_bound(ngx_http_token_chain_t *chain,
    ngx_http_token_pair_t *kv, ngx_http_token_result_t *result)
{
    int64_t                left;
    ngx_http_token_time_t  until;

    /* one that is over, or whose answer tells no lifetime, may have a limit */

    left = (result->expires_in < 0) ? result->limit
                                    : (int64_t) result->expires_in * 1000;

    if (left < 0
        || (kv != &chain->request.bearer
            && ngx_strncmp(kv->name.data, "client_", 7) == 0))
    {
        return;
    }

    until = ngx_http_token_now() + left;

    if (chain->until == 0 || until < chain->until) {
        chain->until = until;
    }
}


/*
 * The failure is that of another entry, which has its own backoff: the endpoint
 * of this one was not called.
 */

static void
ngx_http_token_chain_fail(ngx_http_token_fetch_t *fetch, ngx_uint_t outcome)
{
    fetch->uncalled = 1;

    ngx_http_token_fetch_fail(fetch, outcome);
}


static void
ngx_http_token_chain_call(ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t               i;
    ngx_http_token_time_t    now;
    ngx_http_token_chain_t  *chain = fetch->chain;

    now = ngx_http_token_now();

    if (chain->start) {
        *chain->start = now;
    }

    fetch->token_limit = chain->until ? ngx_max(chain->until - now, 0) : -1;

    fetch->drop_tokens = NULL;

    for (i = 0; i <= chain->request.nparams && !chain->repeated; i++) {

        /* one that was fetched for this call is as new as another would be */

        if (chain->results[i] && chain->results[i]->digest
            && !chain->results[i]->fetched)
        {
            fetch->drop_tokens = ngx_http_token_chain_drop;
        }
    }

    ngx_http_token_fetch_start(fetch, &chain->request);
}


/*
 * The endpoint has refused what was sent: a token from the cache may have been
 * revoked.  Returns 1 if it is to be asked once more.
 */

static ngx_uint_t
ngx_http_token_chain_drop(ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t                    i, another, dropped;
    ngx_http_token_chain_t       *chain = fetch->chain;
    ngx_http_token_result_t      *result;
    ngx_http_token_cache_conf_t  *cache;

    another = 0;

    for (i = 0; i <= chain->request.nparams; i++) {
        result = chain->results[i];

        if (result == NULL || result->digest == NULL || result->fetched) {
            continue;
        }

        cache = &ngx_http_token_pair(&chain->request, i)->token->tlcf->cache;

        another |= ngx_http_token_cache_drop(cache->zone->data, result->digest,
                                             result->serial,
                                             cache->backoff_min, &dropped);
    }

    chain->repeated = 1;

    return another;
}
