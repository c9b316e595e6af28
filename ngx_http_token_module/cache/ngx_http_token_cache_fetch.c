
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A fetch for the cache: it holds the lease of its entry while it runs, and
 * its result goes to the cache and to all requests that wait for it.
 */


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_http_token_fetch_t         *fetch;
    ngx_http_token_request_t        request;
    ngx_http_token_zone_t          *zone;
    u_char                          digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    uint64_t                        lease;
    ngx_http_token_time_t           start;
    ngx_http_token_time_t           lead;       /* of the wall clock, then */
    ngx_event_t                     extension;  /* of the lease */
    ngx_uint_t                      lost;       /* it has run out */
} ngx_http_token_cache_fetch_t;


static ngx_http_token_cache_fetch_t *ngx_http_token_cache_fetch_create(
    ngx_http_token_request_t *request, ngx_log_t *log);
static void ngx_http_token_cache_fetch_extend(ngx_event_t *ev);
static void ngx_http_token_cache_fetch_handler(ngx_http_token_fetch_t *fetch);
static ngx_http_token_stored_t *ngx_http_token_cache_fetch_stored(
    ngx_http_token_cache_fetch_t *cfetch);
static void ngx_http_token_cache_fetch_warn(
    ngx_http_token_cache_fetch_t *cfetch, char *wrong);
static void ngx_http_token_cache_fetch_end(ngx_http_token_zone_t *zone,
    u_char *digest, uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored);


void
ngx_http_token_cache_fetch(ngx_http_token_request_t *request, u_char *digest,
    uint64_t lease, ngx_log_t *log, ngx_http_token_get_pt get)
{
    ngx_http_token_cache_fetch_t  *cfetch;

    cfetch = ngx_http_token_cache_fetch_create(request, log);

    if (cfetch == NULL) {
        ngx_http_token_cache_fetch_failed(request, digest, lease);
        return;
    }

    ngx_memcpy(cfetch->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN);
    cfetch->lease = lease;

    if (cfetch->fetch->secret) {
        ngx_http_token_cache_secret(cfetch->zone, digest, cfetch->fetch);
    }

    ngx_add_timer(&cfetch->extension, NGX_HTTP_TOKEN_LEASE_EXTEND);

    ngx_http_token_chain_start(cfetch->fetch, &cfetch->request,
                               &cfetch->start, get);
}


void
ngx_http_token_cache_fetch_failed(ngx_http_token_request_t *request,
    u_char *digest, uint64_t lease)
{
    ngx_http_token_fetch_t  fetch;

    ngx_memzero(&fetch, sizeof(ngx_http_token_fetch_t));

    fetch.request = request;
    fetch.outcome = NGX_HTTP_TOKEN_INTERNAL;

    ngx_http_token_cache_fetch_end(request->tlcf->cache.zone->data, digest,
                                   lease, &fetch, NULL);
}


static ngx_http_token_cache_fetch_t *
ngx_http_token_cache_fetch_create(ngx_http_token_request_t *request,
    ngx_log_t *log)
{
    ngx_pool_t                    *pool;
    ngx_http_token_fetch_t        *fetch;
    ngx_http_token_cache_fetch_t  *cfetch;

    fetch = ngx_http_token_fetch_create(request->tlcf, log);
    if (fetch == NULL) {
        return NULL;
    }

    pool = fetch->main->pool;

    cfetch = ngx_pcalloc(pool, sizeof(ngx_http_token_cache_fetch_t));

    if (cfetch == NULL
        || ngx_http_token_copy_request(pool, &cfetch->request, request)
           != NGX_OK)
    {
        ngx_http_token_fetch_close(fetch);
        return NULL;
    }

    fetch->handler = ngx_http_token_cache_fetch_handler;
    fetch->data = cfetch;

    cfetch->fetch = fetch;
    cfetch->zone = request->tlcf->cache.zone->data;
    cfetch->start = ngx_http_token_now();
    cfetch->lead = ngx_http_token_lead(cfetch->start);

    cfetch->extension.handler = ngx_http_token_cache_fetch_extend;
    cfetch->extension.data = cfetch;
    cfetch->extension.log = fetch->main->connection->log;

    return cfetch;
}


static void
ngx_http_token_cache_fetch_extend(ngx_event_t *ev)
{
    ngx_http_token_cache_fetch_t  *cfetch;

    cfetch = ev->data;

    if (ngx_http_token_cache_extend(cfetch->zone, cfetch->digest,
                                    cfetch->lease)
        == NGX_OK)
    {
        ngx_add_timer(ev, NGX_HTTP_TOKEN_LEASE_EXTEND);
        return;
    }

    /*
     * This process did not run for longer than a lease.  Timers come first
     * then, so an answer that has arrived meanwhile is still to be read.  If
     * there is none, the callers that wait here depend on it no longer.
     */

    if (!cfetch->lost) {
        cfetch->lost = 1;

        ngx_add_timer(ev, NGX_HTTP_TOKEN_LEASE_EXTEND);
        return;
    }

    ngx_http_token_wake_local(cfetch->zone, cfetch->digest, NULL);
}


/* the handler of the fetch */

static void
ngx_http_token_cache_fetch_handler(ngx_http_token_fetch_t *fetch)
{
    ngx_http_token_cache_fetch_t  *cfetch = fetch->data;

    if (cfetch->extension.timer_set) {
        ngx_del_timer(&cfetch->extension);
    }

    ngx_http_token_cache_fetch_end(cfetch->zone, cfetch->digest,
                                   cfetch->lease, fetch,
                                   ngx_http_token_cache_fetch_stored(cfetch));
}


/* makes what the cache keeps; returns NULL if it keeps nothing */

static ngx_http_token_stored_t *
ngx_http_token_cache_fetch_stored(ngx_http_token_cache_fetch_t *cfetch)
{
    char                       *wrong;
    int64_t                     lifetime;
    ngx_http_token_time_t       now;
    ngx_http_token_fetch_t     *fetch;
    ngx_http_token_stored_t    *stored;
    ngx_http_token_loc_conf_t  *tlcf;

    fetch = cfetch->fetch;
    tlcf = cfetch->request.tlcf;

    if (fetch->outcome != NGX_HTTP_TOKEN_OK) {
        return NULL;
    }

    lifetime = fetch->lifetime;
    wrong = "the answer tells no lifetime above zero";

    if (lifetime == -1) {
        lifetime = (int64_t) tlcf->cache.default_ttl * 1000;
        wrong = "the answer tells no lifetime, and "
                "\"token_proxy_cache_default_ttl\" is not set";
    }

    if (fetch->limit != -1 && lifetime >= fetch->limit) {
        lifetime = fetch->limit;

        if (lifetime == 0) {
            wrong = "what it was exchanged for has expired";
        }

    } else {
        fetch->last = 0;
    }

    now = ngx_http_token_now();

    if (lifetime > 0
        && cfetch->start + lifetime
           <= now + ngx_http_token_missed(cfetch->lead, now))
    {
        lifetime = 0;
        wrong = "its lifetime has passed since it was asked for";
    }

    if (lifetime <= 0) {
        ngx_http_token_cache_fetch_warn(cfetch, wrong);
        return NULL;
    }

    stored = ngx_http_token_stored_make(fetch->main->pool, tlcf,
                                        fetch->members, cfetch->start,
                                        lifetime);

    if (stored) {
        stored->lead = cfetch->lead;

        if (fetch->last) {
            stored->renew_at = stored->expires;
        }
    }

    return stored;
}


/* a cache that keeps nothing is of no use, which nobody would see */

static void
ngx_http_token_cache_fetch_warn(ngx_http_token_cache_fetch_t *cfetch,
    char *wrong)
{
    ngx_str_t                endpoint;
    ngx_http_token_fetch_t  *fetch;

    fetch = cfetch->fetch;

    if (!ngx_http_token_cache_warn(cfetch->zone, fetch)) {
        return;
    }

    endpoint = ngx_http_token_log_url(&fetch->request->endpoint);

    ngx_log_error(NGX_LOG_WARN, fetch->main->connection->log, 0,
                  "token of \"%V\" is not kept, every request is a call of "
                  "the endpoint: %s", &endpoint, wrong);
}


/* ends the lease, and wakes the requests that wait */

static void
ngx_http_token_cache_fetch_end(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored)
{
    ngx_int_t   rc;
    ngx_uint_t  waited;

    rc = ngx_http_token_cache_end(zone, digest, lease, fetch, stored, &waited);

    ngx_http_token_wake_local(zone, digest, (rc == NGX_OK) ? fetch : NULL);

    if (waited) {
        ngx_http_token_notify_workers();
    }
}
