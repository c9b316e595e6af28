
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The store as a worker sees it: one connection for all of its commands, which
 * wait for it no longer than they may, and a breaker: while the store is down,
 * commands fail at once, and the worker looks every second whether it is back.
 */


#include "ngx_http_token_cache.h"


/* how often it is looked whether the store is back, in milliseconds */

#define NGX_HTTP_TOKEN_STORE_RETRY     1000

/* commands that wait for a connection, or for their replies, and their size */

#define NGX_HTTP_TOKEN_STORE_COMMANDS  1024
#define NGX_HTTP_TOKEN_STORE_BYTES     16777216

/*
 * UP: commands are sent.  DOWN: they fail.  TRIAL: the server answers, but its
 * last reply to a command was an error, or a connection had none: one command
 * is sent, the others fail until it has been answered (TRIED).
 */

#define NGX_HTTP_TOKEN_STORE_UP        0
#define NGX_HTTP_TOKEN_STORE_DOWN      1
#define NGX_HTTP_TOKEN_STORE_TRIAL     2
#define NGX_HTTP_TOKEN_STORE_TRIED     3


struct ngx_http_token_link_s {
    ngx_http_token_store_t         *store;
    ngx_http_token_peer_t          *peer;
    ngx_http_token_sentinel_t      *sentinel;  /* that is asked */
    ngx_http_token_sentinel_t      *master;    /* what it has said */
    ngx_uint_t                      first;     /* sentinel to ask first */
    ngx_uint_t                      state;
    ngx_uint_t                      ready;     /* the peer is */
    ngx_uint_t                      refused;   /* by an error */
    ngx_uint_t                      answered;  /* a command, by the peer */
    ngx_uint_t                      moved;     /* which was logged */
    ngx_uint_t                      ncommands;
    size_t                          size;      /* of these */
    ngx_queue_t                     waiting;   /* for the peer */
    ngx_event_t                     patience;  /* of what waits */
    ngx_event_t                     retry;
};


static void ngx_http_token_link_connect(ngx_http_token_link_t *link);
static void ngx_http_token_link_master(ngx_http_token_sentinel_t *ask);
static void ngx_http_token_link_peer(ngx_http_token_link_t *link,
    ngx_http_token_host_t *host);
static void ngx_http_token_link_handler(ngx_http_token_peer_t *peer);
static void ngx_http_token_link_ready(ngx_http_token_link_t *link);
static void ngx_http_token_link_leave(ngx_http_token_link_t *link);
static void ngx_http_token_link_up(ngx_http_token_link_t *link);
static void ngx_http_token_link_down(ngx_http_token_link_t *link, u_char *why);
static void ngx_http_token_link_close(ngx_http_token_link_t *link,
    ngx_queue_t *commands);
static void ngx_http_token_link_fail(ngx_queue_t *commands);
static void ngx_http_token_link_patience(ngx_event_t *ev);
static void ngx_http_token_link_retry(ngx_event_t *ev);
static void ngx_http_token_link_end(void *data);


ngx_int_t
ngx_http_token_store_init_process(ngx_cycle_t *cycle)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_token_link_t       *link;
    ngx_http_token_store_t      *store;
    ngx_http_token_main_conf_t  *tmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    tmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_token_module);

    if (tmcf == NULL || tmcf->store == NULL
        || tmcf->store->zones.nelts == 0)
    {
        return NGX_OK;
    }

    store = tmcf->store;

    cln = ngx_pool_cleanup_add(cycle->pool, sizeof(ngx_http_token_link_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_token_link_end;

    link = cln->data;

    ngx_memzero(link, sizeof(ngx_http_token_link_t));

    link->store = store;
    store->link = link;

    ngx_queue_init(&link->waiting);

    link->patience.handler = ngx_http_token_link_patience;
    link->patience.data = link;
    link->patience.log = cycle->log;

    link->retry.handler = ngx_http_token_link_retry;
    link->retry.data = link;
    link->retry.log = cycle->log;

    /* a worker that has nothing else to do may leave */

    link->retry.cancelable = 1;

    /* the first caller need not wait for the connection */

    ngx_add_timer(&link->retry, 1);

    return NGX_OK;
}


void
ngx_http_token_store_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_token_module);

    if (tmcf && tmcf->store && tmcf->store->link) {
        ngx_http_token_link_end(tmcf->store->link);
    }
}


/* nobody hears of what has not been answered */

static void
ngx_http_token_link_end(void *data)
{
    ngx_http_token_link_t  *link = data;

    ngx_queue_t                commands, *q;
    ngx_http_token_command_t  *cmd;

    if (link->store->link == NULL) {
        return;
    }

    link->store->link = NULL;

    ngx_queue_init(&commands);

    ngx_http_token_link_close(link, &commands);

    if (link->retry.timer_set) {
        ngx_del_timer(&link->retry);
    }

    if (link->retry.posted) {
        ngx_delete_posted_event(&link->retry);
    }

    while (!ngx_queue_empty(&commands)) {
        q = ngx_queue_head(&commands);
        ngx_queue_remove(q);

        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        ngx_http_token_command_free(cmd);
    }
}


ngx_int_t
ngx_http_token_store_send(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd)
{
    ngx_http_token_link_t  *link;

    link = store->link;

    if (link == NULL
        || link->state == NGX_HTTP_TOKEN_STORE_DOWN
        || link->state == NGX_HTTP_TOKEN_STORE_TRIED
        || link->ncommands == NGX_HTTP_TOKEN_STORE_COMMANDS
        || link->size + cmd->size > NGX_HTTP_TOKEN_STORE_BYTES)
    {
        ngx_http_token_command_free(cmd);
        return NGX_DECLINED;
    }

    if (link->state == NGX_HTTP_TOKEN_STORE_TRIAL) {
        link->state = NGX_HTTP_TOKEN_STORE_TRIED;
    }

    link->ncommands++;
    link->size += cmd->size;

    if (link->ready) {
        ngx_http_token_peer_send(link->peer, cmd);
        return NGX_OK;
    }

    cmd->sent = ngx_http_token_microseconds();
    cmd->deadline = ngx_current_msec + store->connect_timeout + store->timeout;

    ngx_queue_insert_tail(&link->waiting, &cmd->queue);

    if (!link->patience.timer_set) {
        ngx_add_timer(&link->patience,
                      store->connect_timeout + store->timeout);
    }

    if (link->peer == NULL && link->sentinel == NULL) {
        ngx_http_token_link_connect(link);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_token_store_answered(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd, ngx_http_token_resp_t *reply)
{
    u_char                  why[64];
    ngx_str_t               code;
    ngx_http_token_link_t  *link;

    link = store->link;

    if (reply == NULL) {
        return NGX_ERROR;
    }

    link->ncommands--;
    link->size -= cmd->size;

    code = ngx_http_token_resp_error(reply);

    link->answered = 1;

    if (code.len == 0) {
        if (link->state == NGX_HTTP_TOKEN_STORE_TRIED) {
            ngx_http_token_link_up(link);
        }

    } else if (ngx_http_token_equals(&code, "MOVED")
               || ngx_http_token_equals(&code, "ASK"))
    {
        /* the next one may be for a slot that the server has */

        if (link->state == NGX_HTTP_TOKEN_STORE_TRIED) {
            link->state = NGX_HTTP_TOKEN_STORE_TRIAL;
        }

        if (!link->moved) {
            link->moved = 1;

            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "token store \"%V\" answered %V: it is one node of "
                          "a cluster, and not all tokens are kept there",
                          &store->shown, &code);
        }

    } else if (link->state != NGX_HTTP_TOKEN_STORE_DOWN) {
        *ngx_snprintf(why, sizeof(why) - 1, "it answered %V", &code) = '\0';

        link->refused = 1;

        ngx_http_token_link_down(link, why);

        return NGX_ERROR;
    }

    ngx_http_token_link_leave(link);

    return code.len ? NGX_ERROR : NGX_OK;
}


void
ngx_http_token_store_resend(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd, ngx_http_token_command_t *again)
{
    ngx_http_token_link_t  *link;

    link = store->link;

    link->size += again->size;
    link->size -= cmd->size;

    ngx_http_token_peer_send(link->peer, again);
}


static void
ngx_http_token_link_connect(ngx_http_token_link_t *link)
{
    u_char                 *why;
    ngx_http_token_host_t  *hosts;

    if (link->master) {
        ngx_http_token_sentinel_close(link->master);
        link->master = NULL;
    }

    if (link->store->master.len == 0) {
        hosts = link->store->hosts.elts;
        ngx_http_token_link_peer(link, &hosts[0]);
        return;
    }

    link->sentinel = ngx_http_token_sentinel_ask(link->store, link->first,
                                                 ngx_http_token_link_master,
                                                 link);
    if (link->sentinel == NULL) {
        why = (u_char *) "memory is out";
        ngx_http_token_link_down(link, why);
    }
}


/* the sentinels have been asked */

static void
ngx_http_token_link_master(ngx_http_token_sentinel_t *ask)
{
    u_char                 *why;
    ngx_http_token_link_t  *link;

    link = ask->data;

    if (!ask->known) {
        why = (u_char *) (ask->answered ? "its sentinels know no such master"
                                        : "none of its sentinels answers");
        ngx_http_token_link_down(link, why);
        return;
    }

    link->first = ask->current;

    link->sentinel = NULL;
    link->master = ask;

    ngx_http_token_link_peer(link, &ask->host);
}


static void
ngx_http_token_link_peer(ngx_http_token_link_t *link,
    ngx_http_token_host_t *host)
{
    u_char  *why;

    link->ready = 0;
    link->answered = 0;

    link->peer = ngx_http_token_peer_open(link->store, host, 0,
                                          ngx_http_token_link_handler, link);
    if (link->peer == NULL) {
        why = (u_char *) "memory is out";
        ngx_http_token_link_down(link, why);
    }
}


/* the peer is ready, or has failed */

static void
ngx_http_token_link_handler(ngx_http_token_peer_t *peer)
{
    u_char                  why[sizeof(peer->why)];
    ngx_queue_t             commands;
    ngx_http_token_link_t  *link;

    link = peer->data;

    if (!peer->failed) {
        ngx_http_token_link_ready(link);
        return;
    }

    if (link->ready && link->ncommands == 0) {

        /* it was idle: perhaps the server has been restarted */

        ngx_queue_init(&commands);

        ngx_http_token_link_close(link, &commands);

        if (!link->retry.timer_set && !ngx_exiting) {
            ngx_add_timer(&link->retry, NGX_HTTP_TOKEN_STORE_RETRY);
        }

        return;
    }

    if (link->ready && !link->answered) {

        /* it answers PING, and no script: not each second is worth a try */

        link->refused = 1;
    }

    ngx_memcpy(why, peer->why, sizeof(why));

    ngx_http_token_link_down(link, why);
}


static void
ngx_http_token_link_ready(ngx_http_token_link_t *link)
{
    ngx_queue_t               *q;
    ngx_http_token_command_t  *cmd;

    link->ready = 1;

    if (link->refused) {
        link->state = NGX_HTTP_TOKEN_STORE_TRIAL;

    } else {
        ngx_http_token_link_up(link);
    }

    while (!ngx_queue_empty(&link->waiting)) {
        q = ngx_queue_head(&link->waiting);
        ngx_queue_remove(q);

        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        ngx_http_token_peer_send(link->peer, cmd);
    }

    if (link->patience.timer_set) {
        ngx_del_timer(&link->patience);
    }

    ngx_http_token_link_leave(link);
}


/* a worker that leaves needs no connection when all has been answered */

static void
ngx_http_token_link_leave(ngx_http_token_link_t *link)
{
    if (ngx_exiting && link->ncommands == 0) {
        ngx_post_event(&link->retry, &ngx_posted_events);
    }
}


static void
ngx_http_token_link_up(ngx_http_token_link_t *link)
{
    link->state = NGX_HTTP_TOKEN_STORE_UP;
    link->refused = 0;

    if (ngx_exiting) {
        return;
    }

    if (ngx_http_token_stats_store_state(link->store,
                                         NGX_HTTP_TOKEN_STORE_IS_UP)
        == NGX_HTTP_TOKEN_STORE_IS_DOWN)
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "token store \"%V\" is used again",
                      &link->store->shown);
    }
}


/* the breaker opens: nobody waits for the store until it is back */

static void
ngx_http_token_link_down(ngx_http_token_link_t *link, u_char *why)
{
    ngx_queue_t  commands;

    ngx_queue_init(&commands);

    ngx_http_token_link_close(link, &commands);

    if (!ngx_exiting) {

        link->state = NGX_HTTP_TOKEN_STORE_DOWN;

        if (ngx_http_token_stats_store_state(link->store,
                                             NGX_HTTP_TOKEN_STORE_IS_DOWN)
            != NGX_HTTP_TOKEN_STORE_IS_DOWN)
        {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "token store \"%V\" is not used for now: %s",
                          &link->store->shown, why);
        }

        if (link->retry.timer_set) {
            ngx_del_timer(&link->retry);
        }

        ngx_add_timer(&link->retry, NGX_HTTP_TOKEN_STORE_RETRY
                                    + ngx_random()
                                      % (NGX_HTTP_TOKEN_STORE_RETRY / 4));
    }

    ngx_http_token_link_fail(&commands);
}


static void
ngx_http_token_link_close(ngx_http_token_link_t *link, ngx_queue_t *commands)
{
    link->ready = 0;
    link->ncommands = 0;
    link->size = 0;

    if (link->peer) {
        ngx_http_token_peer_close(link->peer, commands);
        link->peer = NULL;
    }

    if (link->sentinel) {
        ngx_http_token_sentinel_close(link->sentinel);
        link->sentinel = NULL;
    }

    if (link->master) {
        ngx_http_token_sentinel_close(link->master);
        link->master = NULL;
    }

    if (!ngx_queue_empty(&link->waiting)) {
        ngx_queue_add(commands, &link->waiting);
        ngx_queue_init(&link->waiting);
    }

    if (link->patience.timer_set) {
        ngx_del_timer(&link->patience);
    }
}


static void
ngx_http_token_link_fail(ngx_queue_t *commands)
{
    ngx_queue_t               *q;
    ngx_http_token_command_t  *cmd;

    while (!ngx_queue_empty(commands)) {
        q = ngx_queue_head(commands);
        ngx_queue_remove(q);

        cmd = ngx_queue_data(q, ngx_http_token_command_t, queue);

        cmd->handler(cmd, NULL);

        ngx_http_token_command_free(cmd);
    }
}


/* what waits for a connection has waited long enough */

static void
ngx_http_token_link_patience(ngx_event_t *ev)
{
    u_char                 *why;
    ngx_http_token_link_t  *link;

    link = ev->data;

    why = (u_char *) "no connection was made in time";

    ngx_http_token_link_down(link, why);
}


/* connects ahead of the next command, or ends what a worker leaves behind */

static void
ngx_http_token_link_retry(ngx_event_t *ev)
{
    ngx_queue_t             commands;
    ngx_http_token_link_t  *link;

    link = ev->data;

    if (ngx_exiting) {

        if (link->ncommands == 0) {
            ngx_queue_init(&commands);
            ngx_http_token_link_close(link, &commands);
        }

        return;
    }

    if (link->peer == NULL && link->sentinel == NULL) {
        ngx_http_token_link_connect(link);
    }
}
