
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Callers that wait for a fetch of this worker or of another one, and how they
 * are woken.
 */


#include "ngx_http_token_cache.h"

#if (NGX_HAVE_EVENTFD)
#include <sys/eventfd.h>
#endif


#define NGX_HTTP_TOKEN_WAITERS  256

/* how often a waiter looks where workers cannot wake each other, in msec */

#define NGX_HTTP_TOKEN_POLL     50


static ngx_int_t ngx_http_token_wait_client(ngx_http_request_t *r);
static void ngx_http_token_wait_handler(ngx_event_t *ev);
static void ngx_http_token_wait_end(void *data);
static void ngx_http_token_wait_stop(ngx_http_token_waiter_t *w);
#if (NGX_HAVE_EVENTFD)
static void ngx_http_token_notify_handler(ngx_event_t *ev);
#endif


/* the callers that wait in this worker, by the first byte of the digest */

static ngx_queue_t  ngx_http_token_waiters[NGX_HTTP_TOKEN_WAITERS];


/*
 * One descriptor for all workers, also those from before a reload.  It is
 * never read: each write is an event in each worker.
 */

static int         ngx_http_token_notify_fd = -1;
static ngx_uint_t  ngx_http_token_notify_added;


ngx_int_t
ngx_http_token_wait(ngx_http_token_waiter_t *w, ngx_msec_t recheck)
{
    ngx_int_t   rc;
    ngx_msec_t  left;

    if (!w->waiting) {
        rc = ngx_http_token_wait_start(w);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    left = w->deadline - ngx_current_msec;

    if (w->elsewhere && !ngx_http_token_notify_added) {
        recheck = NGX_HTTP_TOKEN_POLL;
    }

    recheck = ngx_min(left, recheck);

    w->due = ngx_current_msec + recheck;

    ngx_add_timer(&w->event, recheck);

    return NGX_AGAIN;
}


ngx_int_t
ngx_http_token_wait_start(ngx_http_token_waiter_t *w)
{
    ngx_http_request_t  *r;
    ngx_http_cleanup_t  *cln;

    r = w->request;

    cln = ngx_http_cleanup_add(r, 0);
    w->ctx = ngx_http_token_ctx(r);

    if (cln == NULL || w->ctx == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_token_wait_client(r) != NGX_OK) {
        return NGX_ERROR;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    cln->handler = ngx_http_token_wait_end;
    cln->data = w;

    w->event.handler = ngx_http_token_wait_handler;
    w->event.data = w;
    w->event.log = r->connection->log;

    w->waiting = 1;

    if (w->digest) {
        w->deadline = ngx_current_msec
                      + w->token_request->tlcf->cache.lock_timeout;

        w->queued = 1;
        ngx_queue_insert_tail(&ngx_http_token_waiters[w->digest[0]],
                              &w->queue);
    }

    return NGX_OK;
}


/*
 * Notices a client that leaves, as an upstream does.  Its body stays where it
 * is: nginx gives a body that is being dropped lingering_timeout, which the
 * wait may exceed.
 */

static ngx_int_t
ngx_http_token_wait_client(ngx_http_request_t *r)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (r->discard_body) {
        return NGX_OK;
    }

    if (tlcf->ignore_client_abort || r->post_action
        || ngx_http_token_is_fetch(r))
    {
        r->read_event_handler = ngx_http_block_reading;
        return NGX_OK;
    }

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    return NGX_OK;
}


static void
ngx_http_token_wait_handler(ngx_event_t *ev)
{
    ngx_int_t                 rc;
    ngx_uint_t                late;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_token_waiter_t  *w;

    w = ev->data;
    r = w->request;
    c = r->connection;

    late = (ev->timedout
            && (ngx_msec_int_t) (ngx_current_msec - w->due)
               > NGX_HTTP_TOKEN_LEASE_EXTEND);

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "http token wait: %d, served: %d, timedout: %d",
                   w->waiting, w->served, ev->timedout);

    ev->timedout = 0;

    if (ngx_http_get_module_ctx(r, ngx_http_token_module) != w->ctx) {

        /* the client has left, and the request is in its post_action */

        ngx_http_token_wait_end(w);
        return;
    }

    if (w->served) {
        rc = NGX_OK;

    } else if (w->digest
               && (ngx_msec_int_t) (w->deadline - ngx_current_msec) <= 0)
    {
        w->result.outcome = NGX_HTTP_TOKEN_TIMEOUT;
        rc = NGX_OK;

    } else if (late && w->elsewhere) {

        /*
         * This process did not run for a while, and the one that fetches may
         * not have run either: it is given time to read what has come.
         */

        rc = ngx_http_token_wait(w, NGX_HTTP_TOKEN_LEASE_EXTEND);

    } else {
        rc = w->look(w);
    }

    if (rc == NGX_ERROR) {
        w->result.outcome = NGX_HTTP_TOKEN_INTERNAL;
    }

    if (rc != NGX_AGAIN) {
        ngx_http_token_wait_end(w);
        w->resume(r, &w->result);
    }

    ngx_http_run_posted_requests(c);
}


/* the cleanup of a request that has waited, however it ends */

static void
ngx_http_token_wait_end(void *data)
{
    ngx_http_token_waiter_t  *w = data;

    ngx_http_token_fetch_t   *fetch;

    ngx_http_token_wait_stop(w);

    if (w->event.posted) {
        ngx_delete_posted_event(&w->event);
    }

    if (w->fetch) {
        fetch = w->fetch;
        w->fetch = NULL;

        ngx_http_token_fetch_close(fetch);
    }
}


void
ngx_http_token_wake_local(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_http_token_fetch_t *fetch)
{
    ngx_queue_t              *q, *next, *queue;
    ngx_http_token_waiter_t  *w;

    queue = &ngx_http_token_waiters[digest[0]];

    for (q = ngx_queue_head(queue); q != ngx_queue_sentinel(queue); q = next) {

        next = ngx_queue_next(q);

        w = ngx_queue_data(q, ngx_http_token_waiter_t, queue);

        if (w->zone->shpool == zone->shpool
            && ngx_memcmp(w->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN) == 0)
        {
            if (fetch) {
                ngx_http_token_wake(w, fetch);

            } else {
                ngx_post_event(&w->event, &ngx_posted_events);
            }
        }
    }
}


void
ngx_http_token_wake(ngx_http_token_waiter_t *w, ngx_http_token_fetch_t *fetch)
{
    w->served = 1;

    w->result.outcome = fetch->outcome;
    w->result.retry_after = fetch->retry_after;
    w->result.serial = fetch->serial;
    w->result.fetched = !fetch->taken;
    w->result.upstream_status = fetch->upstream_status;
    w->result.upstream_time = fetch->upstream_time;

    if (fetch->outcome == NGX_HTTP_TOKEN_OK) {

        w->result.expires_in = (fetch->lifetime > 0)
                               ? (time_t) (fetch->lifetime / 1000) : -1;
        w->result.limit = fetch->limit;

        if (ngx_http_token_compose(w->request->pool, w->token_request->tlcf,
                                   fetch->members, w->scheme, &w->result.value)
            != NGX_OK)
        {
            w->result.outcome = NGX_HTTP_TOKEN_INTERNAL;
        }
    }

    ngx_http_token_wait_stop(w);

    ngx_post_event(&w->event, &ngx_posted_events);
}


/* no fetch and no timer wakes it any more */

static void
ngx_http_token_wait_stop(ngx_http_token_waiter_t *w)
{
    if (w->queued) {
        ngx_queue_remove(&w->queue);
        w->queued = 0;
    }

    if (w->event.timer_set) {
        ngx_del_timer(&w->event);
    }
}


ngx_int_t
ngx_http_token_wait_init_module(ngx_cycle_t *cycle)
{
#if (NGX_HAVE_EVENTFD)

    if (ngx_http_token_notify_fd != -1 || !ngx_http_token_has_zones) {
        return NGX_OK;
    }

    ngx_http_token_notify_fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (ngx_http_token_notify_fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "eventfd() failed");
        return NGX_ERROR;
    }

#endif

    return NGX_OK;
}


ngx_int_t
ngx_http_token_wait_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t         i;
#if (NGX_HAVE_EVENTFD)
    ngx_connection_t  *c;
#endif

    for (i = 0; i < NGX_HTTP_TOKEN_WAITERS; i++) {
        ngx_queue_init(&ngx_http_token_waiters[i]);
    }

#if (NGX_HAVE_EVENTFD)

    ngx_http_token_notify_added = 0;

    if (ngx_http_token_notify_fd == -1
        || !(ngx_event_flags & NGX_USE_CLEAR_EVENT)
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    c = ngx_get_connection(ngx_http_token_notify_fd, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->log = cycle->log;
    c->read->log = cycle->log;
    c->write->log = cycle->log;

    /* like the channel to the master: it is no connection that was left open */

    c->read->channel = 1;
    c->write->channel = 1;

    c->read->handler = ngx_http_token_notify_handler;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_token_notify_added = 1;

#endif

    return NGX_OK;
}


void
ngx_http_token_notify_workers(void)
{
#if (NGX_HAVE_EVENTFD)

    uint64_t  one;

    one = 1;

    if (ngx_http_token_notify_fd != -1
        && write(ngx_http_token_notify_fd, &one, sizeof(uint64_t)) == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      "write() to eventfd failed");
    }

#endif
}


#if (NGX_HAVE_EVENTFD)

static void
ngx_http_token_notify_handler(ngx_event_t *ev)
{
    ngx_uint_t                i;
    ngx_queue_t              *q, *queue;
    ngx_http_token_waiter_t  *w;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, ev->log, 0, "http token notify");

    for (i = 0; i < NGX_HTTP_TOKEN_WAITERS; i++) {

        queue = &ngx_http_token_waiters[i];

        for (q = ngx_queue_head(queue);
             q != ngx_queue_sentinel(queue);
             q = ngx_queue_next(q))
        {
            w = ngx_queue_data(q, ngx_http_token_waiter_t, queue);

            if (w->elsewhere) {
                ngx_post_event(&w->event, &ngx_posted_events);
            }
        }
    }
}

#endif
