
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * One connection to a Redis server, or to a sentinel: it sends commands, and
 * reads their replies.  What goes over it is in no log.
 */


#include "ngx_http_token_cache.h"


#define NGX_HTTP_TOKEN_PEER_BUFFER   4096


static ngx_int_t ngx_http_token_peer_read(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_grow(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_replies(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_set_timer(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_free(ngx_http_token_peer_t *peer);


void
ngx_http_token_peer_send(ngx_http_token_peer_t *peer,
    ngx_http_token_command_t *cmd)
{
    ngx_connection_t  *c;

    c = peer->connection;

    if (cmd->sent == 0) {
        cmd->sent = ngx_http_token_microseconds();
    }

    cmd->deadline = ngx_current_msec + peer->store->timeout;

    ngx_queue_insert_tail(&peer->commands, &cmd->queue);

    if (peer->unsent) {
        peer->last->next = &cmd->out;

    } else {
        peer->unsent = &cmd->out;
    }

    peer->last = &cmd->out;

    ngx_http_token_peer_set_timer(peer);

    /*
     * At the head, before the callers that have got a token are answered: other
     * machines wait for it.
     */

    if (!c->write->posted) {
        c->write->posted = 1;
        ngx_queue_insert_head(&ngx_posted_events, &c->write->queue);
    }
}


void
ngx_http_token_peer_write_handler(ngx_event_t *ev)
{
    ngx_chain_t            *rest;
    ngx_connection_t       *c;
    ngx_http_token_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    if (peer->unsent == NULL) {
        return;
    }

    rest = c->send_chain(c, peer->unsent, 0);

    if (rest == NGX_CHAIN_ERROR) {
        ngx_http_token_peer_fail(peer, "the connection broke");
        return;
    }

    peer->unsent = rest;

    if (ngx_handle_write_event(ev, 0) != NGX_OK) {
        ngx_http_token_peer_fail(peer, "the connection broke");
    }
}


void
ngx_http_token_peer_read_handler(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_http_token_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    if (c->close) {

        /* the worker leaves, or with an error, has to leave now */

        if (c->error || ngx_queue_empty(&peer->commands)) {
            ngx_http_token_peer_fail(peer, "this worker leaves");
            return;
        }

        c->close = 0;
    }

    peer->busy++;

    rc = ngx_http_token_peer_read(peer);

    if (rc == NGX_OK && ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_http_token_peer_fail(peer, "the connection broke");
    }

    peer->busy--;

    if (peer->closed) {
        ngx_http_token_peer_free(peer);
    }
}


/* returns NGX_OK, or NGX_ERROR if the connection has ended */

static ngx_int_t
ngx_http_token_peer_read(ngx_http_token_peer_t *peer)
{
    ssize_t            n;
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = peer->connection;
    b = &peer->in;

    for ( ;; ) {

        if (b->last == b->end && ngx_http_token_peer_grow(peer) != NGX_OK) {
            return NGX_ERROR;
        }

        n = c->recv(c, b->last, b->end - b->last);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n == 0 || n == NGX_ERROR) {
            ngx_http_token_peer_fail(peer, n ? "the connection broke"
                                             : "it closed the connection");
            return NGX_ERROR;
        }

        b->last += n;

        if (ngx_http_token_peer_replies(peer) != NGX_OK) {
            return NGX_ERROR;
        }
    }
}


static ngx_int_t
ngx_http_token_peer_grow(ngx_http_token_peer_t *peer)
{
    u_char     *p;
    size_t      size, used;
    ngx_buf_t  *b;

    b = &peer->in;

    used = b->last - b->pos;
    size = b->end - b->start;

    if (b->pos > b->start
        && (used < size / 2 || size == NGX_HTTP_TOKEN_RESP_SIZE))
    {
        ngx_memmove(b->start, b->pos, used);

        b->pos = b->start;
        b->last = b->start + used;

        return NGX_OK;
    }

    if (size == NGX_HTTP_TOKEN_RESP_SIZE) {
        ngx_http_token_peer_fail(peer, "its reply is too large");
        return NGX_ERROR;
    }

    size = size ? ngx_min(size * 2, NGX_HTTP_TOKEN_RESP_SIZE)
                : NGX_HTTP_TOKEN_PEER_BUFFER;

    p = ngx_alloc(size, &peer->log);
    if (p == NULL) {
        ngx_http_token_peer_fail(peer, "memory is out");
        return NGX_ERROR;
    }

    if (b->start) {
        ngx_memcpy(p, b->pos, used);
        ngx_free(b->start);
    }

    b->start = p;
    b->pos = p;
    b->last = p + used;
    b->end = p + size;

    return NGX_OK;
}


/* hands replies to their commands; returns as ngx_http_token_peer_read() */

static ngx_int_t
ngx_http_token_peer_replies(ngx_http_token_peer_t *peer)
{
    ngx_int_t                  rc;
    ngx_str_t                  text;
    ngx_buf_t                 *b;
    ngx_queue_t               *q;
    ngx_http_token_resp_t      reply;
    ngx_http_token_command_t  *cmd;

    b = &peer->in;

    while (b->pos < b->last) {

        text.data = b->pos;
        text.len = b->last - b->pos;

        rc = ngx_http_token_resp_parse(&text, &reply);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }

        q = ngx_queue_head(&peer->commands);
        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        if (rc == NGX_ERROR || ngx_queue_empty(&peer->commands)
            || cmd->buf.pos != cmd->buf.last)
        {
            ngx_http_token_peer_fail(peer, (rc == NGX_ERROR)
                                           ? "its reply is none of Redis"
                                           : "it said what it was not asked");
            return NGX_ERROR;
        }

        b->pos += reply.size;

        ngx_queue_remove(q);
        ngx_http_token_peer_set_timer(peer);

        cmd->handler(cmd, &reply);

        ngx_http_token_command_free(cmd);

        if (peer->closed || peer->failed) {
            return NGX_ERROR;
        }
    }

    b->pos = b->start;
    b->last = b->start;

    return NGX_OK;
}


/* the timer of the oldest command; one that is set is looked at when it ends */

static void
ngx_http_token_peer_set_timer(ngx_http_token_peer_t *peer)
{
    ngx_queue_t               *q;
    ngx_msec_int_t             left;
    ngx_http_token_command_t  *cmd;

    if (ngx_queue_empty(&peer->commands)) {

        if (peer->timer.timer_set) {
            ngx_del_timer(&peer->timer);
        }

        return;
    }

    if (peer->timer.timer_set) {
        return;
    }

    q = ngx_queue_head(&peer->commands);
    cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

    left = (ngx_msec_int_t) (cmd->deadline - ngx_current_msec);

    ngx_add_timer(&peer->timer, (ngx_msec_t) ngx_max(left, 1));
}


void
ngx_http_token_peer_timeout(ngx_event_t *ev)
{
    char                      *why;
    ngx_queue_t               *q;
    ngx_http_token_peer_t     *peer;
    ngx_http_token_command_t  *cmd;

    peer = ev->data;

    if (peer->failed) {

        /* it could not be opened */

        peer->handler(peer);
        return;
    }

    why = "no connection was made in time";

    if (peer->state != NGX_HTTP_TOKEN_PEER_CONNECT) {

        if (ngx_queue_empty(&peer->commands)) {
            return;
        }

        q = ngx_queue_head(&peer->commands);
        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        if ((ngx_msec_int_t) (cmd->deadline - ngx_current_msec) > 0) {
            ngx_http_token_peer_set_timer(peer);
            return;
        }

        why = "it did not answer in time";
    }

    if (peer->state != NGX_HTTP_TOKEN_PEER_READY) {

        /* another address of the host may answer */

        peer->host->first += peer->tried;
    }

    ngx_http_token_peer_fail(peer, "%s", why);
}


/* the handler of the peer closes it, and takes over its commands */

void
ngx_http_token_peer_fail(ngx_http_token_peer_t *peer, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    if (peer->failed) {
        return;
    }

    peer->failed = 1;

    va_start(args, fmt);
    p = ngx_vslprintf(peer->why, peer->why + sizeof(peer->why) - 1, fmt, args);
    va_end(args);

    *p = '\0';

    ngx_http_token_peer_disconnect(peer);

    if (peer->timer.timer_set) {
        ngx_del_timer(&peer->timer);
    }

    if (peer->busy == 0 || peer->state > NGX_HTTP_TOKEN_PEER_CONNECT) {
        peer->handler(peer);
    }
}


void
ngx_http_token_peer_disconnect(ngx_http_token_peer_t *peer)
{
    ngx_connection_t  *c;

    c = peer->connection;

    if (c == NULL) {
        return;
    }

    peer->connection = NULL;
    peer->unsent = NULL;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;

        (void) ngx_ssl_shutdown(c);
    }

#endif

    ngx_close_connection(c);
}


void
ngx_http_token_peer_close(ngx_http_token_peer_t *peer, ngx_queue_t *commands)
{
    peer->closed = 1;

    ngx_http_token_peer_disconnect(peer);

    if (peer->resolving) {
        ngx_resolve_name_done(peer->resolving);
        peer->resolving = NULL;
    }

    if (peer->timer.timer_set) {
        ngx_del_timer(&peer->timer);
    }

    if (peer->timer.posted) {
        ngx_delete_posted_event(&peer->timer);
    }

    if (!ngx_queue_empty(&peer->commands)) {
        ngx_queue_add(commands, &peer->commands);
        ngx_queue_init(&peer->commands);
    }

    if (peer->busy == 0) {
        ngx_http_token_peer_free(peer);
    }
}


static void
ngx_http_token_peer_free(ngx_http_token_peer_t *peer)
{
    if (peer->in.start) {
        ngx_free(peer->in.start);
    }

    ngx_destroy_pool(peer->pool);
}
