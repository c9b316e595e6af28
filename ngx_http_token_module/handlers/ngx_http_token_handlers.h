
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Requests of callers.
 */


#ifndef _NGX_HTTP_TOKEN_HANDLERS_H_INCLUDED_
#define _NGX_HTTP_TOKEN_HANDLERS_H_INCLUDED_


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_uint_t                      tokens;    /* that are valid */
    ngx_uint_t                      backoffs;  /* entries in backoff */
    ngx_uint_t                      fetching;  /* leases that are held */
    ngx_uint_t                      secrets[2]; /* tokens, by which of two */
    ngx_http_token_time_t           earliest;  /* expiry, 0 if none */
} ngx_http_token_state_t;


/* a copy of a zone, taken under its lock and written without it */

typedef struct {
    ngx_str_t                       name;
    size_t                          size;
    size_t                          used;
    ngx_http_token_time_t           now;
#if (NGX_HTTP_TOKEN_COUNT_LOCKS)
    ngx_uint_t                      locks;
#endif
    ngx_uint_t                      store;     /* the zone has one */
    ngx_uint_t                      evictions;
    ngx_http_token_shctx_t          sh;
    ngx_http_token_state_t          states[NGX_HTTP_TOKEN_ENDPOINTS];
} ngx_http_token_view_t;


/* a request with a token for an API */

struct ngx_http_token_bearer_s {
    ngx_http_token_loc_conf_t      *location;  /* of the token */
    ngx_http_token_request_t       *request;   /* NULL if it was not needed */
    ngx_http_token_result_t        *result;
    ngx_str_t                       token;     /* without its scheme */
    ngx_int_t                       phase_handler;

    ngx_http_token_bearer_t        *origin;    /* of a slice, or an update */

    /* put before the request's headers while the upstream request is made */

    ngx_table_elt_t                 header;
    ngx_list_part_t                 rest;      /* behind it */

    /* the upstream module's callbacks, which the module's own call */

    ngx_int_t                     (*create_request)(ngx_http_request_t *r);
    ngx_int_t                     (*process_header)(ngx_http_request_t *r);
    ngx_int_t                     (*reinit_request)(ngx_http_request_t *r);

    unsigned                        retried:1;
};


/* ngx_http_token_handler.c */

/* the body of a refresh grant, in bytes */

#define NGX_HTTP_TOKEN_MAX_FORM  8192

ngx_int_t ngx_http_token_handler(ngx_http_request_t *r);


/* ngx_http_token_answer.c */

extern ngx_str_t  ngx_http_token_json_type;

/* Answers with a body of that type.  Returns what a content handler returns. */
ngx_int_t ngx_http_token_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body);

/*
 * Makes the response one of a token location: with the module's own headers,
 * and without the filters that would change its body.
 */
void ngx_http_token_own_response(ngx_http_request_t *r,
    ngx_http_token_ctx_t *ctx);

/* The same with a token, of a token location. */
ngx_int_t ngx_http_token_send_token(ngx_http_request_t *r,
    ngx_http_token_ctx_t *ctx, ngx_http_token_result_t *result);

/* The same with a body of JSON, in a token location. */
ngx_int_t ngx_http_token_send_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);

/* Returns what a content handler returns. */
ngx_int_t ngx_http_token_send_failure(ngx_http_request_t *r,
    ngx_uint_t outcome, time_t retry_after);

/*
 * Answers with an error of RFC 6749 5.2.  Returns what a content handler
 * returns.
 */
ngx_int_t ngx_http_token_send_error(ngx_http_request_t *r, ngx_uint_t status,
    char *error, char *description);

/*
 * Reads and drops the rest of the caller's body.  Called just before an answer
 * is sent, as nginx does it.  Takes the status of the answer; returns NGX_OK,
 * or a status that is sent instead.
 */
ngx_int_t ngx_http_token_discard_body(ngx_http_request_t *r,
    ngx_uint_t status);

/* The same where nginx makes an error page, which the body does not reach. */
void ngx_http_token_remove_body(ngx_http_request_t *r);

/*
 * As ngx_http_finalize_request() does, for what a content handler of the
 * module would have returned.
 */
void ngx_http_token_finalize(ngx_http_request_t *r, ngx_int_t rc);

/* Header filter: what belongs to every response of the module. */
ngx_int_t ngx_http_token_header_filter(ngx_http_request_t *r);


/* ngx_http_token_cors.c */

/*
 * Preaccess phase, for main requests of a token location: preflights, and
 * origins that are not allowed.
 */
ngx_int_t ngx_http_token_cors_handler(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);

/* Header filter, for every response of a token location. */
ngx_int_t ngx_http_token_cors_header_filter(ngx_http_request_t *r);

/*
 * Notes that a request of the token location leaves it for an error page.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_cors_leave(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_basic.c */

/* SHA-256.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_basic_digest(ngx_str_t *text, u_char *digest);

/* Access phase. */
ngx_int_t ngx_http_token_basic_handler(ngx_http_request_t *r);

/* Filters that make an answer in JSON of the 401 that follows. */
void ngx_http_token_basic_header_filter(ngx_http_request_t *r);
ngx_int_t ngx_http_token_basic_body_filter(ngx_http_request_t *r,
    ngx_chain_t **in);


/* ngx_http_token_bearer.c */

/* Precontent phase, for a location with token_proxy_bearer: gets the token. */
ngx_int_t ngx_http_token_bearer_handler(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);

/* The URL of the token's endpoint, for the log. */
ngx_str_t ngx_http_token_bearer_endpoint(ngx_http_request_t *r,
    ngx_http_token_bearer_t *bearer);

/*
 * Removes the token of a request from the cache.  Returns 1 if there is reason
 * to get another one; *dropped says what was done, as that of
 * ngx_http_token_cache_drop(): once for a token, however many use it.
 */
ngx_uint_t ngx_http_token_bearer_drop(ngx_http_token_bearer_t *bearer,
    ngx_uint_t *dropped);

/*
 * A subrequest for a slice, or to update a cache in the background, starts at
 * the content phase, and takes the token of its parent, if that has one.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_bearer_inherit(ngx_http_request_t *r,
    ngx_http_token_ctx_t *ctx);


/* ngx_http_token_bearer_upstream.c */

/* Content handler. */
ngx_int_t ngx_http_token_bearer_content_handler(ngx_http_request_t *r);


/* ngx_http_token_status.c */

char *ngx_http_token_set_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_token_status_handler(ngx_http_request_t *r);

/* ngx_http_token_metrics.c */

u_char *ngx_http_token_status_text(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n);

/* Writes a name that may come from a URL, without quotes and such. */
u_char *ngx_http_token_status_name(u_char *p, u_char *last, u_char *name,
    size_t len);


/* ngx_http_token_variables.c */

ngx_int_t ngx_http_token_add_variables(ngx_conf_t *cf);

/* evaluated when a request of the token location leaves for an error page */

#define NGX_HTTP_TOKEN_CORS_VARIABLE  "token_proxy_internal_cors"


#endif /* _NGX_HTTP_TOKEN_HANDLERS_H_INCLUDED_ */
