
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What a fetch does with the store that several machines share: it takes the
 * token that another one has fetched, or waits for it, or fetches it for all.
 * Whatever is wrong with the store, the fetch goes on without it.
 */


#include "ngx_http_token_cache.h"
#include "ngx_http_token_store_lua.h"

#include <ngx_sha1.h>
#include <openssl/rand.h>


/* how long a waiter waits until it asks again, in milliseconds */

#define NGX_HTTP_TOKEN_STORE_POLL      25
#define NGX_HTTP_TOKEN_STORE_MAX_POLL  250

/* as they stand in the table of scripts */

#define NGX_HTTP_TOKEN_SCRIPT_TAKE     0
#define NGX_HTTP_TOKEN_SCRIPT_PUT      1
#define NGX_HTTP_TOKEN_SCRIPT_FAIL     2
#define NGX_HTTP_TOKEN_SCRIPT_DROP     3


static ngx_int_t ngx_http_token_share_keys(ngx_http_token_share_t *share,
    ngx_http_request_t *r, ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_share_send_take(ngx_http_token_share_t *share,
    ngx_http_token_share_t *waiter, ngx_uint_t key, ngx_msec_t lease);
static void ngx_http_token_share_taken(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_share_token(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_share_other(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_share_wait(ngx_http_token_share_t *share,
    int64_t left);
static void ngx_http_token_share_wait_handler(ngx_event_t *ev);
static void ngx_http_token_share_leased(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);
static void ngx_http_token_share_end(ngx_http_token_share_t *share,
    ngx_uint_t result);
static ngx_uint_t ngx_http_token_reply_is(ngx_http_token_resp_t *reply,
    char *word, ngx_uint_t n, char *types);
static ngx_int_t ngx_http_token_store_run(ngx_http_token_store_t *store,
    ngx_http_token_zone_t *zone, ngx_http_token_share_t *share,
    ngx_uint_t script, u_char *name, ngx_str_t *args, ngx_uint_t nargs);
static void ngx_http_token_store_reply(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply);


static ngx_str_t  ngx_http_token_scripts[] = {
    ngx_string(NGX_HTTP_TOKEN_LUA_TAKE),
    ngx_string(NGX_HTTP_TOKEN_LUA_PUT),
    ngx_string(NGX_HTTP_TOKEN_LUA_FAIL),
    ngx_string(NGX_HTTP_TOKEN_LUA_DROP)
};


/* the SHA-1 of each, by which the store knows it */

static u_char  ngx_http_token_script_digests[4][40];


void
ngx_http_token_store_init_scripts(void)
{
    u_char       digest[20];
    ngx_str_t   *script;
    ngx_uint_t   i;
    ngx_sha1_t   sha1;

    for (i = 0; i < 4; i++) {
        script = &ngx_http_token_scripts[i];

        /* a name and no protection: OpenSSL may be told to refuse SHA-1 */

        ngx_sha1_init(&sha1);
        ngx_sha1_update(&sha1, script->data, script->len);
        ngx_sha1_final(digest, &sha1);

        ngx_hex_dump(ngx_http_token_script_digests[i], digest, 20);
    }
}


ngx_http_token_share_t *
ngx_http_token_share_create(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_http_token_zone_t *zone,
    u_char *digest)
{
    u_char                   id[NGX_HTTP_TOKEN_SHARE_ID / 2];
    ngx_uint_t               i;
    ngx_http_token_share_t  *share;

    share = ngx_pcalloc(r->pool, sizeof(ngx_http_token_share_t));

    if (share == NULL || RAND_bytes(id, sizeof(id)) != 1) {
        return NULL;
    }

    share->pool = r->pool;
    share->store = zone->store;
    share->zone = zone;
    share->max_backoff = request->tlcf->cache.backoff_max;

    ngx_hex_dump(share->id, id, sizeof(id));

    if (ngx_http_token_share_keys(share, r, request) != NGX_OK) {
        return NULL;
    }

    for (i = 0; i < share->nkeys; i++) {
        if (ngx_http_token_seal_name(&share->keys[i], digest, share->names[i])
            != NGX_OK)
        {
            return NULL;
        }
    }

    /* then it is better to call the endpoint than to wait for another */

    share->deadline = ngx_http_token_now()
                      + request->tlcf->cache.lock_timeout / 2;

    share->timer.handler = ngx_http_token_share_wait_handler;
    share->timer.data = share;
    share->timer.log = r->connection->log;

    return share;
}


/* those of key=, or else of the client's secrets */

static ngx_int_t
ngx_http_token_share_keys(ngx_http_token_share_t *share, ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    ngx_str_t   secrets[2];
    ngx_uint_t  i;

    if (share->store->nkeys) {
        share->nkeys = share->store->nkeys;
        ngx_memcpy(share->keys, share->store->keys, sizeof(share->keys));

        return NGX_OK;
    }

    share->nkeys = ngx_http_token_request_secrets(r, request, secrets);

    if (share->nkeys == 0) {
        return NGX_ERROR;
    }

    for (i = 0; i < share->nkeys; i++) {
        if (ngx_http_token_seal_keys(&secrets[i], &share->keys[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_token_share_take(ngx_http_token_share_t *share)
{
    return ngx_http_token_share_send_take(share, share, 0,
                                          NGX_HTTP_TOKEN_LEASE_TIME);
}


void
ngx_http_token_share_extend(ngx_http_token_share_t *share)
{
    /* whatever is answered, the fetch goes on */

    if (share->serial) {
        (void) ngx_http_token_share_send_take(share, NULL, 0,
                                              NGX_HTTP_TOKEN_LEASE_TIME);
    }
}


static ngx_int_t
ngx_http_token_share_send_take(ngx_http_token_share_t *share,
    ngx_http_token_share_t *waiter, ngx_uint_t key, ngx_msec_t lease)
{
    u_char                   ms[NGX_INT_T_LEN], have[NGX_HTTP_TOKEN_SERIAL_LEN];
    ngx_int_t                rc;
    ngx_str_t                args[3];
    ngx_http_token_store_t  *store;

    store = share->store;

    args[0].data = share->id;
    args[0].len = NGX_HTTP_TOKEN_SHARE_ID;

    args[1].data = ms;
    args[1].len = ngx_sprintf(ms, "%M", lease) - ms;

    args[2].data = have;
    args[2].len = share->have ? ngx_sprintf(have, "%016uL", share->have) - have
                              : 0;

    if (waiter) {
        share->key = key;
        share->sent = ngx_http_token_now();

        /* each of several replies may be slow, and a fetch waits for all */

        if (!share->timer.timer_set) {
            ngx_add_timer(&share->timer,
                          store->connect_timeout + store->timeout);
        }
    }

    rc = ngx_http_token_store_run(store, share->zone, waiter,
                                  NGX_HTTP_TOKEN_SCRIPT_TAKE,
                                  share->names[key], args, 3);

    /* otherwise the share may be gone */

    if (rc != NGX_OK && waiter && share->timer.timer_set) {
        ngx_del_timer(&share->timer);
    }

    return rc;
}


/* the reply to take, or NULL: the share may be gone when this returns */

static void
ngx_http_token_share_taken(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    if (reply == NULL) {
        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
        return;
    }

    if (share->key) {
        ngx_http_token_share_other(share, reply);
        return;
    }

    if (ngx_http_token_reply_is(reply, "token", 6, "*$$$::")) {
        ngx_http_token_share_token(share, reply);
        return;
    }

    if (ngx_http_token_reply_is(reply, "wait", 3, "*$:")) {
        ngx_http_token_share_wait(share, reply->values[2].integer);
        return;
    }

    if (ngx_http_token_reply_is(reply, "fail", 5, "*$:$:")
        && ngx_http_token_share_open_failure(share, reply) == NGX_OK)
    {
        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FAILED);
        return;
    }

    if (ngx_http_token_reply_is(reply, "fetch", 4, "*$$:")) {
        ngx_http_token_share_leased(share, reply);
        return;
    }

    ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
}


static void
ngx_http_token_share_token(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    int64_t  serial;

    if (ngx_http_token_share_open(share, reply) == NGX_OK) {
        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_TOKEN);
        return;
    }

    /* what cannot be opened counts as the token that is to be replaced */

    serial = ngx_atoof(reply->values[2].text.data, reply->values[2].text.len);

    if (serial > 0 && !share->unusable) {
        share->unusable = 1;
        share->have = (uint64_t) serial;

        if (ngx_http_token_share_take(share) == NGX_OK) {
            return;
        }
    }

    ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
}


/* the lease is taken: perhaps the token is there, sealed with the other key */

static void
ngx_http_token_share_leased(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    int64_t  serial;

    serial = ngx_atoof(reply->values[2].text.data, reply->values[2].text.len);

    if (serial > 0) {
        share->serial = (uint64_t) serial;
        share->now = reply->values[3].integer;
    }

    if (share->nkeys == 2
        && ngx_http_token_share_send_take(share, share, 1, 0) == NGX_OK)
    {
        return;
    }

    ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
}


/* what was there with the other key; with the first, the share has the lease */

static void
ngx_http_token_share_other(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    ngx_uint_t  result;

    result = NGX_HTTP_TOKEN_SHARE_FETCH;

    if (ngx_http_token_reply_is(reply, "token", 6, "*$$$::")
        && ngx_http_token_share_open(share, reply) == NGX_OK)
    {
        result = NGX_HTTP_TOKEN_SHARE_TOKEN;
    }

    ngx_http_token_share_end(share, result);
}


/*
 * Another machine fetches: its lease is a new one, or it has extended it, or
 * else it is waited for until the end that it had.
 */

static void
ngx_http_token_share_wait(ngx_http_token_share_t *share, int64_t left)
{
    ngx_msec_t             delay;
    ngx_http_token_time_t  now;

    now = ngx_http_token_now();

    if (share->until == 0 || left >= NGX_HTTP_TOKEN_LEASE_TIME / 2) {
        share->until = ngx_min(now + left, share->deadline);
    }

    /* no lease of this module ends never, or that late */

    if (left < 0 || left > NGX_HTTP_TOKEN_LEASE_TIME || share->until < now) {
        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
        return;
    }

    share->delay = share->delay
                   ? ngx_min(share->delay * 8 / 5,
                             NGX_HTTP_TOKEN_STORE_MAX_POLL)
                   : NGX_HTTP_TOKEN_STORE_POLL;

    delay = share->delay + ngx_random() % (share->delay / 4 + 1);

    if (share->timer.timer_set) {
        ngx_del_timer(&share->timer);
    }

    ngx_add_timer(&share->timer,
                  (ngx_msec_t) ngx_min((int64_t) delay, left + 1));
}


/* it has waited for another machine, or for the store, which is too slow */

static void
ngx_http_token_share_wait_handler(ngx_event_t *ev)
{
    ngx_http_token_share_t  *share;

    share = ev->data;

    if (share->command) {
        share->command->data = NULL;
        share->command = NULL;

        /* a lease that comes too late is not kept from the others */

        if (share->serial == 0) {
            ngx_http_token_share_fail(share, NGX_HTTP_TOKEN_OK, 0, 0);
        }

        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
        return;
    }

    if (ngx_http_token_share_take(share) != NGX_OK) {
        ngx_http_token_share_end(share, NGX_HTTP_TOKEN_SHARE_FETCH);
    }
}


static void
ngx_http_token_share_end(ngx_http_token_share_t *share, ngx_uint_t result)
{
    if (share->timer.timer_set) {
        ngx_del_timer(&share->timer);
    }

    share->result = result;
    share->handler(share);
}


void
ngx_http_token_share_close(ngx_http_token_share_t *share)
{
    if (share->timer.timer_set) {
        ngx_del_timer(&share->timer);
    }

    if (share->command) {
        share->command->data = NULL;
        share->command = NULL;
    }
}


ngx_int_t
ngx_http_token_share_put(ngx_http_token_share_t *share,
    ngx_http_token_shared_t *token)
{
    u_char     serial[NGX_HTTP_TOKEN_SERIAL_LEN], expiry[NGX_INT64_LEN];
    ngx_int_t  rc;
    ngx_str_t  args[4];

    args[0].data = share->id;
    args[0].len = NGX_HTTP_TOKEN_SHARE_ID;

    args[1].data = serial;
    args[1].len = ngx_sprintf(serial, "%016uL", share->serial) - serial;

    rc = ngx_http_token_share_seal(share, token, &args[1], &args[2]);

    if (rc != NGX_OK) {
        return rc;
    }

    /* by the store's clock, when the lease was taken: not too late */

    args[3].data = expiry;
    args[3].len = ngx_sprintf(expiry, "%L", share->now + token->left) - expiry;

    return ngx_http_token_store_run(share->store, share->zone, NULL,
                                    NGX_HTTP_TOKEN_SCRIPT_PUT,
                                    share->names[0], args, 4);
}


void
ngx_http_token_share_fail(ngx_http_token_share_t *share, ngx_uint_t outcome,
    time_t retry_after, ngx_msec_t backoff)
{
    u_char     ms[NGX_INT_T_LEN];
    ngx_str_t  args[3];

    args[0].data = share->id;
    args[0].len = NGX_HTTP_TOKEN_SHARE_ID;

    ngx_str_null(&args[2]);

    if (backoff
        && ngx_http_token_share_seal_failure(share, outcome, retry_after,
                                             backoff, &args[2])
           != NGX_OK)
    {
        backoff = 0;
        ngx_str_null(&args[2]);
    }

    args[1].data = ms;
    args[1].len = ngx_sprintf(ms, "%M", backoff) - ms;

    (void) ngx_http_token_store_run(share->store, share->zone, NULL,
                                    NGX_HTTP_TOKEN_SCRIPT_FAIL,
                                    share->names[0], args, 3);
}


void
ngx_http_token_share_drop(ngx_http_token_zone_t *zone, u_char *name,
    uint64_t serial)
{
    u_char     text[NGX_HTTP_TOKEN_SERIAL_LEN];
    ngx_str_t  arg;

    arg.data = text;
    arg.len = ngx_sprintf(text, "%016uL", serial) - text;

    (void) ngx_http_token_store_run(zone->store, zone, NULL,
                                    NGX_HTTP_TOKEN_SCRIPT_DROP, name, &arg, 1);
}


/* whether a reply is an array that begins with a word, of just these types */

static ngx_uint_t
ngx_http_token_reply_is(ngx_http_token_resp_t *reply, char *word, ngx_uint_t n,
    char *types)
{
    ngx_uint_t  i;

    if (reply->nvalues != n) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (reply->values[i].type != (u_char) types[i]
            || reply->values[i].null)
        {
            return 0;
        }
    }

    return ngx_http_token_equals(&reply->values[1].text, word);
}


/* sends a script; its reply goes to the share, unless that is NULL */

static ngx_int_t
ngx_http_token_store_run(ngx_http_token_store_t *store,
    ngx_http_token_zone_t *zone, ngx_http_token_share_t *share,
    ngx_uint_t script, u_char *name, ngx_str_t *args, ngx_uint_t nargs)
{
    u_char                    *p, keys[3][NGX_HTTP_TOKEN_MAX_PREFIX + 70];
    ngx_str_t                  words[10];
    ngx_uint_t                 i;
    ngx_http_token_command_t  *cmd;

    ngx_str_set(&words[0], "EVALSHA");

    words[1].data = ngx_http_token_script_digests[script];
    words[1].len = sizeof(ngx_http_token_script_digests[0]);

    ngx_str_set(&words[2], "3");

    for (i = 0; i < 3; i++) {
        p = ngx_sprintf(keys[i], "%V:{", &store->prefix);
        p = ngx_hex_dump(p, name, NGX_HTTP_TOKEN_DIGEST_LEN);

        *p++ = '}';
        *p++ = ':';
        *p++ = "tlf"[i];

        words[3 + i].data = keys[i];
        words[3 + i].len = p - keys[i];
    }

    ngx_memcpy(&words[6], args, nargs * sizeof(ngx_str_t));

    cmd = ngx_http_token_command_create(words, 6 + nargs);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->handler = ngx_http_token_store_reply;
    cmd->data = share;
    cmd->store = store;
    cmd->zone = zone;
    cmd->script = script;

    if (share) {
        share->command = cmd;
    }

    if (ngx_http_token_store_send(store, cmd) == NGX_OK) {

        /* if it has failed at once, the share is gone */

        return NGX_OK;
    }

    if (share) {
        share->command = NULL;
    }

    return NGX_DECLINED;
}


static void
ngx_http_token_store_reply(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply)
{
    ngx_int_t                  rc;
    ngx_str_t                  code, words[NGX_HTTP_TOKEN_SCRIPT_WORDS];
    ngx_http_token_share_t    *share;
    ngx_http_token_command_t  *again;

    share = cmd->data;

    if (reply && !cmd->again) {
        code = ngx_http_token_resp_error(reply);

        if (ngx_http_token_equals(&code, "NOSCRIPT")) {

            ngx_str_set(&words[0], "EVAL");
            words[1] = ngx_http_token_scripts[cmd->script];

            again = ngx_http_token_command_replace(cmd, words);

            if (again) {
                if (share) {
                    share->command = again;
                }

                ngx_http_token_store_resend(cmd->store, cmd, again);
                return;
            }
        }
    }

    rc = ngx_http_token_store_answered(cmd->store, cmd, reply);

    ngx_http_token_stats_store(cmd->zone, rc,
                               ngx_http_token_microseconds() - cmd->sent);

    /* it may have been closed meanwhile */

    share = cmd->data;

    if (share) {
        share->command = NULL;
        ngx_http_token_share_taken(share, (rc == NGX_OK) ? reply : NULL);
    }
}
