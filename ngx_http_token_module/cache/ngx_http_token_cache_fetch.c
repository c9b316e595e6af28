
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
    ngx_http_token_share_t         *share;      /* in the store, or NULL */
    ngx_http_token_get_pt           get;
} ngx_http_token_cache_fetch_t;


static ngx_http_token_cache_fetch_t *ngx_http_token_cache_fetch_create(
    ngx_http_token_request_t *request, ngx_log_t *log);
static void ngx_http_token_cache_fetch_shared(ngx_http_token_share_t *share);
static void ngx_http_token_cache_fetch_taken(
    ngx_http_token_cache_fetch_t *cfetch);
static void ngx_http_token_cache_fetch_failure(
    ngx_http_token_cache_fetch_t *cfetch);
static void ngx_http_token_cache_fetch_extend(ngx_event_t *ev);
static void ngx_http_token_cache_fetch_handler(ngx_http_token_fetch_t *fetch);
static ngx_http_token_stored_t *ngx_http_token_cache_fetch_stored(
    ngx_http_token_cache_fetch_t *cfetch);
static ngx_http_token_stored_t *ngx_http_token_cache_fetch_make(
    ngx_http_token_cache_fetch_t *cfetch, int64_t lifetime);
static void ngx_http_token_cache_fetch_share(
    ngx_http_token_cache_fetch_t *cfetch, ngx_http_token_stored_t *stored);
static void ngx_http_token_cache_fetch_warn(
    ngx_http_token_cache_fetch_t *cfetch, char *wrong);
static ngx_int_t ngx_http_token_cache_fetch_end(ngx_http_token_zone_t *zone,
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
    cfetch->get = get;

    if (cfetch->fetch->secret) {
        ngx_http_token_cache_secret(cfetch->zone, digest, cfetch->fetch);
    }

    ngx_add_timer(&cfetch->extension, NGX_HTTP_TOKEN_LEASE_EXTEND);

    if (cfetch->zone->store) {
        cfetch->share = ngx_http_token_share_create(cfetch->fetch->main,
                                                    &cfetch->request,
                                                    cfetch->zone, digest);
    }

    if (cfetch->share) {
        cfetch->share->handler = ngx_http_token_cache_fetch_shared;
        cfetch->share->data = cfetch;
        cfetch->share->have = ngx_http_token_cache_shared(cfetch->zone,
                                                          digest);

        if (ngx_http_token_share_take(cfetch->share) == NGX_OK) {
            return;
        }
    }

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

    (void) ngx_http_token_cache_fetch_end(request->tlcf->cache.zone->data,
                                          digest, lease, &fetch, NULL);
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
    fetch->request = &cfetch->request;

    cfetch->fetch = fetch;
    cfetch->zone = request->tlcf->cache.zone->data;
    cfetch->start = ngx_http_token_now();
    cfetch->lead = ngx_http_token_lead(cfetch->start);

    cfetch->extension.handler = ngx_http_token_cache_fetch_extend;
    cfetch->extension.data = cfetch;
    cfetch->extension.log = fetch->main->connection->log;

    return cfetch;
}


/* the handler of the share: the store has been asked */

static void
ngx_http_token_cache_fetch_shared(ngx_http_token_share_t *share)
{
    ngx_http_token_fetch_t        *fetch;
    ngx_http_token_cache_fetch_t  *cfetch;

    cfetch = share->data;
    fetch = cfetch->fetch;

    switch (share->result) {

    case NGX_HTTP_TOKEN_SHARE_TOKEN:
        ngx_http_token_cache_fetch_taken(cfetch);
        break;

    case NGX_HTTP_TOKEN_SHARE_FAILED:
        ngx_http_token_cache_fetch_failure(cfetch);
        break;

    default: /* NGX_HTTP_TOKEN_SHARE_FETCH */

        cfetch->start = ngx_http_token_now();
        cfetch->lead = ngx_http_token_lead(cfetch->start);

        ngx_http_token_chain_start(fetch, &cfetch->request, &cfetch->start,
                                   cfetch->get);
        return;
    }

    ngx_http_token_fetch_end(fetch);
}


/* makes a token of the store the result, as if it had just been fetched */

static void
ngx_http_token_cache_fetch_taken(ngx_http_token_cache_fetch_t *cfetch)
{
    u_char                   *p;
    ngx_pool_t               *pool;
    ngx_array_t              *members;
    ngx_http_token_fetch_t   *fetch;
    ngx_http_token_share_t   *share;
    ngx_http_token_member_t  *m;

    fetch = cfetch->fetch;
    share = cfetch->share;
    pool = fetch->main->pool;

    fetch->taken = 1;
    fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;

    p = ngx_pnalloc(pool, NGX_INT64_LEN);

    if (p == NULL
        || ngx_http_token_json_parse(pool, &share->text, &members) != NGX_OK)
    {
        return;
    }

    m = ngx_http_token_json_find(members, "access_token");

    if (m == NULL || !m->is_string) {
        return;
    }

    m = ngx_http_token_json_find(members, "expires_in");

    if (m) {
        m->value.data = p;
        m->value.len = ngx_sprintf(p, "%L", share->left / 1000) - p;
    }

    fetch->outcome = NGX_HTTP_TOKEN_OK;
    fetch->members = members;
    fetch->lifetime = share->told ? share->left : -1;
    fetch->last = share->last;

    if (fetch->secret) {
        fetch->secret = share->secret;
    }

    /* of all of the lifetime, so that it is renewed when the others do */

    cfetch->start = share->expires - share->lifetime;
}


/* another machine has called the endpoint in vain a moment ago */

static void
ngx_http_token_cache_fetch_failure(ngx_http_token_cache_fetch_t *cfetch)
{
    ngx_str_t                endpoint;
    ngx_http_token_fetch_t  *fetch;
    ngx_http_token_share_t  *share;

    fetch = cfetch->fetch;
    share = cfetch->share;

    fetch->taken = 1;
    fetch->outcome = share->outcome;
    fetch->retry_after = share->retry_after;
    fetch->backoff = share->backoff;

    endpoint = ngx_http_token_log_url(&fetch->request->endpoint);

    ngx_log_error(NGX_LOG_ERR, fetch->main->connection->log, 0,
                  "token endpoint \"%V\" is not called for %M ms: it has "
                  "failed for another machine (%s)", &endpoint,
                  fetch->backoff, ngx_http_token_outcome_names[fetch->outcome]);
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

        if (cfetch->share) {
            ngx_http_token_share_extend(cfetch->share);
        }

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

    ngx_int_t                 rc;
    ngx_http_token_share_t   *share;
    ngx_http_token_stored_t  *stored;

    if (cfetch->extension.timer_set) {
        ngx_del_timer(&cfetch->extension);
    }

    share = cfetch->share;

    if (share) {
        ngx_http_token_share_close(share);
    }

    stored = (share && fetch->taken)
             ? ngx_http_token_cache_fetch_make(cfetch, share->lifetime)
             : ngx_http_token_cache_fetch_stored(cfetch);

    rc = ngx_http_token_cache_fetch_end(cfetch->zone, cfetch->digest,
                                        cfetch->lease, fetch, stored);

    if (share && share->serial) {
        ngx_http_token_cache_fetch_share(cfetch,
                                         (rc == NGX_OK) ? stored : NULL);
    }
}


/* makes what the cache keeps; returns NULL if it keeps nothing */

static ngx_http_token_stored_t *
ngx_http_token_cache_fetch_stored(ngx_http_token_cache_fetch_t *cfetch)
{
    char                       *wrong;
    int64_t                     lifetime;
    ngx_http_token_time_t       now;
    ngx_http_token_fetch_t     *fetch;
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

    return ngx_http_token_cache_fetch_make(cfetch, lifetime);
}


static ngx_http_token_stored_t *
ngx_http_token_cache_fetch_make(ngx_http_token_cache_fetch_t *cfetch,
    int64_t lifetime)
{
    ngx_http_token_fetch_t   *fetch;
    ngx_http_token_share_t   *share;
    ngx_http_token_stored_t  *stored;

    fetch = cfetch->fetch;
    share = cfetch->share;

    if (fetch->outcome != NGX_HTTP_TOKEN_OK) {
        return NULL;
    }

    stored = ngx_http_token_stored_make(fetch->main->pool,
                                        cfetch->request.tlcf, fetch->members,
                                        cfetch->start, lifetime);
    if (stored == NULL) {
        return NULL;
    }

    stored->lead = cfetch->lead;

    if (fetch->last) {
        stored->renew_at = stored->expires;
    }

    if (share && share->serial) {
        stored->shared = share->serial;
        ngx_memcpy(stored->name, share->names[0], NGX_HTTP_TOKEN_DIGEST_LEN);

    } else if (share && fetch->taken) {
        stored->shared = share->token_serial;
        ngx_memcpy(stored->name, share->names[share->key],
                   NGX_HTTP_TOKEN_DIGEST_LEN);
    }

    return stored;
}


/* the lease in the store ends with what the fetch has brought */

static void
ngx_http_token_cache_fetch_share(ngx_http_token_cache_fetch_t *cfetch,
    ngx_http_token_stored_t *stored)
{
    ngx_array_t               all;
    ngx_http_token_fetch_t   *fetch;
    ngx_http_token_share_t   *share;
    ngx_http_token_shared_t   token;

    fetch = cfetch->fetch;
    share = cfetch->share;

    if (stored) {
        ngx_memzero(&all, sizeof(ngx_array_t));

        token.expires = stored->expires;
        token.lifetime = stored->expires - stored->asked;
        token.left = fetch->taken ? share->left : token.lifetime;
        token.told = (fetch->lifetime != -1);
        token.last = fetch->last;
        token.secret = fetch->secret;

        if (ngx_http_token_json_subset(fetch->main->pool, fetch->members, &all,
                                       &token.text)
            == NGX_OK
            && ngx_http_token_share_put(share, &token) == NGX_OK)
        {
            return;
        }
    }

    ngx_http_token_share_fail(share, fetch->outcome, fetch->retry_after,
                              fetch->backoff);
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


/*
 * Ends the lease, and wakes the requests that wait.  Returns NGX_OK, or
 * NGX_DECLINED if the result is of no use.
 */

static ngx_int_t
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

    return rc;
}
