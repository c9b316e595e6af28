
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The counts of endpoints, changed under the lock that a lookup or the end of a
 * fetch holds anyway, but for hits without the lock: those of each worker are
 * in a place of its own.
 */


#include "ngx_http_token_cache.h"


/* by outcome of a fetch */

char  *ngx_http_token_outcome_names[] = {
    "ok", "internal", "unreachable", "timeout", "incomplete", "invalid",
    "refused", "busy", "broken", "invalid_grant", "invalid_scope"
};


ngx_msec_t  ngx_http_token_stats_bounds[] = {
    5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000
};


/* in microseconds: a store is near */

ngx_uint_t  ngx_http_token_stats_store_bounds[] = {
    250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000
};


ngx_uint_t
ngx_http_token_stats_endpoint(ngx_http_token_shctx_t *sh, ngx_str_t *url)
{
    ngx_str_t                   host;
    ngx_uint_t                  i;
    ngx_http_token_endpoint_t  *endpoint;

    if (ngx_http_token_url_has_user(url)) {

        /* it may have a password, and is never called */

        ngx_str_set(&host, "invalid");

    } else {
        host = ngx_http_token_url_host(url);
    }

    host.len = ngx_min(host.len, sizeof(sh->endpoints[0].name));

    for (i = 0; i < sh->nendpoints; i++) {
        endpoint = &sh->endpoints[i];

        if (endpoint->len == host.len
            && ngx_strncmp(endpoint->name, host.data, host.len) == 0)
        {
            return i;
        }
    }

    if (i == NGX_HTTP_TOKEN_ENDPOINTS) {
        return NGX_HTTP_TOKEN_ENDPOINTS - 1;
    }

    endpoint = &sh->endpoints[i];

    if (i == NGX_HTTP_TOKEN_ENDPOINTS - 1) {
        endpoint->len = sizeof("others") - 1;
        ngx_memcpy(endpoint->name, "others", sizeof("others") - 1);

    } else {
        endpoint->len = host.len;
        ngx_memcpy(endpoint->name, host.data, host.len);
    }

    sh->nendpoints++;

    return i;
}


void
ngx_http_token_stats_lookup(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_lookup_t *lookup, ngx_uint_t waiting)
{
    if (lookup->renew) {
        endpoint->renewals++;
    }

    if (waiting) {

        /* counted when the caller came */

        return;
    }

    switch (lookup->todo) {

    case NGX_HTTP_TOKEN_DO_SERVE:
        endpoint->hits++;
        break;

    case NGX_HTTP_TOKEN_DO_FETCH:
        endpoint->misses++;
        break;

    case NGX_HTTP_TOKEN_DO_WAIT:
        endpoint->waits++;
        break;

    default:
        endpoint->rejects++;
        break;
    }
}


void
ngx_http_token_stats_fetch(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t  i;

    if (fetch->uncalled) {
        return;
    }

    endpoint->outcomes[fetch->outcome]++;
    endpoint->retries += fetch->tried_other;
    endpoint->duration += fetch->upstream_time;

    for (i = 0; i < NGX_HTTP_TOKEN_BUCKETS - 1; i++) {
        if (fetch->upstream_time <= ngx_http_token_stats_bounds[i]) {
            break;
        }
    }

    endpoint->buckets[i]++;
}


void
ngx_http_token_stats_add_hits(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh)
{
    ngx_uint_t                  i, n;
    ngx_http_token_unlocked_t  *shared;

    shared = zone->unlocked;

    for (i = 0; i < shared->nhits; i++) {
        for (n = 0; n < sh->nendpoints; n++) {
            sh->endpoints[n].hits += shared->hits[i].hits[n];
        }
    }
}


ngx_uint_t
ngx_http_token_stats_store_state(ngx_http_token_store_t *store,
    ngx_uint_t state)
{
    ngx_uint_t                i, before;
    ngx_http_token_zone_t   **zones;
    ngx_http_token_shctx_t   *sh;

    before = NGX_HTTP_TOKEN_STORE_NOT_KNOWN;

    zones = store->zones.elts;

    for (i = 0; i < store->zones.nelts; i++) {

        sh = ngx_http_token_zone_lock(zones[i]);

        if (sh->store.configured > ngx_http_token_configured) {

            /* this worker is about to leave */

            ngx_http_token_zone_unlock(zones[i], sh);
            return state;
        }

        if (i == 0 && (sh->store.state != state
                       || sh->store.configured >= ngx_http_token_configured))
        {
            before = sh->store.state;
        }

        sh->store.state = state;
        sh->store.configured = ngx_http_token_configured;

        ngx_http_token_zone_unlock(zones[i], sh);
    }

    return before;
}


void
ngx_http_token_stats_store(ngx_http_token_zone_t *zone, ngx_int_t rc,
    int64_t duration)
{
    ngx_uint_t               i;
    ngx_http_token_shctx_t  *sh;

    for (i = 0; i < NGX_HTTP_TOKEN_BUCKETS - 1; i++) {
        if (duration <= (int64_t) ngx_http_token_stats_store_bounds[i]) {
            break;
        }
    }

    sh = ngx_http_token_zone_lock(zone);

    sh->store.commands++;
    sh->store.errors += (rc != NGX_OK);
    sh->store.duration += (uint64_t) duration;
    sh->store.buckets[i]++;

    ngx_http_token_zone_unlock(zone, sh);
}
