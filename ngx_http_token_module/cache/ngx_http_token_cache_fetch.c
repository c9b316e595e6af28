
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
    ngx_event_t                     renewal;
} ngx_http_token_cache_fetch_t;


static ngx_http_token_cache_fetch_t *ngx_http_token_cache_fetch_create(
    ngx_http_request_t *r, ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_cache_fetch_copy_request(ngx_pool_t *pool,
    ngx_http_token_request_t *dst, ngx_http_token_request_t *src);
static void ngx_http_token_cache_fetch_renew(ngx_event_t *ev);
static void ngx_http_token_cache_fetch_handler(ngx_http_token_fetch_t *fetch);
static ngx_http_token_stored_t *ngx_http_token_cache_fetch_stored(
    ngx_http_token_cache_fetch_t *refresh);
static void ngx_http_token_cache_fetch_end(ngx_http_token_zone_t *zone,
    u_char *digest, uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored);


void
ngx_http_token_cache_fetch(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, uint64_t lease)
{
    ngx_http_token_fetch_t         fetch;
    ngx_http_token_loc_conf_t     *tlcf;
    ngx_http_token_cache_fetch_t  *refresh;

    tlcf = request->tlcf;

    refresh = ngx_http_token_cache_fetch_create(r, request);

    if (refresh == NULL) {
        ngx_memzero(&fetch, sizeof(ngx_http_token_fetch_t));

        fetch.request = request;
        fetch.outcome = NGX_HTTP_TOKEN_INTERNAL;

        ngx_http_token_cache_fetch_end(tlcf->cache.zone->data, digest, lease,
                                       &fetch, NULL);
        return;
    }

    ngx_memcpy(refresh->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN);
    refresh->lease = lease;

    ngx_add_timer(&refresh->renewal, ngx_http_token_lease_time(tlcf) / 2);

    ngx_http_token_fetch_start(refresh->fetch, &refresh->request);
}


static ngx_http_token_cache_fetch_t *
ngx_http_token_cache_fetch_create(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_pool_t                    *pool;
    ngx_http_token_fetch_t        *fetch;
    ngx_http_token_cache_fetch_t  *refresh;

    fetch = ngx_http_token_fetch_create(request->tlcf, r->connection->log);
    if (fetch == NULL) {
        return NULL;
    }

    pool = fetch->main->pool;

    refresh = ngx_pcalloc(pool, sizeof(ngx_http_token_cache_fetch_t));

    if (refresh == NULL
        || ngx_http_token_cache_fetch_copy_request(pool, &refresh->request,
                                                   request)
           != NGX_OK)
    {
        ngx_http_token_fetch_close(fetch);
        return NULL;
    }

    fetch->handler = ngx_http_token_cache_fetch_handler;
    fetch->data = refresh;

    refresh->fetch = fetch;
    refresh->zone = request->tlcf->cache.zone->data;
    refresh->start = ngx_http_token_now();

    refresh->renewal.handler = ngx_http_token_cache_fetch_renew;
    refresh->renewal.data = refresh;
    refresh->renewal.log = fetch->main->connection->log;

    return refresh;
}


/* what is not constant is in the caller's pool, and the caller may leave */

static ngx_int_t
ngx_http_token_cache_fetch_copy_request(ngx_pool_t *pool,
    ngx_http_token_request_t *dst, ngx_http_token_request_t *src)
{
    ngx_str_t   *s;
    ngx_uint_t   i;

    static size_t  offsets[] = {
        offsetof(ngx_http_token_request_t, endpoint),
        offsetof(ngx_http_token_request_t, authorization),
        offsetof(ngx_http_token_request_t, body),
        offsetof(ngx_http_token_request_t, client_id),
        offsetof(ngx_http_token_request_t, secret),
        offsetof(ngx_http_token_request_t, audience),
        offsetof(ngx_http_token_request_t, claims)
    };

    *dst = *src;

    if (src->tlcf->digest) {
        return NGX_OK;
    }

    for (i = 0; i < sizeof(offsets) / sizeof(size_t); i++) {
        s = (ngx_str_t *) ((u_char *) dst + offsets[i]);

        if (s->len == 0) {
            continue;
        }

        s->data = ngx_pstrdup(pool, s);
        if (s->data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void
ngx_http_token_cache_fetch_renew(ngx_event_t *ev)
{
    ngx_msec_t                     lease;
    ngx_http_token_cache_fetch_t  *refresh;

    refresh = ev->data;

    lease = ngx_http_token_lease_time(refresh->request.tlcf);

    ngx_http_token_cache_renew(refresh->zone, refresh->digest, refresh->lease,
                               lease);

    ngx_add_timer(ev, lease / 2);
}


/* the handler of the fetch */

static void
ngx_http_token_cache_fetch_handler(ngx_http_token_fetch_t *fetch)
{
    ngx_http_token_cache_fetch_t  *refresh = fetch->data;

    if (refresh->renewal.timer_set) {
        ngx_del_timer(&refresh->renewal);
    }

    ngx_http_token_cache_fetch_end(refresh->zone, refresh->digest,
                                   refresh->lease, fetch,
                                   ngx_http_token_cache_fetch_stored(refresh));
}


/* makes what the cache keeps; returns NULL if it keeps nothing */

static ngx_http_token_stored_t *
ngx_http_token_cache_fetch_stored(ngx_http_token_cache_fetch_t *refresh)
{
    int64_t                     lifetime;
    ngx_http_token_fetch_t     *fetch;
    ngx_http_token_loc_conf_t  *tlcf;

    fetch = refresh->fetch;
    tlcf = refresh->request.tlcf;

    if (fetch->outcome != NGX_HTTP_TOKEN_OK) {
        return NULL;
    }

    lifetime = fetch->lifetime;

    if (lifetime == -1) {
        lifetime = (int64_t) tlcf->cache.default_ttl * 1000;
    }

    if (lifetime <= 0) {
        return NULL;
    }

    return ngx_http_token_stored_make(fetch->main->pool, tlcf, fetch->members,
                                      refresh->start, lifetime);
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
