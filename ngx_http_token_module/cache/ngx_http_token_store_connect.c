
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Makes a connection to a Redis server, or to a sentinel: resolves a name,
 * connects, shakes hands, and says who it is.
 */


#include "ngx_http_token_cache.h"


static ngx_int_t ngx_http_token_peer_resolve(ngx_http_token_peer_t *peer);
static void ngx_http_token_peer_resolved(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_http_token_peer_copy_addrs(ngx_http_token_peer_t *peer,
    ngx_resolver_ctx_t *ctx);
static void ngx_http_token_peer_connect(ngx_http_token_peer_t *peer);
static ngx_int_t ngx_http_token_peer_connect_addr(ngx_http_token_peer_t *peer,
    ngx_addr_t *addr);
static ngx_int_t ngx_http_token_peer_test_connect(ngx_connection_t *c);
static void ngx_http_token_peer_connected(ngx_event_t *ev);
static void ngx_http_token_peer_empty_handler(ngx_event_t *ev);
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
    ngx_int_t   rc;
    ngx_uint_t  n;

    rc = NGX_DECLINED;

    while (rc == NGX_DECLINED && peer->tried < peer->naddrs) {
        n = (peer->host->first + peer->tried++) % peer->naddrs;
        rc = ngx_http_token_peer_connect_addr(peer, &peer->addrs[n]);
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
    c->read->handler = ngx_http_token_peer_empty_handler;
    c->write->handler = ngx_http_token_peer_connected;

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
ngx_http_token_peer_connected(ngx_event_t *ev)
{
    ngx_err_t               err;
    ngx_connection_t       *c;
    ngx_http_token_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    err = ngx_http_token_peer_test_connect(c);

    if (err) {
        *ngx_strerror(err, peer->error, sizeof(peer->error) - 1) = '\0';

        ngx_http_token_peer_disconnect(peer);
        ngx_http_token_peer_connect(peer);
        return;
    }

    if (ngx_handle_write_event(ev, 0) != NGX_OK) {
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


/* what is wrong is found when the socket can be written to */

static void
ngx_http_token_peer_empty_handler(ngx_event_t *ev)
{
    (void) ev;
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
    ngx_connection_t        *c;
    ngx_http_token_store_t  *store;

    store = peer->store;
    rc = NGX_OK;

    c = peer->connection;

    c->idle = 1;
    c->read->handler = ngx_http_token_peer_read_handler;
    c->write->handler = ngx_http_token_peer_write_handler;

    peer->state = NGX_HTTP_TOKEN_PEER_GREET;

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

    ngx_post_event(c->read, &ngx_posted_events);
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
