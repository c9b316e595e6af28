
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A request without a client, on a connection that has no socket, made and
 * freed as in njs's js_periodic.  It has nothing of a caller: no header, no
 * variable, no state of a connection, no log.
 */


#include "ngx_http_token_endpoint.h"


static ngx_connection_t *ngx_http_token_detached_connection(ngx_log_t *log);
static ngx_http_request_t *ngx_http_token_detached_request(
    ngx_connection_t *c, ngx_http_connection_t *hc);
static void ngx_http_token_detached_set_log(ngx_connection_t *c,
    ngx_log_t *log);
static void ngx_http_token_detached_event(ngx_event_t *ev);
static void ngx_http_token_detached_free(ngx_connection_t *c);
static u_char *ngx_http_token_detached_log(ngx_log_t *log, u_char *buf,
    size_t len);


/* the address of a connection that has none, for modules that read one */

static struct sockaddr_un  ngx_http_token_sockaddr = {
    .sun_family = AF_UNIX
};


ngx_http_request_t *
ngx_http_token_detached_create(ngx_http_connection_t *hc, ngx_str_t *uri,
    ngx_event_handler_pt shutdown, ngx_log_t *log)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = ngx_http_token_detached_connection(log);
    if (c == NULL) {
        return NULL;
    }

    r = ngx_http_token_detached_request(c, hc);

    if (r == NULL) {
        ngx_http_token_detached_free(c);
        return NULL;
    }

    c->data = r;

    /* called by ngx_shutdown_timer_handler(), with c->close set */

    c->read->handler = shutdown;

    /*
     * nginx writes request headers and the values of variables to a debug log:
     * these are secrets
     */

    c->log->log_level &= ~NGX_LOG_DEBUG_HTTP;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_reading, -1);
    r->stat_reading = 0;
    (void) ngx_atomic_fetch_add(ngx_stat_writing, 1);
    r->stat_writing = 1;
#endif

    r->method = NGX_HTTP_GET;
    r->method_name = ngx_http_core_get_method;
    r->http_version = NGX_HTTP_VERSION_11;

    r->uri = *uri;
    r->unparsed_uri = *uri;
    r->valid_unparsed_uri = 1;

    r->internal = 1;
    r->header_sent = 1;

    return r;
}


void
ngx_http_token_detached_close(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    ngx_http_free_request(r, NGX_OK);

    ngx_http_token_detached_free(c);
}


static ngx_connection_t *
ngx_http_token_detached_connection(ngx_log_t *log)
{
    ngx_connection_t  *c;

    /*
     * The descriptor is only a number, by which nginx sees that the connection
     * is in use, and closes it when worker_shutdown_timeout has passed.
     */

    c = ngx_get_connection(0, log);
    if (c == NULL) {
        return NULL;
    }

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    c->sockaddr = (struct sockaddr *) &ngx_http_token_sockaddr;
    c->socklen = sizeof(sa_family_t);
    c->local_sockaddr = c->sockaddr;
    c->local_socklen = c->socklen;
    ngx_str_set(&c->addr_text, "unix:");

    /*
     * Active, so that the descriptor is not registered for events, or where
     * events are level-triggered, not removed.  nginx tells the events of
     * a connection from those of the one before it, in the same place of its
     * list, by a single bit: those of a client that has left may still come,
     * and do nothing.
     */

    c->read->active = 1;
    c->read->handler = ngx_http_token_detached_event;
    c->write->active = ((ngx_event_flags & NGX_USE_CLEAR_EVENT) != 0);
    c->write->ready = 1;
    c->write->handler = ngx_http_token_detached_event;

    return c;
}


/*
 * The connection ends with its only request: their pool is the same, and has
 * the log.  Until there is a pool, another log takes its place.
 */

static ngx_http_request_t *
ngx_http_token_detached_request(ngx_connection_t *c, ngx_http_connection_t *hc)
{
    ngx_log_t                 *log;
    ngx_http_request_t        *r;
    ngx_http_log_ctx_t        *ctx;

    static ngx_log_t           first;
    static ngx_http_log_ctx_t  first_ctx;

    first = *ngx_cycle->log;
    first.data = &first_ctx;

    c->log = &first;
    c->data = hc;

    r = ngx_http_create_request(c);

    if (r == NULL) {
        return NULL;
    }

    r->logged = 1;

    log = ngx_palloc(r->pool, sizeof(ngx_log_t));
    ctx = ngx_palloc(r->pool, sizeof(ngx_http_log_ctx_t));

    if (log == NULL || ctx == NULL) {
        ngx_http_free_request(r, NGX_OK);
        return NULL;
    }

    *ctx = first_ctx;
    ctx->connection = c;

    *log = first;
    log->connection = c->number;
    log->handler = ngx_http_token_detached_log;
    log->data = ctx;

    c->pool = r->pool;
    c->pool->log = log;

    ngx_http_token_detached_set_log(c, log);

    return r;
}


static void
ngx_http_token_detached_set_log(ngx_connection_t *c, ngx_log_t *log)
{
    c->log = log;
    c->read->log = log;
    c->write->log = log;
}


static void
ngx_http_token_detached_event(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0, "http token stale event");
}


static void
ngx_http_token_detached_free(ngx_connection_t *c)
{
    /* the request has ended, and with it the log */

    ngx_http_token_detached_set_log(c, ngx_cycle->log);

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);

    c->fd = (ngx_socket_t) -1;
    c->pool = NULL;
    c->destroyed = 1;
}


static u_char *
ngx_http_token_detached_log(ngx_log_t *log, u_char *buf, size_t len)
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
        uri = ngx_http_token_log_url(&u->uri);

        p = ngx_snprintf(buf, len, ", upstream: \"%V%V%s%V\"",
                         &u->schema, u->peer.name,
                         (u->peer.name->len > 5
                          && ngx_strncmp(u->peer.name->data, "unix:", 5) == 0)
                             ? ":" : "",
                         &uri);
    }

    return p;
}
