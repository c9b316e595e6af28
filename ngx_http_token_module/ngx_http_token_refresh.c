
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Fetches without a client.  The fetch is a subrequest like any other, but of
 * a request that the module makes, on a connection that has no socket: no
 * caller that leaves ends it, and no caller's next request waits for it.
 */


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_http_token_fetch_t          fetch;    /* the first member */
    ngx_http_token_request_t        request;
    ngx_http_request_t             *main;
    ngx_http_token_zone_t          *zone;
    u_char                          digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    uint64_t                        lease;
    ngx_http_token_time_t           start;
    ngx_msec_t                      deadline;
    ngx_event_t                     renewal;
} ngx_http_token_refresh_t;


static ngx_http_token_refresh_t *ngx_http_token_refresh_create(
    ngx_http_request_t *r, ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_refresh_copy(ngx_pool_t *pool,
    ngx_http_token_request_t *dst, ngx_http_token_request_t *src);
static ngx_connection_t *ngx_http_token_refresh_connection(
    ngx_http_request_t *r, ngx_http_token_loc_conf_t *tlcf);
static void ngx_http_token_refresh_close(ngx_connection_t *c);
static ngx_http_request_t *ngx_http_token_refresh_request(
    ngx_connection_t *c, ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);
static void ngx_http_token_refresh_finished(ngx_http_request_t *r);
static void ngx_http_token_refresh_renew(ngx_event_t *ev);
static void ngx_http_token_refresh_end(ngx_http_token_refresh_t *refresh);
static void ngx_http_token_refresh_settle(ngx_http_token_zone_t *zone,
    u_char *digest, uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored);
static u_char *ngx_http_token_refresh_log(ngx_log_t *log, u_char *buf,
    size_t len);


/* what modules find as the address of a connection that has none */

static struct sockaddr_un  ngx_http_token_sockaddr = {
    .sun_family = AF_UNIX
};


void
ngx_http_token_refresh(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, uint64_t lease)
{
    ngx_connection_t           *c;
    ngx_http_token_fetch_t      fetch;
    ngx_http_token_refresh_t   *refresh;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    refresh = ngx_http_token_refresh_create(r, request);

    if (refresh == NULL) {
        ngx_memzero(&fetch, sizeof(ngx_http_token_fetch_t));

        fetch.request = request;
        fetch.outcome = NGX_HTTP_TOKEN_INTERNAL;

        ngx_http_token_refresh_settle(tlcf->cache->data, digest, lease,
                                      &fetch, NULL);
        return;
    }

    ngx_memcpy(refresh->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN);
    refresh->lease = lease;

    c = refresh->main->connection;

    if (ngx_http_token_fetch(refresh->main, &refresh->fetch) != NGX_OK) {
        refresh->fetch.outcome = NGX_HTTP_TOKEN_INTERNAL;
        ngx_http_token_refresh_end(refresh);
        return;
    }

    ngx_add_timer(&refresh->renewal, ngx_http_token_lease_time(tlcf) / 2);

    ngx_http_run_posted_requests(c);
}


/* a part of the lock timeout, so that waiters see a fetch's worker die */

ngx_msec_t
ngx_http_token_lease_time(ngx_http_token_loc_conf_t *tlcf)
{
    return ngx_max(tlcf->lock_timeout / 4, 100);
}


static ngx_http_token_refresh_t *
ngx_http_token_refresh_create(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *main;
    ngx_http_upstream_conf_t   *ucf;
    ngx_http_token_refresh_t   *refresh;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    c = ngx_http_token_refresh_connection(r, tlcf);
    if (c == NULL) {
        return NULL;
    }

    main = ngx_http_token_refresh_request(c, r, tlcf);

    if (main == NULL) {
        ngx_http_token_refresh_close(c);
        return NULL;
    }

    refresh = ngx_pcalloc(main->pool, sizeof(ngx_http_token_refresh_t));

    if (refresh == NULL
        || ngx_http_token_refresh_copy(main->pool, &refresh->request, request)
           != NGX_OK)
    {
        ngx_destroy_pool(main->pool);
        ngx_http_token_refresh_close(c);
        return NULL;
    }

    refresh->fetch.request = &refresh->request;
    refresh->main = main;
    refresh->zone = tlcf->cache->data;
    refresh->start = ngx_http_token_now();

    /* an endpoint that sends a byte now and then does not hold it for ever */

    ucf = tlcf->fetch_conf[ngx_http_proxy_module.ctx_index];

    refresh->deadline = ngx_current_msec + ucf->connect_timeout
                        + ucf->send_timeout + ucf->read_timeout;

    refresh->renewal.handler = ngx_http_token_refresh_renew;
    refresh->renewal.data = refresh;
    refresh->renewal.log = c->log;

    ngx_http_token_ctx(main)->fetch = &refresh->fetch;

    return refresh;
}


/* what is not constant belongs to the caller, who may leave */

static ngx_int_t
ngx_http_token_refresh_copy(ngx_pool_t *pool, ngx_http_token_request_t *dst,
    ngx_http_token_request_t *src)
{
    ngx_uint_t   i;
    ngx_str_t   *from[6], *to[6];

    *dst = *src;

    if (src->tlcf->digest) {
        return NGX_OK;
    }

    from[0] = &src->endpoint;
    from[1] = &src->authorization;
    from[2] = &src->body;
    from[3] = &src->client_id;
    from[4] = &src->secret;
    from[5] = &src->audience;

    to[0] = &dst->endpoint;
    to[1] = &dst->authorization;
    to[2] = &dst->body;
    to[3] = &dst->client_id;
    to[4] = &dst->secret;
    to[5] = &dst->audience;

    for (i = 0; i < 6; i++) {
        if (from[i]->len == 0) {
            continue;
        }

        to[i]->data = ngx_pstrdup(pool, from[i]);
        if (to[i]->data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_connection_t *
ngx_http_token_refresh_connection(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_log_t                 *log;
    ngx_pool_t                *pool;
    ngx_connection_t          *c;
    ngx_http_log_ctx_t        *ctx;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = tlcf->loc_conf[ngx_http_core_module.ctx_index];

    c = ngx_get_connection(0, r->connection->log);
    if (c == NULL) {
        return NULL;
    }

    pool = ngx_create_pool(1024, ngx_cycle->log);

    if (pool == NULL) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NULL;
    }

    c->fd = (ngx_socket_t) -1;
    c->pool = pool;

    log = ngx_palloc(pool, sizeof(ngx_log_t));
    ctx = ngx_pcalloc(pool, sizeof(ngx_http_log_ctx_t));

    if (log == NULL || ctx == NULL) {
        ngx_http_token_refresh_close(c);
        return NULL;
    }

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    *log = *clcf->error_log;

    log->connection = c->number;
    log->handler = ngx_http_token_refresh_log;
    log->data = ctx;
    log->action = NULL;

    ctx->connection = c;

    c->log = log;
    c->read->log = log;
    c->write->log = log;
    pool->log = log;

    c->sockaddr = (struct sockaddr *) &ngx_http_token_sockaddr;
    c->socklen = sizeof(sa_family_t);
    c->local_sockaddr = c->sockaddr;
    c->local_socklen = c->socklen;
    ngx_str_set(&c->addr_text, "unix:");

    /* nobody shall ask the kernel for events of it */

    c->read->active = 1;
    c->write->active = 1;
    c->write->ready = 1;

    return c;
}


static void
ngx_http_token_refresh_close(ngx_connection_t *c)
{
    ngx_pool_t  *pool;

    pool = c->pool;

    c->destroyed = 1;

    /* a descriptor that nginx may look up, then none that it finds left open */

    c->fd = 0;
    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ngx_destroy_pool(pool);
}


static ngx_http_request_t *
ngx_http_token_refresh_request(ngx_connection_t *c, ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_pool_t                 *pool;
    ngx_time_t                 *tp;
    ngx_http_log_ctx_t         *ctx;
    ngx_http_request_t         *main;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    clcf = tlcf->loc_conf[ngx_http_core_module.ctx_index];

    pool = ngx_create_pool(4096, c->log);
    if (pool == NULL) {
        return NULL;
    }

    main = ngx_pcalloc(pool, sizeof(ngx_http_request_t));
    if (main == NULL) {
        goto failed;
    }

    main->ctx = ngx_pcalloc(pool, sizeof(void *) * ngx_http_max_module);
    main->variables = ngx_pcalloc(pool, cmcf->variables.nelts
                                        * sizeof(ngx_http_variable_value_t));

    if (main->ctx == NULL || main->variables == NULL) {
        goto failed;
    }

    if (ngx_list_init(&main->headers_in.headers, pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK
        || ngx_list_init(&main->headers_out.headers, pool, 1,
                         sizeof(ngx_table_elt_t))
           != NGX_OK
        || ngx_list_init(&main->headers_out.trailers, pool, 1,
                         sizeof(ngx_table_elt_t))
           != NGX_OK)
    {
        goto failed;
    }

    main->signature = NGX_HTTP_MODULE;
    main->connection = c;
    main->pool = pool;
    main->main = main;
    main->count = 1;

    main->main_conf = r->main_conf;
    main->srv_conf = r->srv_conf;
    main->loc_conf = tlcf->loc_conf;

    main->read_event_handler = ngx_http_request_empty_handler;
    main->write_event_handler = ngx_http_token_refresh_finished;
    main->log_handler = r->log_handler;

    main->method = NGX_HTTP_GET;
    main->method_name = ngx_http_core_get_method;
    main->http_version = NGX_HTTP_VERSION_11;
    main->uri = clcf->name;
    main->unparsed_uri = clcf->name;

    main->uri_changes = NGX_HTTP_MAX_URI_CHANGES + 1;
    main->subrequests = NGX_HTTP_MAX_SUBREQUESTS + 1;
    main->internal = 1;
    main->header_sent = 1;

    main->headers_in.content_length_n = -1;
    main->headers_in.keep_alive_n = -1;
    main->headers_out.content_length_n = -1;
    main->headers_out.last_modified_time = -1;

    tp = ngx_timeofday();
    main->start_sec = tp->sec;
    main->start_msec = tp->msec;

    ctx = c->log->data;
    ctx->request = main;
    ctx->current_request = main;

    c->data = main;

    if (ngx_http_token_ctx(main) == NULL) {
        goto failed;
    }

    return main;

failed:

    ngx_destroy_pool(pool);

    return NULL;
}


/* the write_event_handler of the request, run when the subrequest has ended */

static void
ngx_http_token_refresh_finished(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t      *ctx;
    ngx_http_token_refresh_t  *refresh;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    refresh = (ngx_http_token_refresh_t *) ctx->fetch;

    if (!refresh->fetch.finished) {
        return;
    }

    ngx_http_token_fetch_result(r, &refresh->fetch);

    ngx_http_token_refresh_end(refresh);
}


static void
ngx_http_token_refresh_renew(ngx_event_t *ev)
{
    ngx_str_t                  endpoint;
    ngx_msec_t                 lease;
    ngx_http_token_refresh_t  *refresh;

    refresh = ev->data;

    if ((ngx_msec_int_t) (refresh->deadline - ngx_current_msec) <= 0) {

        endpoint = ngx_http_token_shown(&refresh->request.endpoint);

        ngx_log_error(NGX_LOG_ERR, ev->log, 0,
                      "token endpoint \"%V\" did not end its answer in time",
                      &endpoint);

        refresh->fetch.outcome = NGX_HTTP_TOKEN_TIMEOUT;

        ngx_http_token_refresh_end(refresh);
        return;
    }

    lease = ngx_http_token_lease_time(refresh->request.tlcf);

    ngx_http_token_cache_renew(refresh->zone, refresh->digest, refresh->lease,
                               lease);

    ngx_add_timer(ev, lease / 2);
}


static void
ngx_http_token_refresh_end(ngx_http_token_refresh_t *refresh)
{
    int64_t                     lifetime;
    ngx_pool_t                 *pool;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_cleanup_t         *cln;
    ngx_http_token_stored_t    *stored;
    ngx_http_token_loc_conf_t  *tlcf;

    r = refresh->main;
    c = r->connection;
    tlcf = refresh->request.tlcf;
    stored = NULL;

    if (refresh->renewal.timer_set) {
        ngx_del_timer(&refresh->renewal);
    }

    if (refresh->fetch.outcome == NGX_HTTP_TOKEN_OK) {

        lifetime = ngx_http_token_json_lifetime(refresh->fetch.members);

        if (lifetime == -1) {
            lifetime = (int64_t) tlcf->cache_default_ttl * 1000;
        }

        if (lifetime > 0) {
            stored = ngx_http_token_stored_make(r->pool, tlcf,
                                                refresh->fetch.members,
                                                refresh->start, lifetime);
        }
    }

    ngx_http_token_refresh_settle(refresh->zone, refresh->digest,
                                  refresh->lease, &refresh->fetch, stored);

    /* as ngx_http_free_request() does, but nothing is logged or kept alive */

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            cln->handler(cln->data);
        }
    }

    pool = r->pool;
    r->pool = NULL;

    ngx_destroy_pool(pool);

    ngx_http_token_refresh_close(c);
}


/* tells the cache, and whoever waits */

static void
ngx_http_token_refresh_settle(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored)
{
    ngx_int_t   rc;
    ngx_uint_t  waited;

    rc = ngx_http_token_cache_end(zone, digest, lease, fetch, stored, &waited);

    ngx_http_token_wake_here(zone, digest, (rc == NGX_OK) ? fetch : NULL);

    if (waited) {
        ngx_http_token_wake_elsewhere();
    }
}


static u_char *
ngx_http_token_refresh_log(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char               *p;
    ngx_str_t             uri;
    ngx_http_log_ctx_t   *ctx;
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    ctx = log->data;
    r = ctx->current_request;

    if (r == NULL) {
        return p;
    }

    p = ngx_snprintf(buf, len, ", token location: \"%V\"", &r->main->uri);
    len -= p - buf;
    buf = p;

    u = r->upstream;

    if (u && u->peer.name) {
        uri = ngx_http_token_shown(&u->uri);

        p = ngx_snprintf(buf, len, ", upstream: \"%V%V%s%V\"",
                         &u->schema, u->peer.name,
                         (u->peer.name->len > 5
                          && ngx_strncmp(u->peer.name->data, "unix:", 5) == 0)
                             ? ":" : "",
                         &uri);
    }

    return p;
}
