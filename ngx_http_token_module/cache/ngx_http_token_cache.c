
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What callers and fetches do with the entries of the cache: they look tokens
 * up, take and end leases, store tokens, and set the backoff of an endpoint.
 */


#include "ngx_http_token_cache.h"


static void ngx_http_token_cache_decide_locked(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);
static void ngx_http_token_node_lease(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now,
    ngx_http_token_lookup_t *lookup);
static void ngx_http_token_node_fail(ngx_http_token_node_t *tn,
    ngx_http_token_fetch_t *fetch);
static ngx_http_token_node_t *ngx_http_token_node_end(
    ngx_http_token_shctx_t *sh, u_char *digest, uint64_t lease,
    ngx_uint_t local, ngx_uint_t *waited);
static ngx_uint_t ngx_http_token_fetch_local(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_node_late(ngx_http_token_shctx_t *sh,
    u_char *digest, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored);


ngx_int_t
ngx_http_token_cache_lookup(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup)
{
    ngx_int_t                   rc;
    ngx_http_token_node_t      *tn;
    ngx_http_token_time_t       now;
    ngx_http_token_zone_t      *zone;
    ngx_http_token_shctx_t     *sh;
    ngx_http_token_stored_t    *copy;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;
    zone = tlcf->cache.zone->data;
    copy = NULL;
    rc = NGX_OK;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_get(zone, sh, digest, &request->endpoint);

    if (tn == NULL) {
        ngx_http_token_zone_unlock(zone, sh);

        lookup->todo = NGX_HTTP_TOKEN_DO_BYPASS;
        return NGX_OK;
    }

    now = ngx_http_token_now();

    ngx_http_token_cache_decide_locked(tn, now, waiting, lookup);

    if (lookup->todo == NGX_HTTP_TOKEN_DO_FETCH || lookup->refresh) {
        ngx_http_token_node_lease(tlcf, tn, now, lookup);

    } else if (lookup->todo == NGX_HTTP_TOKEN_DO_WAIT && lookup->elsewhere) {
        tn->waited = 1;
    }

    ngx_http_token_stats_lookup(&sh->endpoints[tn->endpoint], lookup, waiting);

    if (lookup->todo == NGX_HTTP_TOKEN_DO_SERVE) {

        if (lookup->scheme) {
            rc = ngx_http_token_stored_token(r, tn->stored, lookup);

        } else if (tn->stored->fields == tlcf->fields_hash) {
            rc = ngx_http_token_stored_body(r, tn->stored, lookup);

        } else {

            /* the fields of another location: composed without the lock */

            copy = ngx_palloc(r->pool, tn->stored->size);

            if (copy) {
                ngx_memcpy(copy, tn->stored, tn->stored->size);

            } else {
                rc = NGX_ERROR;
            }
        }
    }

    ngx_http_token_zone_unlock(zone, sh);

    if (copy) {
        rc = ngx_http_token_stored_compose(r, tlcf->fields, copy, lookup);
    }

    return rc;
}


/* what a caller has to do; nothing of the entry is changed here */

static void
ngx_http_token_cache_decide_locked(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup)
{
    ngx_uint_t  changed;

    changed = (waiting && lookup->generation != tn->generation);

    lookup->generation = tn->generation;
    lookup->refresh = 0;
    lookup->expired = tn->expired;

    if (tn->stored && tn->stored->expires > now) {

        lookup->todo = NGX_HTTP_TOKEN_DO_SERVE;
        lookup->expires_in = (time_t) ((tn->stored->expires - now) / 1000);
        lookup->serial = tn->stored->serial;

        lookup->refresh = (tn->stored->refresh <= now
                           && tn->lease_until <= now && tn->retry_at <= now);
        return;
    }

    if (tn->stored) {
        lookup->expired = 1;
    }

    if (tn->lease_until > now) {
        lookup->todo = NGX_HTTP_TOKEN_DO_WAIT;
        lookup->recheck = (ngx_msec_t) (tn->lease_until - now) + 1;
        lookup->elsewhere = ((ngx_pid_t) (tn->lease >> 32) != ngx_pid);
        return;
    }

    if (tn->failures && (changed || tn->retry_at > now)) {
        lookup->todo = NGX_HTTP_TOKEN_DO_FAIL;
        lookup->outcome = changed ? tn->failure : NGX_HTTP_TOKEN_BACKOFF;

        /* rounded up; it may have passed */

        lookup->retry_after = (time_t) (ngx_max(tn->retry_at - now, 1) + 999)
                              / 1000;
        return;
    }

    lookup->todo = NGX_HTTP_TOKEN_DO_FETCH;
}


static void
ngx_http_token_node_lease(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now,
    ngx_http_token_lookup_t *lookup)
{
    static uint32_t  serial;

    /* unique on this machine, and tells which worker has it */

    tn->lease = ((uint64_t) ngx_pid << 32) | ++serial;
    tn->lease_until = now + ngx_http_token_lease_time(tlcf);
    tn->waited = 0;

    lookup->lease = tn->lease;
}


/* the entry of a fetch that has ended, if it is still that fetch's to change */

static ngx_http_token_node_t *
ngx_http_token_node_end(ngx_http_token_shctx_t *sh, u_char *digest,
    uint64_t lease, ngx_uint_t local, ngx_uint_t *waited)
{
    ngx_http_token_node_t  *tn;

    tn = ngx_http_token_node_find(sh, digest);

    if (tn == NULL || tn->lease != lease) {

        /* it was evicted or taken over: other workers have to look again */

        *waited = 1;
        return NULL;
    }

    *waited = tn->waited;

    tn->lease = 0;
    tn->lease_until = 0;
    tn->waited = 0;

    if (!local) {
        tn->generation = ++sh->generation;
    }

    return tn;
}


/*
 * Whether a fetch failed in this worker, before the endpoint was called: for
 * want of memory, or of a connection, which is a 500 without an answer.
 */

static ngx_uint_t
ngx_http_token_fetch_local(ngx_http_token_fetch_t *fetch)
{
    if (fetch->outcome == NGX_HTTP_TOKEN_INTERNAL) {
        return 1;
    }

    return (fetch->outcome == NGX_HTTP_TOKEN_UNREACHABLE
            && fetch->rc == NGX_HTTP_INTERNAL_SERVER_ERROR
            && fetch->upstream_status == 0);
}


ngx_int_t
ngx_http_token_cache_end(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored, ngx_uint_t *waited)
{
    ngx_int_t                rc;
    ngx_str_t               *endpoint;
    ngx_uint_t               local, late;
    ngx_http_token_node_t   *tn;
    ngx_http_token_shctx_t  *sh;

    rc = NGX_OK;
    endpoint = &fetch->request->endpoint;

    local = ngx_http_token_fetch_local(fetch);

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_end(sh, digest, lease, local, waited);

    late = (tn == NULL
            && ngx_http_token_node_late(sh, digest, fetch, stored));

    if (tn && fetch->outcome != NGX_HTTP_TOKEN_OK && !local) {
        ngx_http_token_node_fail(tn, fetch);
    }

    if (fetch->outcome == NGX_HTTP_TOKEN_OK && !late) {

        if (tn == NULL && stored) {
            tn = ngx_http_token_node_get(zone, sh, digest, endpoint);
        }

        if (tn) {
            tn->failures = 0;
            tn->retry_at = 0;

            if (stored) {
                rc = ngx_http_token_node_store(zone, sh, tn, stored);
                fetch->serial = stored->serial;
            }
        }
    }

    ngx_http_token_stats_fetch(&sh->endpoints[tn ? tn->endpoint
                                   : ngx_http_token_stats_endpoint(sh,
                                                                 endpoint)],
                               fetch);

    ngx_http_token_zone_unlock(zone, sh);

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "a token of %uz bytes does not fit into its cache",
                      stored->size);
    }

    return late ? NGX_DECLINED : NGX_OK;
}


/*
 * Whether another fetch, which has taken over, makes this one's result useless:
 * a failure, or a token that is older than what the entry has had.
 */

static ngx_uint_t
ngx_http_token_node_late(ngx_http_token_shctx_t *sh, u_char *digest,
    ngx_http_token_fetch_t *fetch, ngx_http_token_stored_t *stored)
{
    ngx_http_token_node_t  *tn;

    tn = ngx_http_token_node_find(sh, digest);

    if (tn == NULL) {
        return 0;
    }

    return (fetch->outcome != NGX_HTTP_TOKEN_OK
            || (stored && stored->asked < tn->asked));
}


static void
ngx_http_token_node_fail(ngx_http_token_node_t *tn,
    ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t                  n;
    ngx_msec_t                  backoff;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = fetch->request->tlcf;

    backoff = tlcf->cache.backoff_min;

    for (n = tn->failures; n && backoff < tlcf->cache.backoff_max; n--) {
        backoff *= 2;
    }

    /* up to a quarter more at random, lest many servers call together */

    backoff += ngx_random() % (backoff / 4 + 1);
    backoff = ngx_min(backoff, tlcf->cache.backoff_max);

    if ((ngx_msec_t) fetch->retry_after * 1000 > backoff) {
        backoff = (ngx_msec_t) fetch->retry_after * 1000;
    }

    tn->failures++;
    tn->failure = fetch->outcome;
    tn->retry_at = ngx_http_token_now() + backoff;
}


ngx_uint_t
ngx_http_token_cache_drop(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_uint_t serial, ngx_msec_t min, ngx_uint_t *dropped)
{
    ngx_uint_t               another;
    ngx_http_token_node_t   *tn;
    ngx_http_token_time_t    now;
    ngx_http_token_shctx_t  *sh;

    another = 1;
    *dropped = 0;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_find(sh, digest);

    if (tn && tn->stored && tn->stored->serial == serial) {

        now = ngx_http_token_now();

        if (tn->dropped && now - tn->dropped < (ngx_http_token_time_t) min) {

            /* the last token was dropped as well, another would not help */

            another = 0;

        } else {
            ngx_http_token_node_free_stored(zone, tn->stored);

            tn->stored = NULL;
            tn->dropped = now;

            *dropped = 1;
        }
    }

    ngx_http_token_zone_unlock(zone, sh);

    return another;
}


void
ngx_http_token_cache_renew(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_msec_t duration)
{
    ngx_http_token_node_t   *tn;
    ngx_http_token_shctx_t  *sh;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_find(sh, digest);

    if (tn && tn->lease == lease) {
        tn->lease_until = ngx_http_token_now() + duration;
    }

    ngx_http_token_zone_unlock(zone, sh);
}


void
ngx_http_token_cache_count(ngx_http_token_zone_t *zone,
    ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t               n;
    ngx_http_token_shctx_t  *sh;

    sh = ngx_http_token_zone_lock(zone);

    n = ngx_http_token_stats_endpoint(sh, &fetch->request->endpoint);

    ngx_http_token_stats_fetch(&sh->endpoints[n], fetch);

    ngx_http_token_zone_unlock(zone, sh);
}


/* less than the lock timeout, so that waiters notice when a worker has died */

ngx_msec_t
ngx_http_token_lease_time(ngx_http_token_loc_conf_t *tlcf)
{
    return ngx_max(tlcf->cache.lock_timeout / 4, 100);
}
