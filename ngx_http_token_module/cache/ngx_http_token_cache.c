
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What callers do with the entries of the cache: they look tokens up, take
 * leases, and drop tokens that are refused.
 */


#include "ngx_http_token_cache.h"


static void ngx_http_token_cache_decide_locked(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);
static ngx_uint_t ngx_http_token_cache_passes_by(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);
static void ngx_http_token_cache_act_locked(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);
static ngx_http_token_stored_t *ngx_http_token_cache_read_locked(
    ngx_http_request_t *r, ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn,
    ngx_http_token_lookup_t *lookup);
static ngx_int_t ngx_http_token_cache_serve(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup);
static void ngx_http_token_node_lease(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_http_token_lookup_t *lookup);


ngx_int_t
ngx_http_token_cache_lookup(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup)
{
    ngx_http_token_node_t    *tn;
    ngx_http_token_time_t     now;
    ngx_http_token_zone_t    *zone;
    ngx_http_token_shctx_t   *sh;
    ngx_http_token_stored_t  *stored;

    zone = request->tlcf->cache.zone->data;
    stored = NULL;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_get(zone, sh, digest, &request->endpoint);

    if (tn == NULL) {
        ngx_http_token_zone_unlock(zone, sh);

        lookup->todo = NGX_HTTP_TOKEN_DO_BYPASS;
        return NGX_OK;
    }

    now = ngx_http_token_now();

    ngx_http_token_node_age(zone, tn, now);

    ngx_http_token_cache_decide_locked(tn, now, waiting, lookup);

    if (lookup->todo != NGX_HTTP_TOKEN_DO_SERVE || lookup->renew) {
        ngx_http_token_cache_act_locked(zone, tn, now, waiting, lookup);
    }

    ngx_http_token_stats_lookup(&sh->endpoints[tn->endpoint], lookup, waiting);

    if (lookup->todo == NGX_HTTP_TOKEN_DO_SERVE) {
        stored = ngx_http_token_cache_read_locked(r, zone, sh, tn,
                                                  lookup);
    }

    ngx_http_token_zone_unlock(zone, sh);

    if (lookup->todo != NGX_HTTP_TOKEN_DO_SERVE) {
        return NGX_OK;
    }

    if (stored == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_token_cache_serve(r, request, digest, stored, lookup);
}


/* takes all that is needed of a token, whose answer is made without the lock */

static ngx_http_token_stored_t *
ngx_http_token_cache_read_locked(ngx_http_request_t *r,
    ngx_http_token_zone_t *zone, ngx_http_token_shctx_t *sh,
    ngx_http_token_node_t *tn, ngx_http_token_lookup_t *lookup)
{
    ngx_http_token_slot_t    *slot;
    ngx_http_token_stored_t  *stored;

    slot = ngx_http_token_zone_slot(zone, tn->digest);

    lookup->changed = slot->generation;
    lookup->touch = zone->unlocked->evictions + 1
                    + sh->entries / NGX_HTTP_TOKEN_TOUCH;
    lookup->endpoint = tn->endpoint;

    stored = ngx_palloc(r->pool, tn->stored->size);

    if (stored) {
        ngx_http_token_parts_read(zone, tn->stored, (u_char *) stored);
    }

    return stored;
}


static ngx_int_t
ngx_http_token_cache_serve(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup)
{
    ngx_int_t                   rc;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    lookup->expires = stored->expires;
    lookup->renew_at = stored->renew_at;
    lookup->lead = stored->lead;
    lookup->number_len = 0;

    if (lookup->scheme) {
        rc = ngx_http_token_stored_token(r, stored, lookup);

    } else if (stored->fields == tlcf->fields_hash) {
        rc = ngx_http_token_stored_body(r, stored, lookup);

    } else {

        /* the fields of another location */

        return ngx_http_token_stored_compose(r, tlcf->fields, stored, lookup);
    }

    if (rc == NGX_OK && !lookup->renew && !lookup->bypass) {
        ngx_http_token_local_set(request, digest, lookup);
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
    lookup->renew = 0;
    lookup->expired = tn->expired;

    if (tn->stored && tn->stored->expires > now
        && !ngx_http_token_cache_passes_by(tn, now, waiting, lookup))
    {
        lookup->todo = NGX_HTTP_TOKEN_DO_SERVE;
        lookup->expires_in = (time_t) ((tn->stored->expires - now) / 1000);
        lookup->serial = tn->stored->serial;

        lookup->renew = (tn->stored->renew_at <= now
                         && tn->lease_until <= now
                         && !ngx_http_token_node_backoff(tn, now));
        return;
    }

    if (tn->stored) {
        lookup->expired = 1;
    }

    if (tn->lease_until > now) {
        lookup->todo = NGX_HTTP_TOKEN_DO_WAIT;
        lookup->elsewhere = ((ngx_pid_t) (tn->lease >> 32) != ngx_pid);

        /* a fetch of this worker tells when it loses its lease */

        lookup->recheck = lookup->elsewhere
                          ? (ngx_msec_t) (tn->lease_until - now) + 1
                          : NGX_TIMER_INFINITE;
        return;
    }

    if (tn->failures && tn->configured >= ngx_http_token_configured
        && (changed || tn->retry_at > now
            || (lookup->bypass
                && now - tn->bypassed < NGX_HTTP_TOKEN_BYPASS_EVERY)))
    {
        lookup->todo = NGX_HTTP_TOKEN_DO_FAIL;
        lookup->outcome = changed ? tn->failure : NGX_HTTP_TOKEN_BACKOFF;

        /* rounded up; it may have passed */

        lookup->retry_after = (time_t) (ngx_max(tn->retry_at - now, 1) + 999)
                              / 1000;
        return;
    }

    lookup->todo = NGX_HTTP_TOKEN_DO_FETCH;
}


/*
 * Whether a caller gets another token than the valid one that is there: it came
 * with token_proxy_cache_bypass, and the token is that of before.  A failure is
 * not hidden from it by a token that may be revoked.
 */

static ngx_uint_t
ngx_http_token_cache_passes_by(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup)
{
    ngx_http_token_time_t  last;

    if (!lookup->bypass
        || (waiting && lookup->passed != tn->stored->serial))
    {
        return 0;
    }

    last = ngx_max(tn->renewed, tn->bypassed);

    if (tn->lease_until <= now && !tn->failures
        && last && now - last < NGX_HTTP_TOKEN_BYPASS_EVERY)
    {
        return 0;
    }

    lookup->passed = tn->stored->serial;

    return 1;
}


/* what the caller does to the entry; a hit does nothing */

static void
ngx_http_token_cache_act_locked(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup)
{
    if (lookup->passed == 0 && ngx_http_token_node_use_newer(zone, tn, now)) {
        ngx_http_token_cache_decide_locked(tn, now, waiting, lookup);
    }

    if (lookup->passed && lookup->todo != NGX_HTTP_TOKEN_DO_SERVE) {
        tn->revoked = 1;

        if (lookup->todo == NGX_HTTP_TOKEN_DO_FETCH) {
            tn->bypassed = now;
        }
    }

    if (lookup->todo == NGX_HTTP_TOKEN_DO_FETCH || lookup->renew) {
        ngx_http_token_node_lease(tn, now, lookup);

    } else if (lookup->todo == NGX_HTTP_TOKEN_DO_WAIT && lookup->elsewhere) {
        tn->waited = 1;
    }
}


static void
ngx_http_token_node_lease(ngx_http_token_node_t *tn, ngx_http_token_time_t now,
    ngx_http_token_lookup_t *lookup)
{
    static uint32_t  serial;

    /* unique on this machine, and tells which worker has it */

    tn->lease = ((uint64_t) ngx_pid << 32) | ++serial;
    tn->lease_until = now + NGX_HTTP_TOKEN_LEASE_TIME;
    tn->waited = 0;

    lookup->lease = tn->lease;
}


ngx_uint_t
ngx_http_token_cache_drop(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_uint_t serial, ngx_msec_t min, ngx_uint_t *dropped)
{
    u_char                   name[NGX_HTTP_TOKEN_DIGEST_LEN];
    uint64_t                 shared;
    ngx_uint_t               another;
    ngx_http_token_node_t   *tn;
    ngx_http_token_time_t    now;
    ngx_http_token_shctx_t  *sh;

    another = 1;
    shared = 0;
    *dropped = 0;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_find(sh, digest);

    if (tn && tn->stored && tn->stored->serial == serial) {

        now = ngx_http_token_now();

        ngx_http_token_node_age(zone, tn, now);

        if (ngx_http_token_node_use_before(zone, tn, now)) {
            *dropped = NGX_HTTP_TOKEN_USES_BEFORE;

        } else if (tn->dropped
                   && now - tn->dropped < (ngx_http_token_time_t) min)
        {
            /* the last token was dropped as well, another would not help */

            another = 0;

        } else {
            shared = tn->stored->shared;
            ngx_memcpy(name, tn->stored->name, NGX_HTTP_TOKEN_DIGEST_LEN);

            ngx_http_token_node_free_tokens(zone, tn);

            tn->dropped = now;

            *dropped = NGX_HTTP_TOKEN_DROPPED;
        }
    }

    ngx_http_token_zone_unlock(zone, sh);

    if (shared && zone->store) {
        ngx_http_token_share_drop(zone, name, shared);
    }

    return another;
}


ngx_int_t
ngx_http_token_cache_extend(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease)
{
    ngx_int_t                rc;
    ngx_http_token_node_t   *tn;
    ngx_http_token_time_t    now;
    ngx_http_token_shctx_t  *sh;

    rc = NGX_OK;

    sh = ngx_http_token_zone_lock(zone);

    now = ngx_http_token_now();

    tn = ngx_http_token_node_find(sh, digest);

    /* nobody else fetches for an entry that was evicted */

    if (tn) {
        if (tn->lease == lease && tn->lease_until > now) {
            tn->lease_until = now + NGX_HTTP_TOKEN_LEASE_TIME;

        } else {
            rc = NGX_DECLINED;
        }
    }

    ngx_http_token_zone_unlock(zone, sh);

    return rc;
}


ngx_msec_t
ngx_http_token_cache_look_ahead(ngx_http_token_loc_conf_t *tlcf,
    uint64_t *lease)
{
    ngx_http_token_node_t    *tn;
    ngx_http_token_time_t     now, next;
    ngx_http_token_zone_t    *zone;
    ngx_http_token_shctx_t   *sh;
    ngx_http_token_lookup_t   lookup;

    ngx_memzero(&lookup, sizeof(ngx_http_token_lookup_t));

    *lease = 0;

    zone = tlcf->cache.zone->data;

    sh = ngx_http_token_zone_lock(zone);

    now = ngx_http_token_now();
    next = now + NGX_HTTP_TOKEN_WARM_EVERY;

    tn = ngx_http_token_node_get(zone, sh, tlcf->digest,
                                 &tlcf->request.endpoint);

    if (tn == NULL) {

        /* the zone has no room */

    } else if (tn->lease_until > now) {

        /* a fetch may end long before its lease would */

        next = now + NGX_HTTP_TOKEN_LEASE_EXTEND;

    } else if (ngx_http_token_node_backoff(tn, now)) {
        next = tn->retry_at;

    } else {
        ngx_http_token_node_age(zone, tn, now);

        ngx_http_token_cache_decide_locked(tn, now, 0, &lookup);

        if (lookup.todo == NGX_HTTP_TOKEN_DO_FETCH || lookup.renew) {
            ngx_http_token_cache_act_locked(zone, tn, now, 0, &lookup);
        }

        if (lookup.lease) {
            *lease = lookup.lease;
            next = now + NGX_HTTP_TOKEN_LEASE_EXTEND;

        } else if (tn->stored && tn->stored->renew_at > now) {
            next = tn->stored->renew_at;
        }

        /* renewals are counted, and no caller */

        ngx_http_token_stats_lookup(&sh->endpoints[tn->endpoint], &lookup, 1);
    }

    ngx_http_token_zone_unlock(zone, sh);

    return (ngx_msec_t) ngx_min(next - now, NGX_HTTP_TOKEN_WARM_EVERY);
}


ngx_uint_t
ngx_http_token_cache_warn(ngx_http_token_zone_t *zone,
    ngx_http_token_fetch_t *fetch)
{
    ngx_uint_t                  n, warn;
    ngx_http_token_time_t       now;
    ngx_http_token_shctx_t     *sh;
    ngx_http_token_endpoint_t  *endpoint;

    sh = ngx_http_token_zone_lock(zone);

    now = ngx_http_token_now();

    n = ngx_http_token_stats_endpoint(sh, &fetch->request->endpoint);
    endpoint = &sh->endpoints[n];

    warn = (endpoint->warned == 0
            || now - endpoint->warned >= NGX_HTTP_TOKEN_WARN_EVERY);

    if (warn) {
        endpoint->warned = now;
    }

    ngx_http_token_zone_unlock(zone, sh);

    return warn;
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


void
ngx_http_token_cache_secret(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_http_token_fetch_t *fetch)
{
    ngx_http_token_node_t   *tn;
    ngx_http_token_shctx_t  *sh;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_find(sh, digest);

    if (tn && tn->secret) {
        fetch->secret = tn->secret;
    }

    ngx_http_token_zone_unlock(zone, sh);
}


uint64_t
ngx_http_token_cache_shared(ngx_http_token_zone_t *zone, u_char *digest)
{
    uint64_t                 shared;
    ngx_http_token_node_t   *tn;
    ngx_http_token_shctx_t  *sh;

    sh = ngx_http_token_zone_lock(zone);

    tn = ngx_http_token_node_find(sh, digest);

    shared = tn ? tn->shared : 0;

    ngx_http_token_zone_unlock(zone, sh);

    return shared;
}
