
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Asks sentinels, one after another, which server is the master.
 */


#include "ngx_http_token_cache.h"


static void ngx_http_token_sentinel_next(ngx_http_token_sentinel_t *ask);
static void ngx_http_token_sentinel_handler(ngx_http_token_peer_t *peer);
static void ngx_http_token_sentinel_reply(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_sentinel_done(ngx_event_t *ev);
static ngx_int_t ngx_http_token_sentinel_host(ngx_http_token_sentinel_t *ask,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_sentinel_drop(ngx_http_token_sentinel_t *ask);


ngx_http_token_sentinel_t *
ngx_http_token_sentinel_ask(ngx_http_token_store_t *store, ngx_uint_t first,
    ngx_http_token_sentinel_pt handler, void *data)
{
    ngx_pool_t                 *pool;
    ngx_http_token_sentinel_t  *ask;

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    ask = ngx_pcalloc(pool, sizeof(ngx_http_token_sentinel_t));
    if (ask == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    ask->pool = pool;
    ask->store = store;
    ask->current = first;
    ask->left = store->hosts.nelts;
    ask->handler = handler;
    ask->data = data;

    /* a peer is not closed by what it calls, but from the event loop */

    ask->event.handler = ngx_http_token_sentinel_done;
    ask->event.data = ask;
    ask->event.log = ngx_cycle->log;

    ngx_http_token_sentinel_next(ask);

    return ask;
}


void
ngx_http_token_sentinel_close(ngx_http_token_sentinel_t *ask)
{
    ngx_http_token_sentinel_drop(ask);

    if (ask->event.posted) {
        ngx_delete_posted_event(&ask->event);
    }

    ngx_destroy_pool(ask->pool);
}


static void
ngx_http_token_sentinel_next(ngx_http_token_sentinel_t *ask)
{
    ngx_http_token_host_t  *hosts;

    hosts = ask->store->hosts.elts;

    while (ask->left) {
        ask->left--;

        ask->peer = ngx_http_token_peer_open(ask->store, &hosts[ask->current],
                                             1,
                                             ngx_http_token_sentinel_handler,
                                             ask);
        if (ask->peer) {
            return;
        }

        ask->current = (ask->current + 1) % ask->store->hosts.nelts;
    }

    ngx_post_event(&ask->event, &ngx_posted_events);
}


static void
ngx_http_token_sentinel_handler(ngx_http_token_peer_t *peer)
{
    ngx_str_t                   words[3];
    ngx_http_token_command_t   *cmd;
    ngx_http_token_sentinel_t  *ask;

    ask = peer->data;

    if (!peer->failed) {

        ngx_str_set(&words[0], "SENTINEL");
        ngx_str_set(&words[1], "get-master-addr-by-name");
        words[2] = ask->store->master;

        cmd = ngx_http_token_command_create(words, 3);

        if (cmd) {
            cmd->handler = ngx_http_token_sentinel_reply;
            cmd->data = ask;

            ngx_http_token_peer_send(peer, cmd);
            return;
        }
    }

    ngx_post_event(&ask->event, &ngx_posted_events);
}


static void
ngx_http_token_sentinel_reply(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply)
{
    ngx_http_token_sentinel_t  *ask;

    ask = cmd->data;

    if (reply == NULL) {
        return;
    }

    ask->answered = 1;
    ask->known = (ngx_http_token_sentinel_host(ask, reply) == NGX_OK);

    ngx_post_event(&ask->event, &ngx_posted_events);
}


/* a sentinel has answered, or has not */

static void
ngx_http_token_sentinel_done(ngx_event_t *ev)
{
    ngx_http_token_sentinel_t  *ask;

    ask = ev->data;

    ngx_http_token_sentinel_drop(ask);

    if (!ask->known && ask->left) {
        ask->current = (ask->current + 1) % ask->store->hosts.nelts;

        ngx_http_token_sentinel_next(ask);
        return;
    }

    ask->handler(ask);
}


/* two strings: an address, and a port */

static ngx_int_t
ngx_http_token_sentinel_host(ngx_http_token_sentinel_t *ask,
    ngx_http_token_resp_t *reply)
{
    u_char                       *p;
    ngx_int_t                     port;
    ngx_addr_t                   *addr;
    ngx_http_token_resp_value_t  *value;

    value = reply->values;

    if (reply->nvalues != 3 || value[0].type != '*'
        || value[1].type != '$' || value[2].type != '$'
        || value[1].text.len == 0 || value[1].text.len > 255)
    {
        return NGX_DECLINED;
    }

    port = ngx_atoi(value[2].text.data, value[2].text.len);

    if (port < 1 || port > 65535) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(ask->pool, value[1].text.len + sizeof(":65535"));
    addr = ngx_pcalloc(ask->pool, sizeof(ngx_addr_t));

    if (p == NULL || addr == NULL) {
        return NGX_ERROR;
    }

    ask->host.name.data = p;
    ask->host.name.len = ngx_sprintf(p, "%V:%i", &value[1].text, port) - p;

    ask->host.host.data = p;
    ask->host.host.len = value[1].text.len;
    ask->host.port = (in_port_t) port;

    /* sentinels may be told to announce names */

    if (ngx_parse_addr(ask->pool, addr, p, ask->host.host.len) == NGX_OK) {
        ngx_inet_set_port(addr->sockaddr, ask->host.port);
        addr->name = ask->host.name;

        ask->host.addrs = addr;
        ask->host.naddrs = 1;
    }

    return NGX_OK;
}


static void
ngx_http_token_sentinel_drop(ngx_http_token_sentinel_t *ask)
{
    ngx_queue_t                queue, *q;
    ngx_http_token_command_t  *cmd;

    if (ask->peer == NULL) {
        return;
    }

    ngx_queue_init(&queue);

    ngx_http_token_peer_close(ask->peer, &queue);

    ask->peer = NULL;

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        ngx_queue_remove(q);

        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        ngx_http_token_command_free(cmd);
    }
}
