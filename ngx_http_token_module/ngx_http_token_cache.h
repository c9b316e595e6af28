
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token cache: what its rooms share.
 */


#ifndef _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_
#define _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_


#include "ngx_http_token_module.h"


/* milliseconds of a clock that only goes forward, and goes on in suspend */

typedef int64_t  ngx_http_token_time_t;


/*
 * A token in shared memory: a text that begins with the answer of the location
 * that fetched it, and the places of all members in it.
 */

typedef struct {
    uint32_t                        key;      /* offsets in the text */
    uint32_t                        key_len;
    uint32_t                        value;
    uint32_t                        value_len;
} ngx_http_token_span_t;


typedef struct {
    size_t                          size;     /* of all this */
    ngx_http_token_time_t           asked;    /* when it was asked for */
    ngx_http_token_time_t           expires;
    ngx_http_token_time_t           refresh;  /* ahead of its expiry */
    ngx_uint_t                      serial;   /* unlike any token's before */
    uint32_t                        fields;   /* whose answer comes first */
    uint32_t                        answer_len;
    uint32_t                        hole;     /* the value of expires_in */
    uint32_t                        hole_len; /* in the answer, 0 if none */
    uint32_t                        token;    /* decoded, as a header has it */
    uint32_t                        token_len; /* 0 if no header can have it */
    uint32_t                        nmembers;
    ngx_http_token_span_t           members[1];
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
    ngx_uint_t                      refreshes;
    ngx_uint_t                      outcomes[NGX_HTTP_TOKEN_OUTCOMES];
    ngx_uint_t                      buckets[NGX_HTTP_TOKEN_BUCKETS];
    uint64_t                        duration;  /* of all fetches, msec */
} ngx_http_token_endpoint_t;


/* an entry of the zone: one token request, whether it has a token or not */

typedef struct {
    ngx_rbtree_node_t               node;     /* the digest's first bytes */
    ngx_queue_t                     queue;    /* by last use */
    u_char                          digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_http_token_stored_t        *stored;   /* NULL if there is no token */
    ngx_http_token_time_t           asked;    /* the last one, here or gone */
    ngx_uint_t                      endpoint; /* whose counts are its */

    /* who fetches, and until when he is believed to be alive */

    ngx_http_token_time_t           lease_until;
    uint64_t                        lease;

    /* how the last fetches ended */

    ngx_http_token_time_t           retry_at;
    ngx_uint_t                      failures;
    ngx_uint_t                      failure;
    ngx_uint_t                      generation;
    ngx_http_token_time_t           dropped;   /* when a token was last */

    unsigned                        waited:1;  /* in another worker too */
    unsigned                        expired:1; /* had a token before */
} ngx_http_token_node_t;


typedef struct {
    ngx_rbtree_t                    rbtree;
    ngx_rbtree_node_t               sentinel;
    ngx_queue_t                     queue;
    ngx_uint_t                      generation;
    ngx_atomic_t                    changing;  /* not whole if found set */
    ngx_uint_t                      entries;
    ngx_uint_t                      evictions;

    /* the last one is for all that have no place of their own */

    ngx_uint_t                      nendpoints;
    ngx_http_token_endpoint_t       endpoints[NGX_HTTP_TOKEN_ENDPOINTS];
} ngx_http_token_shctx_t;


typedef struct {
    ngx_slab_pool_t                *shpool;
    ngx_cycle_t                    *cycle;
} ngx_http_token_zone_t;


/* what a caller has to do, and what with */

typedef enum {
    NGX_HTTP_TOKEN_DO_SEND = 0,
    NGX_HTTP_TOKEN_DO_FETCH,    /* he has the lease */
    NGX_HTTP_TOKEN_DO_WAIT,     /* somebody else fetches */
    NGX_HTTP_TOKEN_DO_FAIL,
    NGX_HTTP_TOKEN_DO_PASS      /* the zone has no room */
} ngx_http_token_do_e;


typedef struct {
    ngx_http_token_do_e             todo;
    ngx_str_t                       answer;      /* to send */
    time_t                          expires_in;  /* its remaining seconds */
    ngx_uint_t                      refresh;     /* to send, has the lease */
    uint64_t                        lease;       /* to fetch, or to refresh */
    ngx_uint_t                      expired;     /* to fetch, not for the */
                                                 /* first time */
    ngx_msec_t                      recheck;     /* to wait, at most so long */
    ngx_uint_t                      elsewhere;   /* to wait for another one */
    ngx_uint_t                      outcome;     /* to fail */
    time_t                          retry_after; /* to fail, seconds */
    ngx_uint_t                      generation;
    ngx_uint_t                      serial;      /* of the token */
    ngx_str_t                      *scheme;      /* in: to send the token */
                                                 /* alone, behind it */
} ngx_http_token_lookup_t;


/* a request with a token for an API */

struct ngx_http_token_bearer_s {
    ngx_http_token_request_t        request;
    ngx_http_token_got_t           *got;
    ngx_str_t                       token;     /* without its scheme */
    ngx_int_t                       phase_handler;

    ngx_http_token_bearer_t        *origin;    /* of a slice, or an update */

    /* at the head of the headers while the upstream request is made */

    ngx_table_elt_t                 header;
    ngx_list_part_t                 rest;      /* behind it */

    /* whom the module stands in front of */

    ngx_int_t                     (*create_request)(ngx_http_request_t *r);
    ngx_int_t                     (*process_header)(ngx_http_request_t *r);
    ngx_int_t                     (*reinit_request)(ngx_http_request_t *r);

    unsigned                        waiting:1;
    unsigned                        retried:1;
};


/* ngx_http_token_bearer.c */

/*
 * Removes the token of a request from the cache.  Returns 1 if there is reason
 * to get another one; *dropped is 1 once for a token, however many use it.
 */
ngx_uint_t ngx_http_token_bearer_drop(ngx_http_token_bearer_t *bearer,
    ngx_uint_t *dropped);


/* ngx_http_token_bearer_retry.c */

/*
 * Called with the header of an API's response.  A token that is refused is
 * dropped.  Returns 1 if the request is on its way to be sent once more, and
 * its upstream has ended.
 */
ngx_uint_t ngx_http_token_bearer_retry(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);


/* ngx_http_token_key.c */

/*
 * The identity of a token request, SHA-256 of all that makes it one: for
 * a caller.  Returns the digest in r->pool, or NULL.
 */
u_char *ngx_http_token_request_digest(ngx_http_request_t *r,
    ngx_http_token_request_t *request);


/* ngx_http_token_zone.c */

extern ngx_uint_t  ngx_http_token_has_zones;

/*
 * Every change of a zone stands between these two.  A zone whose last holder
 * died in between is emptied.  The returned context is valid until unlocked.
 */
ngx_http_token_shctx_t *ngx_http_token_zone_lock(ngx_http_token_zone_t *zone);
void ngx_http_token_zone_unlock(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh);

ngx_http_token_time_t ngx_http_token_now(void);


/* ngx_http_token_stored.c */

/*
 * Makes what is stored of a fetch's answer, for a lifetime in milliseconds
 * from start.  Returns it in the pool, or NULL.
 */
ngx_http_token_stored_t *ngx_http_token_stored_make(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_array_t *members,
    ngx_http_token_time_t start, int64_t lifetime);

/* They make the answer of a hit in r->pool, and return NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_stored_answer(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup);
ngx_int_t ngx_http_token_stored_token(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup);
ngx_int_t ngx_http_token_stored_compose(ngx_http_request_t *r,
    ngx_array_t *fields, ngx_http_token_stored_t *stored,
    ngx_http_token_lookup_t *lookup);


/* ngx_http_token_node.c: under the lock of the zone */

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


/* ngx_http_token_cache.c */

/*
 * Looks a token up, for a caller or, with waiting, for one who has waited
 * since the given generation.  The answer is allocated in r->pool.  Returns
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_cache_lookup(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, ngx_uint_t waiting,
    ngx_http_token_lookup_t *lookup);

/*
 * Ends a fetch.  Its token is stored, if it can be kept; if the fetch failed,
 * the endpoint is left alone for a while: longer each time.  What fails in
 * this worker, before the endpoint is called, is no failure of the endpoint.
 * Sets waited if there may be somebody in another worker who waits for it.
 * Returns NGX_OK, or NGX_DECLINED if another fetch has taken over, and what
 * this one has brought is of no use.
 */
ngx_int_t ngx_http_token_cache_end(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_http_token_fetch_t *fetch,
    ngx_http_token_stored_t *stored, ngx_uint_t *waited);

/*
 * Removes a token that turned out to be of no use, if it is still the one with
 * that serial, but not again within min milliseconds.  Returns 1 if there is
 * reason to get another one; *dropped says whether this call has removed it.
 */
ngx_uint_t ngx_http_token_cache_drop(ngx_http_token_zone_t *zone,
    u_char *digest, ngx_uint_t serial, ngx_msec_t min, ngx_uint_t *dropped);

/* Counts a fetch of a location with that cache which is not kept in it. */
void ngx_http_token_cache_count(ngx_http_token_zone_t *zone,
    ngx_http_token_fetch_t *fetch);

/* Says that the fetch is alive for another while. */
void ngx_http_token_cache_renew(ngx_http_token_zone_t *zone, u_char *digest,
    uint64_t lease, ngx_msec_t duration);


/* ngx_http_token_stats.c */

/* The counts of the host of an endpoint's URL: an index in the context. */
ngx_uint_t ngx_http_token_stats_endpoint(ngx_http_token_shctx_t *sh,
    ngx_str_t *url);
void ngx_http_token_stats_lookup(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_lookup_t *lookup, ngx_uint_t waiting);
void ngx_http_token_stats_fetch(ngx_http_token_endpoint_t *endpoint,
    ngx_http_token_fetch_t *fetch);

/* The upper bounds of the buckets in milliseconds; the last one has none. */
extern ngx_msec_t  ngx_http_token_stats_bounds[];


/* ngx_http_token_refresh.c */

/*
 * Starts a fetch that no caller's fate touches.  It ends the lease, and wakes
 * whoever waits, also if it cannot be started.
 */
void ngx_http_token_refresh(ngx_http_request_t *r,
    ngx_http_token_request_t *request, u_char *digest, uint64_t lease);

/* How long a lease holds without being renewed. */
ngx_msec_t ngx_http_token_lease_time(ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_wait.c */

typedef void (*ngx_http_token_resume_pt)(ngx_http_request_t *r,
    ngx_http_token_got_t *got);

/*
 * Gets a token from the cache for r: the answer of the token location or, with
 * a scheme, the value of a header.  Sets rc to NGX_OK if it is got, to
 * NGX_AGAIN if resume will be called, to NGX_DECLINED if the zone has no room
 * for the request, or to NGX_ERROR.
 */
ngx_http_token_got_t *ngx_http_token_get(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *scheme,
    ngx_http_token_resume_pt resume, ngx_int_t *rc);

/*
 * Hands the result of a fetch to those who wait for it in this worker, or has
 * them look again if it is NULL.
 */
void ngx_http_token_wake_here(ngx_http_token_zone_t *zone, u_char *digest,
    ngx_http_token_fetch_t *fetch);

/* Has the other workers look whether what theirs wait for is there. */
void ngx_http_token_wake_elsewhere(void);


#endif /* _NGX_HTTP_TOKEN_CACHE_H_INCLUDED_ */
