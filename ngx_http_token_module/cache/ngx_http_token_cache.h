
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The zone, its entries, and the requests that wait for them.
 */


#ifndef _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_
#define _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_


#include "ngx_http_token_endpoint.h"


/* milliseconds of a clock that only goes forward, and goes on in suspend */

typedef int64_t  ngx_http_token_time_t;


/*
 * How long a lease holds, and how often its holder extends it, in milliseconds:
 * a worker that has died is replaced when its lease ends.
 */

#define NGX_HTTP_TOKEN_LEASE_TIME    2000
#define NGX_HTTP_TOKEN_LEASE_EXTEND  500

/*
 * The wall clock may be set forward so far, in milliseconds, before it is taken
 * for time that the other clock has missed: in a snapshot that was restored.
 */

#define NGX_HTTP_TOKEN_CLOCK_STEP    5000

/* how often token_proxy_cache_bypass renews a token, in milliseconds */

#define NGX_HTTP_TOKEN_BYPASS_EVERY  1000

/*
 * token_proxy_cache_warm: the first call comes within so many milliseconds, and
 * the token is looked at so often at least, since it may have been removed, or
 * the machine suspended, which timers do not notice.
 */

#define NGX_HTTP_TOKEN_WARM_SPREAD   2000
#define NGX_HTTP_TOKEN_WARM_EVERY    5000

/*
 * A hit without the lock does not move its entry in the order of last use: one
 * with the lock does so after evictions of one in so many entries.
 */

#define NGX_HTTP_TOKEN_TOUCH         16

/* so long an API may not know a new token yet, in milliseconds */

#define NGX_HTTP_TOKEN_RECENT        60000

/* how often it is said that an endpoint's tokens are not kept */

#define NGX_HTTP_TOKEN_WARN_EVERY    60000


/*
 * A token: a text that begins with the answer of the location that fetched it,
 * and the places of all members in it.  In shared memory it is in parts, of
 * which the first one has at least the members before the places.
 */

#define NGX_HTTP_TOKEN_PARTS  5

typedef struct {
    uint32_t                        size;     /* of all this */
    uint32_t                        fields;   /* hash of the body's fields */
    uint32_t                        parts[NGX_HTTP_TOKEN_PARTS - 1];
                                              /* where the others are */
    ngx_http_token_time_t           asked;    /* time of the token request */
    ngx_http_token_time_t           expires;
    ngx_http_token_time_t           renew_at; /* ahead of its expiry */
    ngx_http_token_time_t           lead;     /* of the wall clock, then */
    ngx_uint_t                      serial;   /* no other token has it */
    uint64_t                        shared;   /* its serial in the store, 0
                                                 if it is not from there */
    u_char                          name[NGX_HTTP_TOKEN_DIGEST_LEN]; /* of it */
    uint32_t                        body_len;
    uint32_t                        expires_in_pos; /* of the value in the */
    uint32_t                        expires_in_len; /* body, 0 if none */
    uint32_t                        token;    /* decoded, as a header has it */
    uint32_t                        token_len; /* 0 if no header can have it */
    uint32_t                        nmembers;
    ngx_http_token_span_t           members[1];  /* the text is behind them */
} ngx_http_token_stored_t;


/* counts, for an operator: of what callers got, and of what fetches brought */

#define NGX_HTTP_TOKEN_ENDPOINTS  16
#define NGX_HTTP_TOKEN_OUTCOMES   NGX_HTTP_TOKEN_BACKOFF
#define NGX_HTTP_TOKEN_BUCKETS    11


typedef struct {
    u_char                          name[64];  /* host, and port if any */
    size_t                          len;
    ngx_uint_t                      hits;
    ngx_uint_t                      misses;
    ngx_uint_t                      waits;
    ngx_uint_t                      rejects;   /* in backoff */
    ngx_uint_t                      renewals;
    ngx_uint_t                      retries;   /* with the other secret */
    ngx_uint_t                      outcomes[NGX_HTTP_TOKEN_OUTCOMES];
    ngx_uint_t                      buckets[NGX_HTTP_TOKEN_BUCKETS];
    uint64_t                        duration;  /* of all fetches, msec */
    ngx_http_token_time_t           warned;    /* last time, 0 if never */
} ngx_http_token_endpoint_t;


/* counts of the store that machines share, and what was known of it last */

#define NGX_HTTP_TOKEN_STORE_NOT_KNOWN  0
#define NGX_HTTP_TOKEN_STORE_IS_DOWN    1
#define NGX_HTTP_TOKEN_STORE_IS_UP      2


typedef struct {
    ngx_uint_t                      state;
    ngx_http_token_time_t           configured; /* who says it */
    ngx_uint_t                      commands;
    ngx_uint_t                      errors;
    ngx_uint_t                      taken;    /* tokens, from other machines */
    ngx_uint_t                      buckets[NGX_HTTP_TOKEN_BUCKETS];
    uint64_t                        duration; /* of all commands, usec */
} ngx_http_token_store_stats_t;


/* an entry of the zone: one token request, whether it has a token or not */

typedef struct {
    ngx_rbtree_node_t               node;     /* ordered by digest */
    ngx_queue_t                     queue;    /* by last use */
    u_char                          digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_http_token_stored_t        *stored;   /* NULL if there is no token */
    ngx_http_token_stored_t        *other;    /* the one before it or, once it
                                                 was refused, the one after */
    ngx_http_token_time_t           asked;    /* of the last token, even if
                                                 it has been removed */
    uint64_t                        shared;   /* serial in the store of the
                                                 last token from there */

    /* the lease of the fetch that goes on, and when it ends */

    ngx_http_token_time_t           lease_until;
    uint64_t                        lease;

    /* how the last fetches ended */

    ngx_http_token_time_t           retry_at;
    ngx_http_token_time_t           configured;  /* with what they were made */
    ngx_http_token_time_t           dropped;   /* when a token was removed */
    ngx_http_token_time_t           renewed;   /* when the last one came */
    ngx_http_token_time_t           bypassed;  /* when one was asked for by
                                                  token_proxy_cache_bypass */

    uint32_t                        generation;
    u_char                          endpoint;  /* index of its counts */
    u_char                          failure;   /* the last one */
    unsigned                        failures:8;
    unsigned                        waited:1;  /* another worker waits, too */
    unsigned                        expired:1; /* it had a token before */
    unsigned                        revoked:1; /* its token may be: it is not
                                                  kept beside the next one */
    unsigned                        secret:2;  /* which of two was good */
} ngx_http_token_node_t;


/* the counts stay when a zone is emptied */

typedef struct {
    ngx_uint_t                      generation;
    ngx_http_token_store_stats_t    store;

    /* the last one counts for all endpoints that have none of their own */

    ngx_uint_t                      nendpoints;
    ngx_http_token_endpoint_t       endpoints[NGX_HTTP_TOKEN_ENDPOINTS];

    ngx_rbtree_t                    rbtree;
    ngx_rbtree_node_t               sentinel;
    ngx_queue_t                     queue;
    ngx_queue_t                     pages;     /* with room for entries */
    ngx_atomic_t                    changing;  /* set while it is locked */
    ngx_uint_t                      entries;
} ngx_http_token_shctx_t;


/*
 * Of all entries whose digests begin alike.  The generation changes, under the
 * lock, before the token of one of them does.  It is read without the lock.
 */

typedef struct {
    ngx_atomic_t                    generation;
} ngx_http_token_slot_t;


/* the hits of a worker without the lock, by endpoint: in cache lines it owns */

typedef struct {
    ngx_atomic_t                    hits[NGX_HTTP_TOKEN_ENDPOINTS];
} ngx_http_token_hits_t;


/*
 * What is used without the lock: at the end of the zone, beyond the slabs, and
 * never freed.  Hits of workers come first, then slots; both are powers of two.
 */

#define NGX_HTTP_TOKEN_CACHE_LINE  128

typedef struct {
    ngx_atomic_t                    evictions; /* changed under the lock */
    ngx_uint_t                      nhits;
    ngx_uint_t                      nslots;
    ngx_http_token_hits_t          *hits;
    ngx_http_token_slot_t          *slots;
#if (NGX_HTTP_TOKEN_COUNT_LOCKS)
    ngx_atomic_t                    locks;
#endif
} ngx_http_token_unlocked_t;


typedef struct ngx_http_token_copies_s  ngx_http_token_copies_t;

typedef struct {
    ngx_slab_pool_t                *shpool;
    ngx_http_token_unlocked_t      *unlocked;
    ngx_http_token_copies_t        *copies;      /* of this worker */
    ngx_cycle_t                    *cycle;
    ngx_uint_t                      keep_other;  /* for token_proxy_bearer */
    ngx_http_token_store_t         *store;       /* or NULL */
    ngx_uint_t                      store_off;   /* store=off */
} ngx_http_token_zone_t;


/* what a caller has to do, and the data for it */

typedef enum {
    NGX_HTTP_TOKEN_DO_SERVE = 0,
    NGX_HTTP_TOKEN_DO_FETCH,    /* the caller has the lease */
    NGX_HTTP_TOKEN_DO_WAIT,     /* another fetch has the lease */
    NGX_HTTP_TOKEN_DO_FAIL,
    NGX_HTTP_TOKEN_DO_BYPASS    /* the zone has no room */
} ngx_http_token_do_e;


typedef struct {
    ngx_http_token_do_e             todo;
    ngx_str_t                       value;       /* to serve: a body, or a */
                                                 /* header with a scheme */
    time_t                          expires_in;  /* its remaining seconds */
    ngx_uint_t                      renew;       /* to send, has the lease */
    uint64_t                        lease;       /* to fetch, or to renew */
    ngx_uint_t                      expired;     /* to fetch, not for the */
                                                 /* first time */
    ngx_msec_t                      recheck;     /* to wait, at most so long */
    ngx_uint_t                      elsewhere;   /* to wait, for another */
                                                 /* worker */
    ngx_uint_t                      outcome;     /* to fail */
    time_t                          retry_after; /* to fail, seconds */
    ngx_uint_t                      generation;
    ngx_uint_t                      serial;      /* of the token */
    ngx_str_t                      *scheme;      /* in: to send the token */
                                                 /* alone, behind it */
    ngx_uint_t                      bypass;      /* in: a valid token is to */
                                                 /* be renewed */
    ngx_uint_t                      passed;      /* in and out: the serial */
                                                 /* of that token, or 0 */

    /* to serve: what a copy of the value needs */

    ngx_uint_t                      changed;     /* generation of the slot */
    ngx_uint_t                      touch;       /* evictions until then */
    ngx_uint_t                      endpoint;
    ngx_http_token_time_t           expires;
    ngx_http_token_time_t           renew_at;
    ngx_http_token_time_t           lead;        /* of the wall clock */
    size_t                          number_pos;  /* of expires_in in it */
    size_t                          number_len;  /* 0 if none */
} ngx_http_token_lookup_t;


/* ngx_http_token_zone.c */

/* The init handler of the zone. */
ngx_int_t ngx_http_token_zone_init(ngx_shm_zone_t *shm_zone, void *data);


extern ngx_uint_t  ngx_http_token_has_zones;

/* when the configuration of this process was loaded: it tells which it is */
extern ngx_http_token_time_t  ngx_http_token_configured;

/*
 * A zone is read and changed between these two only.  It is emptied if a worker
 * died in between.  The returned context is valid until the zone is unlocked.
 */
ngx_http_token_shctx_t *ngx_http_token_zone_lock(ngx_http_token_zone_t *zone);
void ngx_http_token_zone_unlock(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh);

ngx_http_token_time_t ngx_http_token_now(void);

/* How far the wall clock is ahead of the other one. */
ngx_http_token_time_t ngx_http_token_lead(ngx_http_token_time_t now);

/*
 * How much time has passed by the wall clock alone since it had that lead: 0 if
 * it was set back, or forward by a few seconds.
 */
ngx_http_token_time_t ngx_http_token_missed(ngx_http_token_time_t lead,
    ngx_http_token_time_t now);

/* Of a clock that only goes forward, for short times. */
int64_t ngx_http_token_microseconds(void);
/* The slot of a digest. */
ngx_http_token_slot_t *ngx_http_token_zone_slot(ngx_http_token_zone_t *zone,
    u_char *digest);

/* Where this worker counts. */
ngx_http_token_hits_t *ngx_http_token_zone_hits(ngx_http_token_zone_t *zone);


/* ngx_http_token_parts.c */

/* Memory of an entry.  Returns NULL if the zone has no room. */
ngx_http_token_node_t *ngx_http_token_place_alloc(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh);
void ngx_http_token_place_free(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn);

/*
 * Memory of a token, whose parts are in memory when it is filled.  The first
 * one returns the number of parts and their sizes, and allocates nothing.
 */
ngx_uint_t ngx_http_token_parts_sizes(ngx_http_token_zone_t *zone, size_t size,
    size_t *sizes);
void ngx_http_token_parts_free(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored);

/* Copies a token into its parts, and out of them into one piece. */
void ngx_http_token_parts_write(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored, u_char **parts);
void ngx_http_token_parts_read(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored, u_char *p);


/* ngx_http_token_node.c */

ngx_http_token_node_t *ngx_http_token_node_find(ngx_http_token_shctx_t *sh,
    u_char *digest);

/*
 * Finds an entry or makes one.  Returns NULL only if the zone holds not even
 * that.
 */
ngx_http_token_node_t *ngx_http_token_node_get(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, u_char *digest, ngx_str_t *endpoint);

/*
 * Copies a token into an entry, and gives it its serial.  Returns NGX_OK, or
 * NGX_ERROR if the zone has no room for it.
 */
ngx_int_t ngx_http_token_node_store(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn,
    ngx_http_token_stored_t *stored);

/*
 * Makes the tokens of an entry older by what the clock has missed, so that they
 * stay so if the wall clock is set back.
 */
void ngx_http_token_node_age(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now);

/* Overwrites the tokens of an entry and frees them. */
void ngx_http_token_node_free_tokens(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn);

/*
 * Uses the token before the current one, if it is valid and the current one so
 * new that an API may not know it yet.  Returns 1 if so.
 */
ngx_uint_t ngx_http_token_node_use_before(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now);

/* Uses the newer token again, if there is one and it is valid. */
ngx_uint_t ngx_http_token_node_use_newer(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now);

/*
 * Whether the last fetch brought nothing, and is not repeated yet.  What an
 * earlier configuration has brought about is not counted.
 */
ngx_uint_t ngx_http_token_node_backoff(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now);


/* ngx_http_token_stored.c */

/*
 * Makes what is stored of a fetch's answer, for a lifetime in milliseconds
 * from start.  Returns it in the pool, or NULL.
 */
ngx_http_token_stored_t *ngx_http_token_stored_make(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_array_t *members,
    ngx_http_token_time_t start, int64_t lifetime);

/* Makes a token older by what the clock has missed.  Returns 1 if it has. */
ngx_uint_t ngx_http_token_stored_age(ngx_http_token_stored_t *stored,
    ngx_http_token_time_t now);

/*
 * They make the answer of a hit in r->pool, of a token in one piece, and return
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_stored_body(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup);
ngx_int_t ngx_http_token_stored_token(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup);
ngx_int_t ngx_http_token_stored_compose(ngx_http_request_t *r,
    ngx_array_t *fields, ngx_http_token_stored_t *stored,
    ngx_http_token_lookup_t *lookup);


/* ngx_http_token_stats.c */

/* The counts of the host of an endpoint's URL: an index in the context. */
ngx_uint_t ngx_http_token_stats_endpoint(ngx_http_token_shctx_t *sh,
    ngx_str_t *url);
void ngx_http_token_stats_lookup(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_lookup_t *lookup, ngx_uint_t waiting);
void ngx_http_token_stats_fetch(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_fetch_t *fetch);

/* Adds what workers have counted without the lock. */
void ngx_http_token_stats_add_hits(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh);

/* By outcome of a fetch. */
extern char  *ngx_http_token_outcome_names[];

/* The upper bounds of the buckets in milliseconds; the last one has none. */
extern ngx_msec_t  ngx_http_token_stats_bounds[];


/*
 * Sets what is known of the store.  Returns what was known before, if that was
 * not the same of an earlier configuration.  Where workers of a later one have
 * set it, nothing is changed, and the state itself is returned.
 */
ngx_uint_t ngx_http_token_stats_store_state(ngx_http_token_store_t *store,
    ngx_uint_t state);

/* Counts a command that has ended with NGX_OK or not, after so many usec. */
void ngx_http_token_stats_store(ngx_http_token_zone_t *zone, ngx_int_t rc,
    int64_t duration);

extern ngx_uint_t  ngx_http_token_stats_store_bounds[];


/* the store: see ngx_http_token_store.h */

#include "ngx_http_token_store.h"


/* ngx_http_token_cache_end.c */

/*
 * Ends a fetch.  Its token is stored, if it can be kept; if the fetch failed,
 * the endpoint is left alone for a while: longer each time.  What fails in
 * this worker, before the endpoint is called, is no failure of the endpoint,
 * nor is what fails when the lease has run out.  Sets waited if a request in
 * another worker may wait for it.  Returns NGX_OK, or NGX_DECLINED if the lease
 * has run out, and the result is of no use.
 */
ngx_int_t ngx_http_token_cache_end(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored, ngx_uint_t *waited);


/* ngx_http_token_cache.c */

/*
 * Looks a token up, for a caller or, with waiting, for one that has waited
 * since the given generation.  Takes the lease if the caller has to fetch.  The
 * answer is allocated in r->pool.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_cache_lookup(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);

/*
 * Removes a token that turned out to be of no use, if it is still the one with
 * that serial, but not again within min milliseconds; a new one gives way to
 * the one before it, if that is still valid.  Returns 1 if there is reason to
 * get another one; *dropped says what this call has done.
 */

#define NGX_HTTP_TOKEN_DROPPED      1
#define NGX_HTTP_TOKEN_USES_BEFORE  2

ngx_uint_t ngx_http_token_cache_drop(ngx_http_token_zone_t *zone,
    u_char *digest, ngx_uint_t serial, ngx_msec_t min, ngx_uint_t *dropped);

/*
 * Looks whether the token of a constant request has to be fetched, though no
 * caller is there: takes the lease if so, or sets it to 0.  Returns the time
 * after which to look again.
 */
ngx_msec_t ngx_http_token_cache_look_ahead(ngx_http_token_loc_conf_t *tlcf,
    uint64_t *lease);

/* The serial in the store of the last token from there, or 0. */
uint64_t ngx_http_token_cache_shared(ngx_http_token_zone_t *zone,
    u_char *digest);

/* Sets which of two secrets was good for the last token of an entry. */
void ngx_http_token_cache_secret(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_http_token_fetch_t *fetch);

/* Counts a fetch of a location with that cache which is not kept in it. */
void ngx_http_token_cache_count(ngx_http_token_zone_t *zone,
    ngx_http_token_fetch_t *fetch);

/*
 * Extends the lease of a fetch that goes on.  Returns NGX_OK, or NGX_DECLINED
 * if it has run out, and perhaps is another's: it is not revived.
 */
ngx_int_t ngx_http_token_cache_extend(ngx_http_token_zone_t *zone,
    u_char *digest, uint64_t lease);

/*
 * Whether it has to be said that an endpoint's tokens are not kept: for all
 * workers once in a while.
 */
ngx_uint_t ngx_http_token_cache_warn(ngx_http_token_zone_t *zone,
    ngx_http_token_fetch_t *fetch);


/* ngx_http_token_local.c */

/*
 * Looks for a copy of what this worker has served: for a token location or,
 * with a scheme, for a header, and the values that are not constant.  Returns
 * a result in r->pool, which is that of the request's context as well, or NULL
 * if all has to be looked up.
 */
ngx_http_token_result_t *ngx_http_token_local_get(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme, ngx_str_t *inputs);

/*
 * The same for a plain location.  The copy may be noted in a place of the
 * configuration, where it is found at once.
 */
ngx_http_token_result_t *ngx_http_token_local_get_plain(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme,
    ngx_http_token_copy_t **place);

/* Keeps a copy of what a lookup has brought, if there is reason to. */
void ngx_http_token_local_set(ngx_http_token_request_t *request,
    u_char *digest, ngx_http_token_lookup_t *lookup);

/* A cleanup: overwrites and frees the copies of a zone. */
void ngx_http_token_local_done(void *data);


/* ngx_http_token_wait.c */

typedef struct ngx_http_token_waiter_s  ngx_http_token_waiter_t;

/* looks for its result: NGX_OK if it is there, NGX_AGAIN or NGX_ERROR */

typedef ngx_int_t (*ngx_http_token_look_pt)(ngx_http_token_waiter_t *w);

typedef void (*ngx_http_token_resume_pt)(ngx_http_request_t *r,
    ngx_http_token_result_t *result);

/* a request that wants a token */

struct ngx_http_token_waiter_s {
    ngx_http_token_result_t         result;      /* the first member */

    ngx_queue_t                     queue;
    ngx_http_request_t             *request;
    ngx_http_token_ctx_t           *ctx;         /* of the request */
    ngx_http_token_request_t       *token_request;
    ngx_http_token_fetch_t         *fetch;       /* its own, without a cache */
    ngx_http_token_zone_t          *zone;
    u_char                         *digest;
    ngx_http_token_look_pt          look;
    ngx_http_token_resume_pt        resume;
    ngx_str_t                      *scheme;      /* for the token, or NULL */
    ngx_event_t                     event;       /* a timer, or posted */
    ngx_msec_t                      deadline;
    ngx_msec_t                      due;         /* when it looks again */
    ngx_uint_t                      generation;
    ngx_uint_t                      passed;      /* token that is renewed */

    unsigned                        bypass:1;    /* it wants a new token */
    unsigned                        waiting:1;
    unsigned                        queued:1;
    unsigned                        elsewhere:1; /* another worker fetches */
    unsigned                        served:1;
};

/*
 * Hands the result of a fetch to the requests of this worker that wait for it,
 * or has them look again if it is NULL.
 */
void ngx_http_token_wake_local(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_http_token_fetch_t *fetch);

/* Has the waiting requests of other workers look again. */
void ngx_http_token_notify_workers(void);

/*
 * Has a caller wait, for any fetch of its digest if it has one, and notices if
 * the client leaves.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_wait_start(ngx_http_token_waiter_t *w);

/*
 * The same, and looks again after so many milliseconds.  Returns NGX_AGAIN or
 * NGX_ERROR.
 */
ngx_int_t ngx_http_token_wait(ngx_http_token_waiter_t *w, ngx_msec_t recheck);

/* Hands it the result of a fetch; it is resumed from the event loop. */
void ngx_http_token_wake(ngx_http_token_waiter_t *w,
    ngx_http_token_fetch_t *fetch);

ngx_int_t ngx_http_token_wait_init_module(ngx_cycle_t *cycle);

ngx_int_t ngx_http_token_wait_init_process(ngx_cycle_t *cycle);


/* ngx_http_token_chain.c */

/* ngx_http_token_get(), which uses what is below it: so it is handed down */

typedef ngx_http_token_result_t *(*ngx_http_token_get_pt)(
    ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_str_t *scheme, ngx_http_token_resume_pt resume, ngx_int_t *rc);

/*
 * As ngx_http_token_fetch_start(), when the tokens of other locations are there
 * that the request needs.  Sets *start, if that is not NULL, to the time of the
 * call, if it has waited for them.
 */
void ngx_http_token_chain_start(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request, ngx_http_token_time_t *start,
    ngx_http_token_get_pt get);


/* ngx_http_token_cache_fetch.c */

/*
 * Starts a fetch that goes on if its caller leaves.  It ends the lease, and
 * wakes the requests that wait, also if it cannot be started.
 */
void ngx_http_token_cache_fetch(ngx_http_token_request_t *request,
    u_char *digest, uint64_t lease, ngx_log_t *log, ngx_http_token_get_pt get);


/* The same for a fetch that could not be made. */
void ngx_http_token_cache_fetch_failed(ngx_http_token_request_t *request,
    u_char *digest, uint64_t lease);


/* ngx_http_token_warm.c */

/* Draws when a process that starts fetches, for all workers the same. */
void ngx_http_token_warm_init_module(void);

/* Has the tokens of token_proxy_cache_warm fetched and renewed. */
ngx_int_t ngx_http_token_warm_init_process(ngx_cycle_t *cycle);


/* ngx_http_token_get.c */

/*
 * The same result as the next one if this worker has a copy of it, of a
 * location that is not plain, and NULL otherwise, with the values that are not
 * constant for the request that is to be made then.  Sets rc to NGX_OK, or to
 * NGX_ERROR if they cannot be evaluated.
 */
ngx_http_token_result_t *ngx_http_token_get_copy(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme, ngx_str_t *inputs,
    ngx_int_t *rc);

/*
 * Gets a token for r, from the cache or by a fetch: the answer of the token
 * location or, with a scheme, the value of a header.  The request has to live
 * as long as r.  Sets rc to NGX_OK if there is a result, to NGX_AGAIN if resume
 * will be called with it, or to NGX_ERROR.
 */
ngx_http_token_result_t *ngx_http_token_get(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *scheme,
    ngx_http_token_resume_pt resume, ngx_int_t *rc);


#endif /* _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_ */
