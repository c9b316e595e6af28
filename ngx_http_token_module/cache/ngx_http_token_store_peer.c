
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * One connection to a Redis server, or to a sentinel: it resolves a name,
 * connects, shakes hands, says who it is, then sends commands and reads their
 * replies.  What goes over it is in no log.
 */


#include "ngx_http_token_cache.h"


/* states of a peer, in their order */

#define NGX_HTTP_TOKEN_PEER_CONNECT  0
#define NGX_HTTP_TOKEN_PEER_GREET    1
#define NGX_HTTP_TOKEN_PEER_READY    2

#define NGX_HTTP_TOKEN_PEER_BUFFER   4096


static ngx_http_token_command_t *ngx_http_token_command_make(ngx_str_t *words,
    ngx_uint_t n, ngx_uint_t all, ngx_str_t *rest);
static ngx_int_t ngx_http_token_peer_resolve(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_resolved(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_http_token_peer_copy_addrs(ngx_http_token_peer_t *peer,
    ngx_resolver_ctx_t *ctx);
static void ngx_http_token_peer_connect(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_connect_addr(ngx_http_token_peer_t *peer,
    ngx_addr_t *addr);
static ngx_int_t ngx_http_token_peer_test_connect(ngx_connection_t *c);
static void ngx_http_token_peer_connected(ngx_http_token_peer_t *peer);
#if (NGX_HTTP_SSL)
static void ngx_http_token_peer_ssl(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_ssl_handler(ngx_connection_t *c);
static char *ngx_http_token_peer_ssl_verify(ngx_http_token_peer_t *peer);
#endif
static void ngx_http_token_peer_greet(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_word(ngx_http_token_peer_t *peer,
    ngx_uint_t n, ngx_str_t *words);
static void ngx_http_token_peer_greeted(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_peer_write_handler(ngx_event_t *ev);
static void ngx_http_token_peer_read_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_token_peer_read(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_grow(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_replies(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_timeout(ngx_event_t *ev);
static void ngx_http_token_peer_set_timer(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_disconnect(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_fail(ngx_http_token_peer_t *peer,
    const char *fmt, ...);
static void ngx_http_token_peer_free(ngx_http_token_peer_t *peer);


ngx_http_token_command_t *
ngx_http_token_command_create(ngx_str_t *words, ngx_uint_t n)
{
    ngx_str_t  none = ngx_null_string;

    return ngx_http_token_command_make(words, n, n, &none);
}


/* words, then the text of others: all in all so many */

static ngx_http_token_command_t *
ngx_http_token_command_make(ngx_str_t *words, ngx_uint_t n, ngx_uint_t all,
    ngx_str_t *rest)
{
    u_char                    *p;
    size_t                     size;
    ngx_uint_t                 i;
    ngx_http_token_command_t  *cmd;

    size = 1 + NGX_INT_T_LEN + 2 + rest->len;

    for (i = 0; i < n; i++) {
        size += NGX_HTTP_TOKEN_RESP_WORD + words[i].len;
    }

    cmd = ngx_alloc(sizeof(ngx_http_token_command_t) + size, ngx_cycle->log);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_memzero(cmd, sizeof(ngx_http_token_command_t));

    p = (u_char *) (cmd + 1);

    cmd->size = size;
    cmd->nwords = all;

    cmd->buf.start = p;
    cmd->buf.pos = p;
    cmd->buf.memory = 1;

    p = ngx_sprintf(p, "*%ui" CRLF, all);

    for (i = 0; i < n; i++) {
        p = ngx_http_token_resp_word(p, &words[i]);
    }

    p = ngx_cpymem(p, rest->data, rest->len);

    cmd->buf.last = p;
    cmd->buf.end = p;

    cmd->out.buf = &cmd->buf;

    return cmd;
}


ngx_http_token_command_t *
ngx_http_token_command_replace(ngx_http_token_command_t *cmd,
    ngx_str_t *words, ngx_uint_t n)
{
    u_char                    *p;
    ngx_str_t                  rest;
    ngx_uint_t                 i;
    ngx_http_token_command_t  *again;

    /* a line of the count, and a line of its length before each word */

    p = (u_char *) ngx_strchr(cmd->buf.start, LF) + 1;

    for (i = 0; i < n; i++) {
        rest.data = p + 1;
        p = (u_char *) ngx_strchr(p, CR);
        rest.len = p - rest.data;

        p += 2 + ngx_atoi(rest.data, rest.len) + 2;
    }

    rest.data = p;
    rest.len = cmd->buf.last - p;

    again = ngx_http_token_command_make(words, n, cmd->nwords, &rest);
    if (again == NULL) {
        return NULL;
    }

    again->handler = cmd->handler;
    again->data = cmd->data;
    again->store = cmd->store;
    again->zone = cmd->zone;
    again->script = cmd->script;
    again->again = 1;

    return again;
}


void
ngx_http_token_command_free(ngx_http_token_command_t *cmd)
{
    /* it may have a password */

    ngx_explicit_memzero(cmd->buf.start, cmd->size);
    ngx_free(cmd);
}


ngx_http_token_peer_t *
ngx_http_token_peer_open(ngx_http_token_store_t *store,
    ngx_http_token_host_t *host, ngx_uint_t sentinel,
    ngx_http_token_peer_pt handler, void *data)
{
    ngx_pool_t             *pool;
    ngx_http_token_peer_t  *peer;

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    peer = ngx_pcalloc(pool, sizeof(ngx_http_token_peer_t));
    if (peer == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    peer->pool = pool;
    peer->store = store;
    peer->host = host;
    peer->sentinel = sentinel;
    peer->handler = handler;
    peer->data = data;
    peer->addrs = host->addrs;
    peer->naddrs = host->naddrs;

    ngx_queue_init(&peer->commands);

    /*
     * nginx's own messages would be one for each try, and its debug log has
     * a part of what is sent
     */

    peer->log = *ngx_cycle->log;
    peer->log.log_level = NGX_LOG_ALERT;
    peer->log.handler = NULL;

    peer->timer.handler = ngx_http_token_peer_timeout;
    peer->timer.data = peer;
    peer->timer.log = &peer->log;

    ngx_add_timer(&peer->timer, store->connect_timeout);

    peer->busy++;

    if (peer->naddrs) {
        ngx_http_token_peer_connect(peer);

    } else if (ngx_http_token_peer_resolve(peer) != NGX_OK) {
        ngx_http_token_peer_fail(peer, "its name \"%V\" was not resolved",
                                 &host->host);
    }

    peer->busy--;

    if (peer->failed) {

        /* the caller does not have it yet */

        ngx_post_event(&peer->timer, &ngx_posted_events);
    }

    return peer;
}


static ngx_int_t
ngx_http_token_peer_resolve(ngx_http_token_peer_t *peer)
{
    ngx_resolver_ctx_t  *ctx, temp;

    if (peer->store->resolver == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&temp, sizeof(ngx_resolver_ctx_t));

    temp.name = peer->host->host;

    ctx = ngx_resolve_start(peer->store->resolver, &temp);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_ERROR;
    }

    ctx->name = peer->host->host;
    ctx->handler = ngx_http_token_peer_resolved;
    ctx->data = peer;
    ctx->timeout = peer->store->connect_timeout;

    peer->resolving = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        peer->resolving = NULL;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* called by ngx_resolve_name() at once, if the name is known */

static void
ngx_http_token_peer_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_http_token_peer_t  *peer;

    peer = ctx->data;

    rc = (ctx->state == NGX_OK) ? ngx_http_token_peer_copy_addrs(peer, ctx)
                                : NGX_DECLINED;

    ngx_resolve_name_done(ctx);

    peer->resolving = NULL;

    if (rc == NGX_OK) {
        ngx_http_token_peer_connect(peer);

    } else {
        ngx_http_token_peer_fail(peer, "its name \"%V\" was not resolved",
                                 &peer->host->host);
    }
}


static ngx_int_t
ngx_http_token_peer_copy_addrs(ngx_http_token_peer_t *peer,
    ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t        i;
    ngx_addr_t       *addrs;
    struct sockaddr  *sockaddr;

    addrs = ngx_pcalloc(peer->pool, ctx->naddrs * sizeof(ngx_addr_t));
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->naddrs; i++) {

        sockaddr = ngx_palloc(peer->pool, ctx->addrs[i].socklen);
        if (sockaddr == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sockaddr, ctx->addrs[i].sockaddr, ctx->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, peer->host->port);

        addrs[i].sockaddr = sockaddr;
        addrs[i].socklen = ctx->addrs[i].socklen;
        addrs[i].name = peer->host->name;
    }

    peer->addrs = addrs;
    peer->naddrs = ctx->naddrs;

    return NGX_OK;
}


/* tries each of the addresses, once */

static void
ngx_http_token_peer_connect(ngx_http_token_peer_t *peer)
{
    ngx_int_t  rc;

    rc = NGX_DECLINED;

    while (rc == NGX_DECLINED && peer->next < peer->naddrs) {
        rc = ngx_http_token_peer_connect_addr(peer,
                                              &peer->addrs[peer->next++]);
    }

    if (rc == NGX_ERROR || rc == NGX_DECLINED) {
        ngx_http_token_peer_fail(peer, "connect() failed%s%s",
                                 peer->error[0] ? ": " : "", peer->error);
    }
}


static ngx_int_t
ngx_http_token_peer_connect_addr(ngx_http_token_peer_t *peer, ngx_addr_t *addr)
{
    ngx_int_t              rc;
    ngx_connection_t      *c;
    ngx_peer_connection_t  pc;

    ngx_memzero(&pc, sizeof(ngx_peer_connection_t));

    pc.sockaddr = addr->sockaddr;
    pc.socklen = addr->socklen;
    pc.name = &peer->host->name;
    pc.get = ngx_event_get_peer;
    pc.log = &peer->log;
    pc.log_error = NGX_ERROR_ERR;
    pc.so_keepalive = 1;

    ngx_set_errno(0);

    rc = ngx_event_connect_peer(&pc);

    if (rc == NGX_ERROR || rc == NGX_DECLINED) {
        *ngx_strerror(ngx_errno, peer->error, sizeof(peer->error) - 1) = '\0';
        return rc;
    }

    c = pc.connection;

    c->data = peer;
    c->pool = peer->pool;
    c->read->handler = ngx_http_token_peer_read_handler;
    c->write->handler = ngx_http_token_peer_write_handler;

    peer->connection = c;

    if (rc == NGX_OK) {

        /* a Unix socket, at once */

        ngx_post_event(c->write, &ngx_posted_events);
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_token_peer_test_connect(ngx_connection_t *c)
{
    int        err;
    socklen_t  len;

#if (NGX_HAVE_KQUEUE)

    if (ngx_event_flags & NGX_USE_KQUEUE_EVENT)  {
        err = c->write->pending_eof ? c->write->kq_errno
                                    : (c->read->pending_eof
                                       ? c->read->kq_errno : 0);
        return err;
    }

#endif

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    return err;
}


static void
ngx_http_token_peer_connected(ngx_http_token_peer_t *peer)
{
    ngx_err_t          err;
    ngx_connection_t  *c;

    c = peer->connection;

    err = ngx_http_token_peer_test_connect(c);

    if (err) {
        *ngx_strerror(err, peer->error, sizeof(peer->error) - 1) = '\0';

        ngx_http_token_peer_disconnect(peer);
        ngx_http_token_peer_connect(peer);
        return;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_token_peer_fail(peer, "it cannot be waited for");
        return;
    }

    if (c->tcp_nodelay != NGX_TCP_NODELAY_DISABLED) {
        (void) ngx_tcp_nodelay(c);
    }

#if (NGX_HTTP_SSL)

    if (peer->store->ssl && !peer->sentinel) {
        ngx_http_token_peer_ssl(peer);
        return;
    }

#endif

    ngx_http_token_peer_greet(peer);
}


#if (NGX_HTTP_SSL)

static void
ngx_http_token_peer_ssl(ngx_http_token_peer_t *peer)
{
    ngx_int_t          rc;
    ngx_str_t         *name;
    ngx_connection_t  *c;

    c = peer->connection;
    name = &peer->store->ssl_name;

    if (ngx_ssl_create_connection(peer->store->ssl, c, NGX_SSL_CLIENT)
        != NGX_OK)
    {
        ngx_http_token_peer_fail(peer, "no TLS connection could be made");
        return;
    }

#ifdef SSL_CTRL_SET_TLSEXT_HOSTNAME

    /* it ends with a NUL */

    if (SSL_set_tlsext_host_name(c->ssl->connection, (char *) name->data)
        == 0)
    {
        ngx_http_token_peer_fail(peer, "no TLS connection could be made");
        return;
    }

#endif

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_http_token_peer_ssl_handler;
        return;
    }

    ngx_http_token_peer_ssl_handler(c);
}


static void
ngx_http_token_peer_ssl_handler(ngx_connection_t *c)
{
    char                   *wrong;
    ngx_http_token_peer_t  *peer;

    peer = c->data;

    if (!c->ssl->handshaked) {
        ngx_http_token_peer_fail(peer, "the TLS handshake failed");
        return;
    }

    wrong = ngx_http_token_peer_ssl_verify(peer);

    if (wrong) {
        ngx_http_token_peer_fail(peer, "%s", wrong);
        return;
    }

    c->read->handler = ngx_http_token_peer_read_handler;
    c->write->handler = ngx_http_token_peer_write_handler;

    ngx_http_token_peer_greet(peer);
}


/* returns NULL, or what is wrong in words */

static char *
ngx_http_token_peer_ssl_verify(ngx_http_token_peer_t *peer)
{
    long               rc;
    X509              *cert;
    ngx_connection_t  *c;

    c = peer->connection;

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        ngx_snprintf(peer->error, sizeof(peer->error),
                     "its certificate is not trusted: %s%Z",
                     X509_verify_cert_error_string(rc));

        return (char *) peer->error;
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);

    if (cert == NULL) {
        return "it has no certificate";
    }

    X509_free(cert);

    return (ngx_ssl_check_host(c, &peer->store->ssl_name) == NGX_OK)
           ? NULL : "its certificate has another name";
}

#endif


/* AUTH and SELECT, and a command that says whether the server is well */

static void
ngx_http_token_peer_greet(ngx_http_token_peer_t *peer)
{
    u_char                   db[NGX_INT_T_LEN];
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_str_t                words[3];
    ngx_http_token_store_t  *store;

    store = peer->store;
    rc = NGX_OK;

    peer->state = NGX_HTTP_TOKEN_PEER_GREET;
    peer->connection->idle = 1;

    ngx_del_timer(&peer->timer);

    if (store->password.len && !peer->sentinel) {
        ngx_str_set(&words[0], "AUTH");
        n = 1;

        if (store->user.len) {
            words[n++] = store->user;
        }

        words[n++] = store->password;

        rc = ngx_http_token_peer_word(peer, n, words);
    }

    if (rc == NGX_OK && store->db && !peer->sentinel) {
        ngx_str_set(&words[0], "SELECT");
        words[1].data = db;
        words[1].len = ngx_sprintf(db, "%ui", store->db) - db;

        rc = ngx_http_token_peer_word(peer, 2, words);
    }

    if (rc == NGX_OK) {
        ngx_str_set(&words[0], "PING");

        rc = ngx_http_token_peer_word(peer, 1, words);
    }

    if (rc != NGX_OK) {
        ngx_http_token_peer_fail(peer, "memory is out");
        return;
    }

    ngx_post_event(peer->connection->read, &ngx_posted_events);
}


static ngx_int_t
ngx_http_token_peer_word(ngx_http_token_peer_t *peer, ngx_uint_t n,
    ngx_str_t *words)
{
    ngx_http_token_command_t  *cmd;

    cmd = ngx_http_token_command_create(words, n);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->handler = ngx_http_token_peer_greeted;
    cmd->data = peer;
    cmd->greeting = words[0].data;

    peer->greetings++;

    ngx_http_token_peer_send(peer, cmd);

    return NGX_OK;
}


static void
ngx_http_token_peer_greeted(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply)
{
    ngx_str_t               code;
    ngx_http_token_peer_t  *peer;

    if (reply == NULL) {

        /* the connection has ended */

        return;
    }

    peer = cmd->data;

    code = ngx_http_token_resp_error(reply);

    /* a user who may not ping the server is a user */

    if (code.len
        && !(cmd->greeting[0] == 'P' && ngx_http_token_equals(&code, "NOPERM")))
    {
        ngx_http_token_peer_fail(peer, "it answered %V to %s", &code,
                                 cmd->greeting);
        return;
    }

    if (--peer->greetings) {
        return;
    }

    peer->state = NGX_HTTP_TOKEN_PEER_READY;

    peer->handler(peer);
}


void
ngx_http_token_peer_send(ngx_http_token_peer_t *peer,
    ngx_http_token_command_t *cmd)
{
    ngx_connection_t  *c;

    c = peer->connection;

    cmd->sent = ngx_http_token_microseconds();
    cmd->deadline = ngx_current_msec + peer->store->timeout;

    ngx_queue_insert_tail(&peer->commands, &cmd->queue);

    if (peer->unsent) {
        peer->last->next = &cmd->out;

    } else {
        peer->unsent = &cmd->out;
    }

    peer->last = &cmd->out;

    ngx_http_token_peer_set_timer(peer);

    /* what else is sent in this round of the event loop goes with it */

    ngx_post_event(c->write, &ngx_posted_events);
}


static void
ngx_http_token_peer_write_handler(ngx_event_t *ev)
{
    ngx_chain_t            *rest;
    ngx_connection_t       *c;
    ngx_http_token_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    if (peer->state == NGX_HTTP_TOKEN_PEER_CONNECT) {
        ngx_http_token_peer_connected(peer);
        return;
    }

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


static void
ngx_http_token_peer_read_handler(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_http_token_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    if (peer->state == NGX_HTTP_TOKEN_PEER_CONNECT) {

        /* what is wrong is found when the socket can be written to */

        return;
    }

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


static void
ngx_http_token_peer_timeout(ngx_event_t *ev)
{
    ngx_queue_t               *q;
    ngx_http_token_peer_t     *peer;
    ngx_http_token_command_t  *cmd;

    peer = ev->data;

    if (peer->failed) {

        /* it could not be opened */

        peer->handler(peer);
        return;
    }

    if (peer->state == NGX_HTTP_TOKEN_PEER_CONNECT) {
        ngx_http_token_peer_fail(peer, "no connection was made in time");
        return;
    }

    if (ngx_queue_empty(&peer->commands)) {
        return;
    }

    q = ngx_queue_head(&peer->commands);
    cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

    if ((ngx_msec_int_t) (cmd->deadline - ngx_current_msec) > 0) {
        ngx_http_token_peer_set_timer(peer);
        return;
    }

    ngx_http_token_peer_fail(peer, "it did not answer in time");
}


/* the handler of the peer closes it, and takes over its commands */

static void
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


static void
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
