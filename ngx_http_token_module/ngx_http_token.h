
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The types that the layers of the module share.
 */


#ifndef _NGX_HTTP_TOKEN_H_INCLUDED_
#define _NGX_HTTP_TOKEN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* the one place: t/release.t compares the changelogs with it */

#define NGX_HTTP_TOKEN_VERSION  "0.1.0"


/* how the client authenticates itself to the endpoint, RFC 6749 2.3 */

#define NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC  0
#define NGX_HTTP_TOKEN_CLIENT_SECRET_POST   1
#define NGX_HTTP_TOKEN_AUTH_NONE            2
#define NGX_HTTP_TOKEN_CLIENT_SECRET_JWT    3
#define NGX_HTTP_TOKEN_PRIVATE_KEY_JWT      4
#define NGX_HTTP_TOKEN_CLIENT_ASSERTION     5


/* RFC 7523 2.2 */

#define NGX_HTTP_TOKEN_JWT_ASSERTION                                          \
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


/* RFC 7523 2.1 */

#define NGX_HTTP_TOKEN_JWT_BEARER                                             \
    "urn:ietf:params:oauth:grant-type:jwt-bearer"


/* which of two secrets */

#define NGX_HTTP_TOKEN_FIRST_SECRET   1
#define NGX_HTTP_TOKEN_SECOND_SECRET  2


/* in what form the parameters of a token request are sent */

#define NGX_HTTP_TOKEN_FORMAT_FORM   0
#define NGX_HTTP_TOKEN_FORMAT_JSON   1
#define NGX_HTTP_TOKEN_FORMAT_QUERY  2


/* SHA-256 */

#define NGX_HTTP_TOKEN_DIGEST_LEN  32


/* a place in a configuration file */

typedef struct {
    u_char                         *file;
    ngx_uint_t                      line;
} ngx_http_token_pos_t;


/*
 * VALUE: env:NAME, file:PATH, literal:TEXT, token:/location, or a string, with
 * variables
 */

typedef struct ngx_http_token_watch_s  ngx_http_token_watch_t;

typedef struct {
    ngx_str_t                       text;     /* the value, if constant */
    ngx_http_token_watch_t         *file;     /* whose text it was, or NULL */
    ngx_http_complex_value_t       *complex;  /* how to evaluate it, if not */
    ngx_uint_t                      is_file;  /* what it evaluates to: a path */
    ngx_uint_t                      is_token; /* the text is "token:" and the
                                                 name of a token location */
    ngx_http_token_pos_t            pos;
} ngx_http_token_value_t;


typedef struct {
    ngx_str_t                       name;
    ngx_http_token_value_t          value;
} ngx_http_token_param_t;


typedef struct ngx_http_token_loc_conf_s  ngx_http_token_loc_conf_t;
typedef struct ngx_http_token_alg_s       ngx_http_token_alg_t;
typedef struct ngx_http_token_key_s       ngx_http_token_key_t;
typedef struct ngx_http_token_cert_s      ngx_http_token_cert_t;
typedef struct ngx_http_token_copy_s      ngx_http_token_copy_t;
typedef struct ngx_http_token_store_s     ngx_http_token_store_t;


/* an origin, RFC 6454, in its normal form */

typedef struct ngx_http_token_origin_s  ngx_http_token_origin_t;

struct ngx_http_token_origin_s {
    ngx_str_t                       name;
    uint32_t                        hash;
    ngx_http_token_origin_t        *next;     /* in its bucket */
};


typedef struct {
    ngx_array_t                     list;     /* ngx_http_token_origin_t */
    ngx_http_token_origin_t       **buckets;  /* a power of two of them */
    uint32_t                        mask;
#if (NGX_PCRE)
    ngx_array_t                     regexes;  /* ngx_regex_elt_t */
#endif
    ngx_uint_t                      any;      /* "*" */
} ngx_http_token_origins_t;


typedef struct {
    ngx_http_token_origins_t       *origins;  /* NULL if off */
    ngx_http_complex_value_t       *self;     /* the location's own origin */
    ngx_array_t                    *methods;  /* ngx_str_t */
    ngx_array_t                    *headers;  /* ngx_str_t, empty for "*" */
    ngx_array_t                    *expose_headers;  /* ngx_str_t */
    ngx_flag_t                      credentials;
    time_t                          max_age;

    /* made when the configuration has been read: values of headers */

    ngx_str_t                       allow_methods;
    ngx_str_t                       allow_headers;
    ngx_str_t                       expose;
    ngx_str_t                       age;
} ngx_http_token_cors_conf_t;


/*
 * A user of the Basic check.  Digests are compared: they have one length, and
 * the time of a comparison tells nothing of the password.
 */

typedef struct {
    ngx_str_t                       name;
    u_char                          name_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    u_char                          password_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_http_token_watch_t         *file;      /* of the password, or NULL */
    ngx_http_complex_value_t       *password;  /* if it has variables */
} ngx_http_token_user_t;


typedef struct {
    ngx_str_t                       realm;    /* NULL if not set */
    ngx_array_t                    *users;    /* ngx_http_token_user_t */
    ngx_uint_t                      off;
    ngx_uint_t                      set;      /* at this very level */
    ngx_str_t                       challenge;  /* empty if off */
} ngx_http_token_basic_conf_t;


typedef struct {
    ngx_http_token_value_t         *client_id;
    ngx_http_token_value_t         *client_secret;
    ngx_http_token_value_t         *second_secret;  /* or NULL */
    ngx_http_token_value_t         *assertion;  /* that another has made */
    ngx_str_t                       assertion_type;
    ngx_uint_t                      method;
    ngx_uint_t                      form;     /* encoding=form */
    ngx_uint_t                      encoding; /* encoding= was written */
    ngx_str_t                       alg_name; /* alg= */
    ngx_http_token_key_t           *private_key;
    ngx_http_token_cert_t          *certificate;
    ngx_str_t                       key_id;
    ngx_http_complex_value_t       *audience; /* the endpoint if NULL */

    /* made when the configuration has been read */

    ngx_http_token_alg_t           *alg;      /* of the client's assertion */
    ngx_http_token_alg_t           *grant_alg;  /* of that of a grant */
    ngx_str_t                       identity; /* of keys and certificates */

    /* which of two secrets was good for this worker's last token */

    ngx_uint_t                      secret;
} ngx_http_token_auth_conf_t;


typedef struct {
    ngx_shm_zone_t                 *zone;     /* NULL for "off" */
    ngx_uint_t                      off;      /* "off" was written */
    ngx_http_token_pos_t            pos;      /* of token_proxy_cache */
    ngx_http_complex_value_t       *key;
    ngx_array_t                    *bypass;   /* predicates, or NULL */
    ngx_http_token_pos_t            bypass_pos;
    time_t                          default_ttl;
    time_t                          max_ttl;  /* 0 for none */
    ngx_msec_t                      refresh_before;
    ngx_uint_t                      refresh_percent;  /* if not 0 */
    ngx_msec_t                      lock_timeout;
    ngx_msec_t                      backoff_min;
    ngx_msec_t                      backoff_max;
    ngx_flag_t                      warm;     /* of the location itself */
    ngx_http_token_pos_t            warm_pos;

    /* of this worker: what it has served last for a constant request */

    ngx_http_token_copy_t          *copy;
} ngx_http_token_cache_conf_t;


#define NGX_HTTP_TOKEN_NO_VARIABLE  -1

typedef struct {
    ngx_str_t                       name;     /* of a token location */
    ngx_http_token_pos_t            pos;      /* of token_proxy_bearer */
    ngx_uint_t                      own;      /* it stands here */
    ngx_str_t                       header;
    ngx_str_t                       scheme;   /* with its space, if any */
    ngx_array_t                    *retry;    /* ngx_uint_t, or NULL */
    ngx_uint_t                      non_idempotent;  /* with any method */

    /* made when the configuration has been read */

    ngx_http_token_loc_conf_t      *location;
    u_char                         *lowcase;
    ngx_http_handler_pt             handler;  /* that stood there */
    ngx_int_t                       variable; /* $http_ and its name, if it is
                                                 used anywhere */
    ngx_uint_t                      grpc;     /* grpc_pass */

    /* of this worker, as that of the cache */

    ngx_http_token_copy_t          *copy;
} ngx_http_token_bearer_conf_t;


/* what is known of a request's Origin */

#define NGX_HTTP_TOKEN_ORIGIN_UNKNOWN  0
#define NGX_HTTP_TOKEN_ORIGIN_NONE     1
#define NGX_HTTP_TOKEN_ORIGIN_ALLOWED  2
#define NGX_HTTP_TOKEN_ORIGIN_DENIED   3


/* a refresh grant of a caller: without a scope, or with one */

#define NGX_HTTP_TOKEN_GRANT_PLAIN  1
#define NGX_HTTP_TOKEN_GRANT_SCOPE  2


typedef struct ngx_http_token_request_s  ngx_http_token_request_t;


/* a parameter or a claim, evaluated */

typedef struct {
    ngx_str_t                       name;
    ngx_str_t                       value;
    ngx_http_token_watch_t         *file;     /* the value is its name */
    ngx_http_token_request_t       *token;    /* what brings the value */
} ngx_http_token_pair_t;


/*
 * A token request (RFC 6749 4.4.2), evaluated and encoded: without assertions,
 * which are made when the request is sent, and with the names of files and of
 * token locations in the place of what is in them, which is read or fetched
 * then.
 */

struct ngx_http_token_request_s {
    ngx_http_token_loc_conf_t      *tlcf;           /* of its location */
    ngx_str_t                       endpoint;       /* URL */
    ngx_str_t                       authorization;  /* "Basic ...", or empty */
    ngx_str_t                       body;           /* form-encoded, always */
    ngx_str_t                       client_id;
    ngx_str_t                       secret;         /* never to be logged */
    ngx_str_t                       second_secret;
    ngx_str_t                       assertion;      /* that is not made here */
    ngx_str_t                       audience;       /* of the assertion */
    ngx_str_t                       claims;         /* of a grant's assertion */
    ngx_uint_t                      refresh_grant;  /* of the caller, or 0 */
    ngx_str_t                       inputs;         /* all that is evaluated,
                                                       for the cache */

    /* what the body and the claims were made of */

    ngx_http_token_pair_t          *params;
    ngx_uint_t                      nparams;
    ngx_http_token_pair_t          *claim_values;
    ngx_uint_t                      nclaim_values;

    ngx_http_token_pair_t           bearer;         /* token in a header, */
    ngx_str_t                       bearer_value;   /* and the header's value */
    u_char                         *digest;         /* of one that another
                                                       request needs */
};


/* what is evaluated for each request: one of the two */

typedef struct {
    ngx_http_token_value_t         *value;
    ngx_http_complex_value_t       *complex;
} ngx_http_token_input_t;


/* where an answer has a standard member: token_proxy_member */

#define NGX_HTTP_TOKEN_MAX_PATHS  32
#define NGX_HTTP_TOKEN_MAX_STEPS  16

typedef struct {
    ngx_str_t                       name;     /* of the standard member */
    ngx_str_t                       key;      /* the name with quotes */
    ngx_str_t                       text;     /* as it is configured */
    ngx_str_t                      *steps;    /* names of members, inwards */
    ngx_uint_t                      nsteps;
    ngx_http_token_pos_t            pos;
} ngx_http_token_path_t;


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
#define NGX_HTTP_TOKEN_BAD_SCOPE    10 /* the caller's scope */
#define NGX_HTTP_TOKEN_BACKOFF      11 /* not called, after a failure */


/* a token, or why there is none, from the cache or by a call */

typedef struct {
    ngx_uint_t                      outcome;
    ngx_str_t                       value;           /* body, or header */
    time_t                          expires_in;      /* -1 if not known */
    int64_t                         limit;           /* msec that it has at
                                                        most, -1 if not known */
    time_t                          retry_after;
    ngx_uint_t                      cache_status;
    ngx_uint_t                      upstream_status;
    ngx_msec_t                      upstream_time;
    ngx_uint_t                      fetched;         /* the two above count */
    ngx_uint_t                      serial;          /* of the cached token */
    u_char                         *digest;          /* NULL if not cached */
    ngx_buf_t                       buf;             /* for the body */
} ngx_http_token_result_t;


/* one call of the token endpoint, from request to result */

typedef struct ngx_http_token_fetch_s  ngx_http_token_fetch_t;

typedef void (*ngx_http_token_fetch_handler_pt)(ngx_http_token_fetch_t *fetch);

struct ngx_http_token_fetch_s {
    ngx_http_token_request_t       *request;
    ngx_http_token_request_t       *sent;     /* with the assertions */
    ngx_http_token_request_t       *other;    /* with the other secret, until
                                                 that is tried */

    ngx_str_t                       url;      /* what the proxy module sends */
    ngx_str_t                       authorization;
    ngx_str_t                       bearer;
    ngx_str_t                       body;

    ngx_http_request_t             *main;     /* without a client */
    ngx_http_request_t             *subrequest;
    ngx_event_t                     deadline;
    ngx_int_t                       rc;
    ngx_uint_t                      finished;
    ngx_uint_t                      repeats;  /* on another connection */

    ngx_http_token_fetch_handler_pt handler;  /* called with the result */
    void                           *data;

    /* the result */

    ngx_uint_t                      outcome;
    ngx_array_t                    *members;         /* of the answer, if OK */
    int64_t                         lifetime;        /* of the token, in ms;
                                                        -1 if not known */
    int64_t                         limit;           /* of what is cached, in
                                                        ms; -1 if none */
    int64_t                         token_limit;     /* of the tokens that are
                                                        sent, as above */
    ngx_uint_t                      last;            /* another one would not
                                                        be kept longer */
    time_t                          retry_after;     /* seconds, 0 if none */
    ngx_uint_t                      upstream_status; /* 0 if none came */
    ngx_msec_t                      upstream_time;
    ngx_uint_t                      serial;          /* if it is cached */
    ngx_uint_t                      secret;          /* which of two, or 0 */
    ngx_uint_t                      try_other;       /* it was refused */
    ngx_uint_t                      tried_other;
    ngx_uint_t                      taken;           /* another machine's, not
                                                        of a call */
    ngx_msec_t                      backoff;         /* in: of that machine;
                                                        out, if it failed */

    /* tokens of other locations that the request needs */

    void                           *chain;
    ngx_uint_t                    (*drop_tokens)(ngx_http_token_fetch_t *fetch);
    void                          (*again)(ngx_http_token_fetch_t *fetch);
    ngx_uint_t                      try_again;       /* with other tokens */
    ngx_uint_t                      uncalled;        /* there is none */
};


struct ngx_http_token_loc_conf_s {
    ngx_flag_t                      enable;
    ngx_http_token_pos_t            pos;      /* of token_proxy */

    ngx_http_complex_value_t       *endpoint;
    ngx_http_token_pos_t            endpoint_pos;
    ngx_http_upstream_srv_conf_t   *upstream; /* NULL if the host is resolved
                                                 while serving */
    ngx_uint_t                      constant_url; /* proxy_pass has it */

    ngx_uint_t                      format;
    ngx_str_t                       grant_type;  /* "off" for none */
    ngx_array_t                    *params;   /* ngx_http_token_param_t */
    ngx_array_t                    *claims;   /* ngx_http_token_param_t */
    ngx_array_t                    *paths;    /* ngx_http_token_path_t */
    time_t                          file_valid;     /* with variables */
    ngx_flag_t                      refresh_grant;

    ngx_array_t                    *fields;   /* ngx_str_t, empty for "*" */
    ngx_uint_t                      methods;  /* NGX_HTTP_GET, NGX_HTTP_POST */
    size_t                          max_response_size;

    ngx_flag_t                      ssl_verify;
    ngx_str_t                       ssl_trusted_certificate;

    ngx_http_token_auth_conf_t      auth;
    ngx_http_token_cache_conf_t     cache;
    ngx_http_token_cors_conf_t      cors;
    ngx_http_token_basic_conf_t     basic;
    ngx_http_token_bearer_conf_t    bearer;

    /* made when the configuration has been read */

    ngx_http_token_request_t        request;  /* what of it is constant */
    ngx_uint_t                      constant; /* all of the request is */
    ngx_uint_t                      deferred; /* it is made when it is sent:
                                                 of files, tokens, or two
                                                 secrets */
    ngx_uint_t                      chained;  /* it needs other locations'
                                                 tokens: */
    ngx_http_token_loc_conf_t     **tokens;   /* one for each parameter, or
                                                 NULL */
    ngx_http_token_loc_conf_t      *bearer_token;  /* and one for a header */
    ngx_uint_t                      chain_state;
    u_char                         *digest;   /* of a constant request */
    ngx_array_t                    *inputs;   /* ngx_http_token_input_t, of
                                                 another one */
    ngx_uint_t                      file_inputs;  /* some are in files */
    ngx_uint_t                      plain;    /* cached, and nothing has to be
                                                 evaluated for it */
    uint32_t                        fields_hash;
    ngx_str_t                       allow;
    ngx_array_t                    *error_pages;  /* of the location itself */
    ngx_array_t                    *level_error_pages;  /* and inherited ones */
    ngx_http_token_loc_conf_t      *outer;        /* the level around it */
    void                           *level_proxy;  /* of the proxy module */
    ngx_array_t                    *headers;      /* proxy_set_header of the
                                                     location itself */
    ngx_uint_t                      ignore_client_abort;
    ngx_http_handler_pt             proxy_handler;
    void                          **loc_conf;
    void                          **answer_conf;
    ngx_http_connection_t          *fetch_connection;
};


/* the locations that are to be found by name when all have been read */

typedef struct {
    ngx_http_core_srv_conf_t       *cscf;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_token_loc_conf_t      *tlcf;
} ngx_http_token_location_t;


/* a URI of auth_request */

typedef struct {
    ngx_http_core_srv_conf_t       *cscf;
    ngx_str_t                       uri;
} ngx_http_token_check_t;


/* a variable that a VALUE names */

typedef struct {
    ngx_str_t                       name;
    ngx_str_t                       directive;
    char                           *hint;     /* what to do if it is none */
    ngx_http_token_pos_t            pos;
} ngx_http_token_name_t;


typedef struct {
    ngx_array_t                     locations; /* ngx_http_token_location_t */
    ngx_array_t                     checks;   /* ngx_http_token_check_t */
    ngx_array_t                     zones;    /* ngx_shm_zone_t * */
    ngx_http_token_store_t         *store;    /* or NULL */
    ngx_array_t                     warm;     /* ngx_http_token_loc_conf_t * */
    ngx_array_t                     names;    /* ngx_http_token_name_t */
    ngx_uint_t                      used;     /* a location uses the module */
    ngx_uint_t                      basic;    /* one has a Basic check */
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
typedef struct ngx_http_token_upstream_module_s
    ngx_http_token_upstream_module_t;


typedef struct {
    ngx_http_token_bearer_t        *bearer;

    ngx_uint_t                      origin_verdict;
    ngx_str_t                       origin;          /* as it was sent */
    ngx_table_elt_t                *challenge;       /* of a Basic check that
                                                        has failed */
    ngx_http_token_result_t        *result;          /* for the variables */

    ngx_http_token_fetch_t         *fetch;     /* in a fetch's own requests */

    unsigned                        own_response:1;
    unsigned                        preflight:1;
    unsigned                        replace_body:1;
} ngx_http_token_ctx_t;


extern ngx_module_t  ngx_http_token_module;
extern ngx_module_t  ngx_http_proxy_module;


/* The context of a request, made if there is none; NULL if memory is out. */

static ngx_inline ngx_http_token_ctx_t *
ngx_http_token_ctx(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_token_ctx_t));
        if (ctx == NULL) {
            return NULL;
        }

        ngx_http_set_ctx(r, ctx, ngx_http_token_module);
    }

    return ctx;
}


/*
 * What may be a token of another location: the parameters, of which the first
 * is never one, and, with n for their number, the header
 */

static ngx_inline ngx_http_token_pair_t *
ngx_http_token_pair(ngx_http_token_request_t *request, ngx_uint_t n)
{
    return (n < request->nparams) ? &request->params[n] : &request->bearer;
}


/* whether a request is that of a fetch, and has no client */

static ngx_inline ngx_uint_t
ngx_http_token_is_fetch(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    return (ctx && ctx->fetch);
}


#endif /* _NGX_HTTP_TOKEN_H_INCLUDED_ */
