
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The store that machines share: a part of ngx_http_token_cache.h.
 */


#ifndef _NGX_HTTP_TOKEN_STORE_H_INCLUDED_
#define _NGX_HTTP_TOKEN_STORE_H_INCLUDED_


typedef struct ngx_http_token_link_s      ngx_http_token_link_t;
typedef struct ngx_http_token_peer_s      ngx_http_token_peer_t;
typedef struct ngx_http_token_share_s     ngx_http_token_share_t;
typedef struct ngx_http_token_command_s   ngx_http_token_command_t;
typedef struct ngx_http_token_sentinel_s  ngx_http_token_sentinel_t;


/* made of key=, or of a client's secret */

typedef struct {
    u_char                          name[NGX_HTTP_TOKEN_DIGEST_LEN];
    u_char                          seal[NGX_HTTP_TOKEN_DIGEST_LEN];
} ngx_http_token_seal_t;


/* a server, or a sentinel */

typedef struct {
    ngx_str_t                       name;     /* host and port */
    ngx_str_t                       host;
    in_port_t                       port;
    ngx_addr_t                     *addrs;
    ngx_uint_t                      naddrs;   /* 0: resolved while serving */
    ngx_uint_t                      first;    /* address to begin with */
} ngx_http_token_host_t;


/* token_proxy_cache_store */

#define NGX_HTTP_TOKEN_MAX_PREFIX  64

struct ngx_http_token_store_s {
    ngx_array_t                     hosts;    /* ngx_http_token_host_t */
    ngx_str_t                       master;   /* whom sentinels are asked for */
    ngx_str_t                       user;
    ngx_str_t                       password;
    ngx_uint_t                      db;
    ngx_str_t                       prefix;
    ngx_http_token_seal_t           keys[2];
    ngx_uint_t                      nkeys;    /* 0: the client's secrets are */
    ngx_msec_t                      connect_timeout;
    ngx_msec_t                      timeout;
    ngx_str_t                       trusted;  /* file of certificates */
    ngx_str_t                       ssl_name; /* and a NUL behind it */
#if (NGX_HTTP_SSL)
    ngx_ssl_t                      *ssl;      /* or NULL */
#endif
    ngx_uint_t                      tls;      /* rediss:// */
    ngx_resolver_t                 *resolver;
    ngx_array_t                     zones;    /* ngx_http_token_zone_t * */
    ngx_str_t                       shown;    /* URL, without a user */
    ngx_http_token_pos_t            pos;

    /* of this worker */

    ngx_http_token_link_t          *link;
};


/* ngx_http_token_store_seal.c */

/* Makes keys of a secret.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_seal_keys(ngx_str_t *secret,
    ngx_http_token_seal_t *keys);

/* Makes the name of an entry in the store.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_seal_name(ngx_http_token_seal_t *keys, u_char *digest,
    u_char *name);

/* so much longer is what is sealed */

#define NGX_HTTP_TOKEN_SEAL_MORE  28

/*
 * Seals a text that belongs with another, which is not a part of it.  Returns
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_seal(ngx_pool_t *pool, ngx_http_token_seal_t *keys,
    ngx_str_t *with, ngx_str_t *text, ngx_str_t *sealed);

/* Opens it.  Returns NGX_OK, NGX_DECLINED if it is not genuine, or NGX_ERROR */
ngx_int_t ngx_http_token_unseal(ngx_pool_t *pool, ngx_http_token_seal_t *keys,
    ngx_str_t *with, ngx_str_t *sealed, ngx_str_t *text);


/* ngx_http_token_store_command.c */

/* called with the reply to a command, or with NULL if there will be none */

typedef void (*ngx_http_token_reply_pt)(ngx_http_token_command_t *cmd,
    ngx_http_token_resp_t *reply);

/* how a script is called: EVALSHA and its digest, or EVAL and its text */

#define NGX_HTTP_TOKEN_SCRIPT_WORDS  2

struct ngx_http_token_command_s {
    ngx_queue_t                     queue;
    ngx_http_token_reply_pt         handler;
    void                           *data;     /* NULL if nobody waits for it */
    ngx_msec_t                      deadline;
    int64_t                         sent;     /* usec; or when it began to wait
                                                 for a connection */
    ngx_uint_t                      nwords;
    size_t                          size;     /* of its text */
    ngx_chain_t                     out;
    ngx_buf_t                       buf;

    /* of a script */

    u_char                         *rest;     /* of its text, after these */

    ngx_http_token_store_t         *store;
    ngx_http_token_zone_t          *zone;
    ngx_uint_t                      script;
    ngx_uint_t                      again;    /* with its text */

    u_char                         *greeting; /* "AUTH" and such */
};


/* called when a peer is ready, or has failed, and is to be closed then */

typedef void (*ngx_http_token_peer_pt)(ngx_http_token_peer_t *peer);

struct ngx_http_token_peer_s {
    ngx_pool_t                     *pool;
    ngx_http_token_store_t         *store;
    ngx_http_token_host_t          *host;
    ngx_http_token_peer_pt          handler;
    void                           *data;
    ngx_uint_t                      sentinel; /* in clear, without a password */

    ngx_resolver_ctx_t             *resolving;
    ngx_addr_t                     *addrs;
    ngx_uint_t                      naddrs;
    ngx_uint_t                      tried;    /* addresses */

    ngx_connection_t               *connection;
    ngx_log_t                       log;
    ngx_event_t                     timer;
    ngx_queue_t                     commands; /* that have no reply yet */
    ngx_chain_t                    *unsent;
    ngx_chain_t                    *last;
    ngx_buf_t                       in;
    ngx_uint_t                      state;
    ngx_uint_t                      greetings;

    ngx_uint_t                      busy;     /* it is in use further out */
    ngx_uint_t                      failed;
    ngx_uint_t                      closed;
    u_char                          error[128];
    u_char                          why[192]; /* it failed, in words */
};

/* states of a peer, in their order */

#define NGX_HTTP_TOKEN_PEER_CONNECT  0
#define NGX_HTTP_TOKEN_PEER_GREET    1
#define NGX_HTTP_TOKEN_PEER_READY    2

/* Makes a command of words.  Returns NULL if memory is out. */
ngx_http_token_command_t *ngx_http_token_command_create(ngx_str_t *words,
    ngx_uint_t n);

/* The same call of a script with other words in the place of the first two. */
ngx_http_token_command_t *ngx_http_token_command_replace(
    ngx_http_token_command_t *cmd, ngx_str_t *words);

void ngx_http_token_command_free(ngx_http_token_command_t *cmd);


/* ngx_http_token_store_peer.c */

/* The handlers of its connection and of its timer. */
void ngx_http_token_peer_read_handler(ngx_event_t *ev);
void ngx_http_token_peer_write_handler(ngx_event_t *ev);
void ngx_http_token_peer_timeout(ngx_event_t *ev);

/* It has failed, in words: disconnects it, and calls its handler. */
void ngx_http_token_peer_fail(ngx_http_token_peer_t *peer, const char *fmt,
    ...);
void ngx_http_token_peer_disconnect(ngx_http_token_peer_t *peer);

/* Sends a command over a peer that is ready. */
void ngx_http_token_peer_send(ngx_http_token_peer_t *peer,
    ngx_http_token_command_t *cmd);

/* Closes it, and hands over the commands that have no reply. */
void ngx_http_token_peer_close(ngx_http_token_peer_t *peer,
    ngx_queue_t *commands);


/* ngx_http_token_store_connect.c */

/*
 * Connects to a host, which has to live as long.  The handler is not called
 * before this returns.  Returns NULL if memory is out.
 */
ngx_http_token_peer_t *ngx_http_token_peer_open(ngx_http_token_store_t *store,
    ngx_http_token_host_t *host, ngx_uint_t sentinel,
    ngx_http_token_peer_pt handler, void *data);


/* ngx_http_token_sentinel.c */

typedef void (*ngx_http_token_sentinel_pt)(ngx_http_token_sentinel_t *ask);

struct ngx_http_token_sentinel_s {
    ngx_pool_t                     *pool;
    ngx_http_token_store_t         *store;
    ngx_http_token_sentinel_pt      handler;
    void                           *data;
    ngx_http_token_peer_t          *peer;
    ngx_event_t                     event;
    ngx_uint_t                      current;  /* index of a sentinel */
    ngx_uint_t                      left;     /* that were not asked */
    ngx_uint_t                      answered; /* one has answered */
    ngx_uint_t                      known;    /* and said the host */
    ngx_http_token_host_t           host;
};

/*
 * Asks the sentinels, that one first.  The handler is not called before this
 * returns.  Returns NULL if memory is out.
 */
ngx_http_token_sentinel_t *ngx_http_token_sentinel_ask(
    ngx_http_token_store_t *store, ngx_uint_t first,
    ngx_http_token_sentinel_pt handler, void *data);

/* Frees it, and with it the host. */
void ngx_http_token_sentinel_close(ngx_http_token_sentinel_t *ask);


/* ngx_http_token_store_conn.c */

ngx_int_t ngx_http_token_store_init_process(ngx_cycle_t *cycle);
void ngx_http_token_store_exit_process(ngx_cycle_t *cycle);

/*
 * Sends a command, and frees it when it has ended.  Returns NGX_OK, also if it
 * has failed meanwhile, or NGX_DECLINED if the store is not used now: then its
 * handler is not called.
 */
ngx_int_t ngx_http_token_store_send(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd);

/* Sends another in the place of one that has just been answered. */
void ngx_http_token_store_resend(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd, ngx_http_token_command_t *again);

/*
 * Judges the reply to a command.  Returns NGX_OK, or NGX_ERROR if there is
 * none, or it is an error.
 */
ngx_int_t ngx_http_token_store_answered(ngx_http_token_store_t *store,
    ngx_http_token_command_t *cmd, ngx_http_token_resp_t *reply);


/* an entry of the store, for one fetch */

#define NGX_HTTP_TOKEN_SHARE_ID     32  /* in hex */
#define NGX_HTTP_TOKEN_SERIAL_LEN   20  /* room for one; it has 16 digits */
#define NGX_HTTP_TOKEN_SEAL_WITH    (NGX_HTTP_TOKEN_DIGEST_LEN + 32)

/* what a fetch has to do when the store has been asked */

#define NGX_HTTP_TOKEN_SHARE_FETCH   0
#define NGX_HTTP_TOKEN_SHARE_TOKEN   1
#define NGX_HTTP_TOKEN_SHARE_FAILED  2


typedef void (*ngx_http_token_share_pt)(ngx_http_token_share_t *share);

struct ngx_http_token_share_s {
    ngx_pool_t                     *pool;     /* of the fetch */
    ngx_http_token_store_t         *store;
    ngx_http_token_zone_t          *zone;
    ngx_http_token_share_pt         handler;
    void                           *data;

    ngx_http_token_seal_t           keys[2];
    u_char                          names[2][NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_uint_t                      nkeys;
    ngx_uint_t                      key;      /* which of them is asked with */

    u_char                          id[NGX_HTTP_TOKEN_SHARE_ID];
    uint64_t                        have;     /* serial that is of no use */
    ngx_uint_t                      unusable; /* what was there could not be
                                                 opened */
    uint64_t                        serial;   /* of the lease, 0 if none */
    int64_t                         now;      /* of the store, at that time */

    ngx_http_token_command_t       *command;  /* that goes on */
    ngx_http_token_time_t           sent;
    ngx_http_token_time_t           deadline; /* of waiting */
    ngx_http_token_time_t           until;    /* another's lease, 0 if none */
    ngx_msec_t                      delay;
    ngx_event_t                     timer;
    ngx_msec_t                      max_backoff;

    /* the result */

    ngx_uint_t                      result;

    ngx_str_t                       text;     /* the members of an answer */
    uint64_t                        token_serial;
    ngx_http_token_time_t           expires;
    int64_t                         left;     /* msec */
    int64_t                         lifetime; /* all of it */
    ngx_uint_t                      told;     /* the endpoint has told it */
    ngx_uint_t                      last;
    ngx_uint_t                      secret;

    ngx_uint_t                      outcome;  /* of another's failure */
    time_t                          retry_after;
    ngx_msec_t                      backoff;
};


/* a token for the others */

typedef struct {
    ngx_str_t                       text;     /* the members of an answer */
    ngx_http_token_time_t           expires;
    int64_t                         left;     /* since the lease was taken */
    int64_t                         lifetime;
    ngx_uint_t                      told;
    ngx_uint_t                      last;
    ngx_uint_t                      secret;
} ngx_http_token_shared_t;


/* ngx_http_token_store_token.c */

/*
 * Open the token or the failure of a reply, and set the result.  They return
 * NGX_OK or NGX_DECLINED.
 */
ngx_int_t ngx_http_token_share_open(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);
ngx_int_t ngx_http_token_share_open_failure(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply);

/* Seal one.  NGX_OK, NGX_DECLINED if it is too long, or NGX_ERROR. */
ngx_int_t ngx_http_token_share_seal(ngx_http_token_share_t *share,
    ngx_http_token_shared_t *token, ngx_str_t *serial, ngx_str_t *sealed);
ngx_int_t ngx_http_token_share_seal_failure(ngx_http_token_share_t *share,
    ngx_uint_t outcome, time_t retry_after, ngx_msec_t backoff,
    ngx_str_t *sealed);


/* ngx_http_token_store.c */

/* Called once, before workers are forked. */
void ngx_http_token_store_init_scripts(void);

/*
 * Prepares what a fetch of a zone with a store needs, in r->pool.  Returns NULL
 * if that cannot be had.
 */
ngx_http_token_share_t *ngx_http_token_share_create(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_http_token_zone_t *zone,
    u_char *digest);

/*
 * Asks the store for a token other than the one with the serial "have".
 * Returns NGX_OK if the handler will be called, or has been: it may end the
 * fetch.
 */
ngx_int_t ngx_http_token_share_take(ngx_http_token_share_t *share);

/* The fetch goes on: extends its lease. */
void ngx_http_token_share_extend(ngx_http_token_share_t *share);

/* How it has ended, for the others: nothing without a lease. */
ngx_int_t ngx_http_token_share_put(ngx_http_token_share_t *share,
    ngx_http_token_shared_t *token);
void ngx_http_token_share_fail(ngx_http_token_share_t *share,
    ngx_uint_t outcome, time_t retry_after, ngx_msec_t backoff);

/* The handler will not be called any more. */
void ngx_http_token_share_close(ngx_http_token_share_t *share);

/* Removes a token from the store, if it is still that one. */
void ngx_http_token_share_drop(ngx_http_token_zone_t *zone, u_char *name,
    uint64_t serial);


#endif /* _NGX_HTTP_TOKEN_STORE_H_INCLUDED_ */
