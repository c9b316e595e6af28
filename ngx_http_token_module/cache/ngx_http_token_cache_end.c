
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What a fetch that has ended does to its entry: the lease ends, and a token is
 * kept, or a failure sets a backoff.
 */


#include "ngx_http_token_cache.h"


static ngx_int_t ngx_http_token_node_keep(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn,
    ngx_http_token_fetch_t *fetch, ngx_http_token_stored_t *stored);
static void ngx_http_token_node_fail(ngx_http_token_node_t *tn,
    ngx_http_token_fetch_t *fetch);
static ngx_http_token_node_t *ngx_http_token_node_end(
    ngx_http_token_shctx_t *sh, u_char *digest, uint64_t lease,
    ngx_uint_t local, ngx_uint_t *waited);
static ngx_uint_t ngx_http_token_fetch_local(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_node_late(ngx_http_token_shctx_t *sh,
    u_char *digest, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored);


/* the entry of a fetch that has ended, if it is still that fetch's to change */

static ngx_http_token_node_t *
ngx_http_token_node_end(ngx_http_token_shctx_t *sh, u_char *digest,
    uint64_t lease, ngx_uint_t local, ngx_uint_t *waited)
{
    ngx_uint_t              held;
    ngx_http_token_node_t  *tn;

    tn = ngx_http_token_node_find(sh, digest);

    if (tn == NULL || tn->lease != lease) {

        /* it was evicted or taken over: other workers have to look again */

        *waited = 1;
        return NULL;
    }

    held = (tn->lease_until > ngx_http_token_now());

    *waited = tn->waited || !held;

    tn->lease = 0;
    tn->lease_until = 0;
    tn->waited = 0;

    if (!held) {
        return NULL;
    }

    if (!local) {
        tn->generation = (uint32_t) ++sh->generation;
    }

    return tn;
}


/*
 * Whether a fetch failed in this worker, before the endpoint was called: for
 * want of memory, of a connection, which is a 500 without an answer, or of
 * another location's token.
 */

static ngx_uint_t
ngx_http_token_fetch_local(ngx_http_token_fetch_t *fetch)
{
    if (fetch->outcome == NGX_HTTP_TOKEN_INTERNAL || fetch->uncalled) {
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

    if (tn && fetch->uncalled) {

        /* who waits for a token, tries again; renewals are not that urgent */

        tn->failures = 0;
        tn->retry_at = ngx_http_token_now()
                       + fetch->request->tlcf->cache.backoff_min;
        tn->configured = ngx_http_token_configured;
    }

    if (fetch->outcome == NGX_HTTP_TOKEN_OK && !late) {

        if (tn == NULL && stored) {
            tn = ngx_http_token_node_get(zone, sh, digest, endpoint);
        }

        if (tn) {
            rc = ngx_http_token_node_keep(zone, sh, tn, fetch, stored);
        }
    }

    if (fetch->taken) {
        sh->store.taken += (fetch->outcome == NGX_HTTP_TOKEN_OK);

    } else {
        ngx_http_token_stats_fetch(&sh->endpoints[tn ? tn->endpoint
                                   : ngx_http_token_stats_endpoint(sh,
                                                                 endpoint)],
                                   fetch);
    }

    ngx_http_token_zone_unlock(zone, sh);

    if (rc != NGX_OK) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "a token of %uz bytes does not fit into its cache",
                      (size_t) stored->size);
    }

    return late ? NGX_DECLINED : NGX_OK;
}


/* a token, if it can be kept; the one that is there is not renewed in vain */

static ngx_int_t
ngx_http_token_node_keep(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn,
    ngx_http_token_fetch_t *fetch, ngx_http_token_stored_t *stored)
{
    ngx_int_t  rc;

    tn->failures = 0;
    tn->retry_at = 0;
    tn->secret = fetch->secret;

    rc = stored ? ngx_http_token_node_store(zone, sh, tn, stored) : NGX_OK;

    if (stored && rc == NGX_OK) {
        fetch->serial = stored->serial;

    } else if (tn->stored || fetch->request->tlcf->cache.warm) {
        tn->retry_at = ngx_http_token_now()
                       + fetch->request->tlcf->cache.backoff_max;
        tn->configured = ngx_http_token_configured;
    }

    return rc;
}


/*
 * Whether the result of a fetch that has lost its lease is useless: a failure,
 * which may be that of a machine that slept, or a token that is older than what
 * the entry has had.
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
    ngx_msec_t                  backoff, max;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = fetch->request->tlcf;
    max = tlcf->cache.backoff_max;

    if (tn->configured < ngx_http_token_configured) {
        tn->failures = 0;
    }

    backoff = tlcf->cache.backoff_min;

    for (n = tn->failures; n && backoff < max; n--) {
        backoff *= 2;
    }

    /* up to a quarter more at random, lest many servers call together */

    backoff += ngx_random() % (backoff / 4 + 1);

    /* an endpoint that asks for an hour may be well in a second */

    backoff = ngx_max(backoff, (ngx_msec_t) fetch->retry_after * 1000);
    backoff = ngx_min(backoff, max);

    /* another machine has chosen it */

    if (fetch->taken) {
        backoff = fetch->backoff;
    }

    fetch->backoff = backoff;
    fetch->retry_after = ngx_min(fetch->retry_after,
                                 (time_t) ((max + 999) / 1000));

    tn->failures += (tn->failures < 255);
    tn->failure = fetch->outcome;
    tn->retry_at = ngx_http_token_now() + backoff;
    tn->configured = ngx_max(tn->configured, ngx_http_token_configured);
}
