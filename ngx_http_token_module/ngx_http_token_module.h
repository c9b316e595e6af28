
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The types that the rooms of the module share.  Rooms call downwards only:
 * module -> handler -> fetch, cors, basic -> json, secret.
 */


#ifndef _NGX_HTTP_TOKEN_MODULE_H_INCLUDED_
#define _NGX_HTTP_TOKEN_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* how the client authenticates itself to the endpoint, RFC 6749 2.3 */

#define NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC  0
#define NGX_HTTP_TOKEN_CLIENT_SECRET_POST   1
#define NGX_HTTP_TOKEN_AUTH_NONE            2
#define NGX_HTTP_TOKEN_CLIENT_SECRET_JWT    3
#define NGX_HTTP_TOKEN_PRIVATE_KEY_JWT      4


/* SHA-256 */

#define NGX_HTTP_TOKEN_DIGEST_LEN  32


/* VALUE: a literal, env:NAME, file:PATH, or a string with variables */

typedef struct {
    ngx_str_t                       text;     /* the value, if constant */
    ngx_http_complex_value_t       *complex;  /* how to evaluate it, if not */
    ngx_uint_t                      is_file;  /* what it evaluates to: a path */
    u_char                         *file;     /* where it was configured */
    ngx_uint_t                      line;
} ngx_http_token_value_t;


typedef struct {
    ngx_str_t                       name;
    ngx_http_token_value_t          value;
} ngx_http_token_param_t;


typedef struct ngx_http_token_loc_conf_s  ngx_http_token_loc_conf_t;
typedef struct ngx_http_token_alg_s       ngx_http_token_alg_t;
typedef struct ngx_http_token_key_s       ngx_http_token_key_t;


#include "ngx_http_token_front.h"


/*
 * A token request (RFC 6749 4.4.2), evaluated and encoded: without the client's
 * assertion, which is made when the request is sent.
 */

typedef struct {
    ngx_http_token_loc_conf_t      *tlcf;           /* of its location */
    ngx_str_t                       endpoint;       /* URL */
    ngx_str_t                       authorization;  /* "Basic ...", or empty */
    ngx_str_t                       body;           /* form-encoded */
    ngx_str_t                       client_id;
    ngx_str_t                       secret;         /* never to be logged */
    ngx_str_t                       audience;       /* of the assertion */
} ngx_http_token_request_t;


/* a member of the endpoint's answer; slices of the answer, but for the name */

typedef struct {
    ngx_str_t                       name;     /* decoded */
    ngx_str_t                       key;      /* as it was sent, with quotes */
    ngx_str_t                       value;    /* as it was sent */
    ngx_str_t                       string;   /* decoded, if it is a string */
    ngx_uint_t                      is_string;
} ngx_http_token_member_t;


/* how a call of the endpoint ends, and with it what a caller gets */

#define NGX_HTTP_TOKEN_OK           0
#define NGX_HTTP_TOKEN_INTERNAL     1  /* no memory, no connections */
#define NGX_HTTP_TOKEN_UNREACHABLE  2
#define NGX_HTTP_TOKEN_TIMEOUT      3
#define NGX_HTTP_TOKEN_INCOMPLETE   4  /* cut off, or too large */
#define NGX_HTTP_TOKEN_INVALID      5  /* not what RFC 6749 5.1 says */
#define NGX_HTTP_TOKEN_REFUSED      6  /* 4xx */
#define NGX_HTTP_TOKEN_BUSY         7  /* 429, 503 */
#define NGX_HTTP_TOKEN_BROKEN       8  /* other 5xx */
#define NGX_HTTP_TOKEN_BAD_GRANT    9  /* the caller's refresh token */
#define NGX_HTTP_TOKEN_BACKOFF      10 /* not called, after a failure */


/* a token, or why there is none, from the cache or by a call */

typedef struct {
    ngx_uint_t                      outcome;
    ngx_str_t                       answer;
    time_t                          expires_in;      /* -1 if not known */
    time_t                          retry_after;
    ngx_uint_t                      cache_status;
    ngx_uint_t                      upstream_status;
    ngx_msec_t                      upstream_time;
    ngx_uint_t                      fetched;         /* the two above count */
    ngx_uint_t                      serial;          /* of the cached token */
    u_char                         *digest;          /* NULL if not cached */
} ngx_http_token_got_t;


/* one call of the token endpoint, from request to result */

typedef struct {
    ngx_http_token_request_t       *request;
    ngx_http_token_request_t       *sent;     /* with the client's assertion */
    ngx_uint_t                      refresh_grant; /* of the caller */
    ngx_http_request_t             *subrequest;
    ngx_int_t                       rc;
    ngx_uint_t                      finished;

    /* the result */

    ngx_uint_t                      outcome;
    ngx_array_t                    *members;         /* of the answer, if OK */
    time_t                          retry_after;     /* seconds, 0 if none */
    ngx_uint_t                      upstream_status; /* 0 if none came */
    ngx_msec_t                      upstream_time;
    ngx_uint_t                      serial;          /* if it is cached */

    ngx_http_token_got_t            got;             /* if it is not */
} ngx_http_token_fetch_t;


struct ngx_http_token_loc_conf_s {
    ngx_flag_t                      enable;
    u_char                         *file;     /* where token_proxy stands */
    ngx_uint_t                      line;

    ngx_http_complex_value_t       *endpoint;
    ngx_http_upstream_srv_conf_t   *upstream; /* NULL if it has variables */

    ngx_http_token_value_t         *client_id;
    ngx_http_token_value_t         *client_secret;
    ngx_uint_t                      auth_method;
    ngx_uint_t                      auth_form;      /* encoding=form */
    ngx_str_t                       auth_alg;       /* alg= */
    ngx_http_token_key_t           *private_key;
    ngx_str_t                       key_id;
    ngx_http_complex_value_t       *audience;       /* the endpoint if NULL */
    ngx_str_t                       grant_type;
    ngx_array_t                    *params;   /* ngx_http_token_param_t */
    time_t                          file_valid;     /* with variables */
    ngx_flag_t                      refresh_grant;

    ngx_array_t                    *fields;   /* ngx_str_t, empty for "*" */
    ngx_uint_t                      methods;  /* NGX_HTTP_GET, NGX_HTTP_POST */
    size_t                          max_response_size;

    ngx_flag_t                      ssl_verify;
    ngx_str_t                       ssl_trusted_certificate;

    ngx_http_token_cors_conf_t      cors;
    ngx_http_token_basic_conf_t     basic;

    ngx_shm_zone_t                 *cache;    /* NULL for "off" */
    u_char                         *cache_file; /* where it stands */
    ngx_uint_t                      cache_line;
    ngx_http_complex_value_t       *cache_key;
    time_t                          cache_default_ttl;
    ngx_msec_t                      refresh_before;
    ngx_uint_t                      refresh_percent;  /* if not 0 */
    ngx_msec_t                      lock_timeout;
    ngx_msec_t                      backoff_min;
    ngx_msec_t                      backoff_max;

    ngx_str_t                       bearer;   /* a token location's name */
    u_char                         *bearer_file;
    ngx_uint_t                      bearer_line;
    ngx_uint_t                      bearer_own;     /* it stands here */
    ngx_str_t                       bearer_header;
    ngx_str_t                       bearer_scheme; /* with its space, if any */
    ngx_array_t                    *bearer_retry;  /* ngx_uint_t, or NULL */

    /* made when the configuration has been read */

    ngx_http_token_loc_conf_t      *bearer_location;
    ngx_http_token_loc_conf_t      *bearer_outer;     /* of an "if" */
    u_char                         *bearer_lowcase;
    ngx_http_handler_pt             bearer_handler;   /* that stood there */
    ngx_int_t                       bearer_variable;  /* $http_ and its name */

    ngx_http_token_alg_t           *alg;      /* NULL if nothing is signed */
    ngx_str_t                       identity; /* of keys and certificates */
    ngx_http_token_request_t        request;  /* what of it is constant */
    ngx_uint_t                      constant; /* all of it is */
    u_char                         *digest;   /* of it, if all of it is */
    uint32_t                        fields_hash;
    ngx_str_t                       allow;
    ngx_array_t                    *error_pages;  /* of the location itself */
    ngx_array_t                    *level_error_pages;  /* and inherited ones */
    ngx_http_handler_pt             proxy_handler;
    void                          **loc_conf;
    void                          **answer_conf;
    void                          **fetch_conf;
};


/* the locations that are to be found by name when all have been read */

typedef struct {
    ngx_http_core_srv_conf_t       *server;
    ngx_http_core_loc_conf_t       *location;
    ngx_http_token_loc_conf_t      *tlcf;
} ngx_http_token_place_t;


typedef struct {
    ngx_array_t                     places;   /* ngx_http_token_place_t */
    ngx_array_t                     zones;    /* ngx_shm_zone_t * */
} ngx_http_token_main_conf_t;


/* $token_proxy_cache_status */

#define NGX_HTTP_TOKEN_CACHE_NONE    0
#define NGX_HTTP_TOKEN_CACHE_BYPASS  1
#define NGX_HTTP_TOKEN_CACHE_ERROR   2
#define NGX_HTTP_TOKEN_CACHE_HIT     3
#define NGX_HTTP_TOKEN_CACHE_MISS    4
#define NGX_HTTP_TOKEN_CACHE_WAIT    5
#define NGX_HTTP_TOKEN_CACHE_EXPIRED 6


typedef struct ngx_http_token_bearer_s   ngx_http_token_bearer_t;
typedef struct ngx_http_token_gateway_s  ngx_http_token_gateway_t;


typedef struct {
    ngx_http_token_fetch_t         *fetch;
    ngx_http_token_bearer_t        *bearer;

    ngx_uint_t                      origin_verdict;
    ngx_str_t                       origin;          /* as it was sent */
    ngx_table_elt_t                *challenge;       /* of a Basic check that
                                                        has failed */
    ngx_http_token_got_t           *got;             /* for the variables */

    /* set in the subrequest alone, where the proxy module asks for it */
    ngx_http_token_request_t       *request;
    ngx_int_t                     (*process_header)(ngx_http_request_t *r);
    ngx_int_t                     (*reinit_request)(ngx_http_request_t *r);

    unsigned                        answered:1;
    unsigned                        preflight:1;
    unsigned                        replace_body:1;
} ngx_http_token_ctx_t;


/* ngx_http_token_bearer.c */

ngx_int_t ngx_http_token_bearer_handler(ngx_http_request_t *r);

/*
 * The access token of an answer that has one; empty if it cannot stand in a
 * header.
 */
ngx_str_t ngx_http_token_bearer_token(ngx_array_t *members);

/*
 * Makes the value of a header, a scheme and a token, in the pool; empty if the
 * token is.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_bearer_value(ngx_pool_t *pool, ngx_str_t *scheme,
    ngx_str_t *token, ngx_str_t *value);

ngx_int_t ngx_http_token_access_token_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* ngx_http_token_bearer_header.c */

ngx_int_t ngx_http_token_bearer_content_handler(ngx_http_request_t *r);


/* ngx_http_token_secret.c */

/*
 * Reads a VALUE argument of the directive that is being parsed.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after an EMERG message without the value.
 */
char *ngx_http_token_value(ngx_conf_t *cf, ngx_str_t *arg,
    ngx_http_token_value_t *value);

/*
 * Reads a file that the directive that is being parsed names; one trailing
 * newline is dropped.  Returns as ngx_http_token_value() does.
 */
char *ngx_http_token_value_file(ngx_conf_t *cf, ngx_str_t *path,
    ngx_str_t *text);

/*
 * At a binary upgrade the master writes its environment to a debug log: where
 * secrets are in it, the master's log is told to be silent, and a worker's is
 * as it was configured.
 */
void ngx_http_token_mute_environment(ngx_cycle_t *cycle);
void ngx_http_token_unmute_environment(ngx_cycle_t *cycle);

/*
 * Checks a client id, a secret or a token: RFC 6749 appendix A.1, A.2 and A.12,
 * not empty.  Returns NULL, or what is wrong in words.
 */
char *ngx_http_token_check_credential(ngx_str_t *text);

/*
 * Encodes as application/x-www-form-urlencoded (RFC 6749 appendix B).
 * Returns the end of what was written, or with dst == NULL the length.
 */
uintptr_t ngx_http_token_form_encode(u_char *dst, ngx_str_t *src);

/* The reverse; dst has room for src.  Returns the end of what was written. */
u_char *ngx_http_token_form_decode(u_char *dst, ngx_str_t *src);

/*
 * Makes the value of an Authorization header, RFC 6749 2.3.1 and RFC 7617;
 * with form both are form-encoded first.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_basic_value(ngx_pool_t *pool, ngx_str_t *id,
    ngx_str_t *secret, ngx_uint_t form, ngx_str_t *value);


/* ngx_http_token_file.c */

#define NGX_HTTP_TOKEN_MAX_FILE_SIZE  65536

/*
 * Reads a file whose name depends on variables, unless it was read within so
 * many seconds.  Returns NGX_OK, or NGX_ERROR after an error message.
 */
ngx_int_t ngx_http_token_file(ngx_http_request_t *r, ngx_str_t *path,
    time_t valid, ngx_str_t *text);

/* overwrites what was read, when the process exits */
void ngx_http_token_files_done(void);


/* ngx_http_token_json.c */

/*
 * Reads a JSON object (RFC 8259) into its members, in order; of two with one
 * name the last counts.  Returns NGX_OK, NGX_DECLINED if it is none, or
 * NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_token_json_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t **members);

/*
 * The lifetime in milliseconds, of expires_in as a number or a string with a
 * number: at most ten years, 0 if it is not positive, -1 if there is none.
 */
int64_t ngx_http_token_json_lifetime(ngx_array_t *members);

ngx_http_token_member_t *ngx_http_token_json_find(ngx_array_t *members,
    char *name);

/*
 * Writes the object of the named fields in their order (all members if there
 * are no names).  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_json_subset(ngx_pool_t *pool, ngx_array_t *members,
    ngx_array_t *fields, ngx_str_t *text);


/* ngx_http_token_location.c */

/*
 * Makes the location configurations in which token requests and answers run.
 * Called when the location has been merged.
 */
char *ngx_http_token_init_location(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

ngx_int_t ngx_http_token_add_endpoint_variables(ngx_conf_t *cf);


/* ngx_http_token_proxy.c */

/*
 * Both prepare the proxy module's configuration of a token request, before it
 * is merged with prev, the token location's.
 */
char *ngx_http_token_set_headers(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf, void *prev);
char *ngx_http_token_set_ssl(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    void *conf, void *prev);

/* Where a directive keeps its value in a configuration of its module. */
void *ngx_http_token_proxy_field(void *conf, char *name);
void *ngx_http_token_directive_field(ngx_module_t *module, void *conf,
    char *name);

/*
 * As if "name value;" stood where that configuration is from.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after a message.
 */
char *ngx_http_token_set_directive(ngx_conf_t *cf, ngx_module_t *module,
    void *conf, char *name, char *value);


/* ngx_http_token_request.c */

/*
 * Prepares what of the token request is constant.  Called when the location
 * has been merged.
 */
char *ngx_http_token_init_request(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/*
 * Evaluates the request of a token location for a caller.  Returns NGX_OK, or
 * NGX_ERROR after an error message.
 */
ngx_int_t ngx_http_token_evaluate(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_request_t *request);

/*
 * Makes the body of a request out of its parameters, the grant type first, and
 * what of the client belongs there.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_form(ngx_pool_t *pool,
    ngx_http_token_request_t *request, ngx_keyval_t *params,
    ngx_uint_t nparams);

ngx_uint_t ngx_http_token_uses_secret(ngx_http_token_loc_conf_t *tlcf);

/* A URL as a log shows it: a query may hold what nobody shall read there. */
ngx_str_t ngx_http_token_shown(ngx_str_t *url);

/* Returns the level that the log has to get back. */
ngx_uint_t ngx_http_token_mute(ngx_log_t *log);


/* ngx_http_token_assertion.c */

/*
 * The request as it is sent, in r->pool: with an assertion of its own if the
 * client authenticates itself by one, or else the request itself.  Returns
 * NULL after an error message.
 */
ngx_http_token_request_t *ngx_http_token_assert(ngx_http_request_t *r,
    ngx_http_token_request_t *request);


/* ngx_http_token_said.c */

/*
 * What a member of an error answer to this request says, as far as it may
 * stand in a log; empty if there is none.
 */
ngx_str_t ngx_http_token_said(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_array_t *members, char *name);


/* ngx_http_token_fetch.c */

/*
 * Starts a call of the endpoint as a subrequest of r, whose
 * write_event_handler is run when it has finished.  Returns NGX_OK,
 * NGX_DECLINED if nothing was started, or NGX_ERROR.
 */
ngx_int_t ngx_http_token_fetch(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);


/* ngx_http_token_result.c */

/* Turns a finished call into its result, and logs why if it failed. */
void ngx_http_token_fetch_result(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);


/* ngx_http_token_wait.c: news between workers */

ngx_int_t ngx_http_token_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_token_init_process(ngx_cycle_t *cycle);


/* ngx_http_token_grant.c */

void ngx_http_token_init_grant(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/*
 * Takes a request that may be a refresh grant of the caller.  Returns what
 * a content handler returns, or NGX_DECLINED if it cannot be one.
 */
ngx_int_t ngx_http_token_grant(ngx_http_request_t *r);


/* ngx_http_token_handler.c */

ngx_int_t ngx_http_token_handler(ngx_http_request_t *r);

/* Both answer a caller, and return what a content handler returns. */
ngx_int_t ngx_http_token_answer(ngx_http_request_t *r);

/* Without a cache: the call is the caller's, and ends with him. */
ngx_int_t ngx_http_token_pass(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_uint_t refresh_grant);

/*
 * Turns the finished fetch of r's own into what was got.  Returns NULL if it
 * has not finished.
 */
ngx_http_token_got_t *ngx_http_token_fetch_got(ngx_http_request_t *r,
    ngx_str_t *scheme);

/*
 * Makes what a token location answers or, with a scheme, the value of a header.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_answer_of(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_array_t *members, ngx_str_t *scheme,
    ngx_str_t *answer);

/* Returns what a content handler returns. */
ngx_int_t ngx_http_token_send_failure(ngx_http_request_t *r,
    ngx_uint_t outcome, time_t retry_after);

/* Header filter: what belongs to every response of the module. */
ngx_int_t ngx_http_token_header_filter(ngx_http_request_t *r);

/*
 * Answers with an error of RFC 6749 5.2.  Returns what a content handler
 * returns.
 */
ngx_int_t ngx_http_token_send_error(ngx_http_request_t *r, ngx_uint_t status,
    char *error, char *description);

ngx_table_elt_t *ngx_http_token_add_header(ngx_http_request_t *r, char *name,
    ngx_str_t *value);

/* The first header with that name in any case, or NULL. */
ngx_table_elt_t *ngx_http_token_find_header(ngx_list_t *list, char *name);

ngx_http_token_ctx_t *ngx_http_token_ctx(ngx_http_request_t *r);


/* ngx_http_token_variables.c */

ngx_int_t ngx_http_token_add_variables(ngx_conf_t *cf);


extern ngx_module_t  ngx_http_token_module;
extern ngx_module_t  ngx_http_proxy_module;


#endif /* _NGX_HTTP_TOKEN_MODULE_H_INCLUDED_ */
