
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


/* VALUE: a literal, env:NAME, file:PATH, or a string with variables */

typedef struct {
    ngx_str_t                       text;     /* the value, if constant */
    ngx_http_complex_value_t       *complex;  /* how to evaluate it, if not */
    u_char                         *file;     /* where it was configured */
    ngx_uint_t                      line;
} ngx_http_token_value_t;


typedef struct {
    ngx_str_t                       name;
    ngx_http_token_value_t          value;
} ngx_http_token_param_t;


/* a token request (RFC 6749 4.4.2), evaluated and encoded */

typedef struct {
    ngx_str_t                       endpoint;       /* URL */
    ngx_str_t                       authorization;  /* "Basic ...", or empty */
    ngx_str_t                       body;           /* form-encoded */
    ngx_str_t                       secret;         /* never to be logged */
} ngx_http_token_request_t;


/* a member of the endpoint's answer; slices of the answer, but for the name */

typedef struct {
    ngx_str_t                       name;     /* decoded */
    ngx_str_t                       key;      /* as it was sent, with quotes */
    ngx_str_t                       value;    /* as it was sent */
    ngx_str_t                       string;   /* decoded, if it is a string */
    ngx_uint_t                      is_string;
} ngx_http_token_member_t;


/* a list of origins, RFC 6454 */

typedef struct {
    ngx_array_t                     keys;     /* ngx_hash_key_t */
    ngx_hash_t                      hash;     /* of them */
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
 * A caller.  Digests are compared, which are of one length, and do not tell
 * by their first bytes how near a guess was.
 */

#define NGX_HTTP_TOKEN_DIGEST_LEN  32


typedef struct {
    ngx_str_t                       name;
    u_char                          name_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    u_char                          password_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_http_complex_value_t       *password;  /* if it has variables */
} ngx_http_token_user_t;


typedef struct {
    ngx_str_t                       realm;    /* NULL if not set */
    ngx_array_t                    *users;    /* ngx_http_token_user_t */
    ngx_uint_t                      off;
    ngx_uint_t                      set;      /* at this very level */
    ngx_str_t                       challenge;  /* empty if off */
} ngx_http_token_basic_conf_t;


/* one call of the token endpoint, from request to result */

typedef struct {
    ngx_http_token_request_t       *request;
    ngx_http_request_t             *subrequest;
    ngx_int_t                       rc;
    ngx_uint_t                      finished;

    /* the result, as it is meant for a caller */

    ngx_uint_t                      status;          /* 200, 502, 503, 504 */
    ngx_array_t                    *members;         /* of the answer if 200 */
    char                           *description;     /* of the error if not */
    time_t                          retry_after;     /* seconds, 0 if none */
    ngx_uint_t                      upstream_status; /* 0 if none came */
    ngx_msec_t                      upstream_time;
} ngx_http_token_fetch_t;


typedef struct {
    ngx_flag_t                      enable;
    u_char                         *file;     /* where token_proxy stands */
    ngx_uint_t                      line;

    ngx_http_complex_value_t       *endpoint;
    ngx_http_upstream_srv_conf_t   *upstream; /* NULL if it has variables */

    ngx_http_token_value_t         *client_id;
    ngx_http_token_value_t         *client_secret;
    ngx_uint_t                      auth_method;
    ngx_uint_t                      auth_form;      /* encoding=form */
    ngx_str_t                       grant_type;
    ngx_array_t                    *params;   /* ngx_http_token_param_t */

    ngx_array_t                    *fields;   /* ngx_str_t, empty for "*" */
    ngx_uint_t                      methods;  /* NGX_HTTP_GET, NGX_HTTP_POST */
    size_t                          max_response_size;

    ngx_flag_t                      ssl_verify;
    ngx_str_t                       ssl_trusted_certificate;

    ngx_http_token_cors_conf_t      cors;
    ngx_http_token_basic_conf_t     basic;

    /* made when the configuration has been read */

    ngx_http_token_request_t        request;  /* what of it is constant */
    ngx_str_t                       allow;
    ngx_array_t                    *error_pages;  /* of the location itself */
    ngx_array_t                    *level_error_pages;  /* and inherited ones */
    ngx_http_handler_pt             proxy_handler;
    void                          **answer_conf;
    void                          **fetch_conf;
} ngx_http_token_loc_conf_t;


/* $token_proxy_cache_status */

#define NGX_HTTP_TOKEN_CACHE_NONE    0
#define NGX_HTTP_TOKEN_CACHE_BYPASS  1
#define NGX_HTTP_TOKEN_CACHE_ERROR   2


/* what is known of a request's Origin */

#define NGX_HTTP_TOKEN_ORIGIN_UNKNOWN  0
#define NGX_HTTP_TOKEN_ORIGIN_NONE     1
#define NGX_HTTP_TOKEN_ORIGIN_ALLOWED  2
#define NGX_HTTP_TOKEN_ORIGIN_DENIED   3


typedef struct {
    ngx_http_token_fetch_t         *fetch;

    ngx_uint_t                      origin_verdict;
    ngx_str_t                       origin;          /* as it was sent */
    ngx_table_elt_t                *challenge;       /* of a Basic check that
                                                        has failed */
    ngx_uint_t                      cache_status;
    time_t                          expires_in;      /* -1 if not known */
    ngx_uint_t                      upstream_status;
    ngx_msec_t                      upstream_time;

    /* set in the subrequest alone, where the proxy module asks for it */
    ngx_http_token_request_t       *request;

    unsigned                        answered:1;
    unsigned                        fetched:1;
    unsigned                        preflight:1;
    unsigned                        replace_body:1;
} ngx_http_token_ctx_t;


/* ngx_http_token_conf.c */

char *ngx_http_token_set_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_credential(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_auth_method(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_param(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_methods(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_max_response_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_token_merge.c */

char *ngx_http_token_merge(ngx_conf_t *cf, ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf);


/* ngx_http_token_secret.c */

/*
 * Reads a VALUE argument of the directive that is being parsed.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after an EMERG message without the value.
 */
char *ngx_http_token_value(ngx_conf_t *cf, ngx_str_t *arg,
    ngx_http_token_value_t *value);

/*
 * Checks a constant client id or secret: RFC 6749 appendix A.1 and A.2, not
 * empty.  Returns NULL, or what is wrong in words.
 */
char *ngx_http_token_check_credential(ngx_str_t *text);

/*
 * Encodes as application/x-www-form-urlencoded (RFC 6749 appendix B).
 * Returns the end of what was written, or with dst == NULL the length.
 */
uintptr_t ngx_http_token_form_encode(u_char *dst, ngx_str_t *src);

/*
 * Makes the value of an Authorization header, RFC 6749 2.3.1 and RFC 7617;
 * with form both are form-encoded first.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_basic_value(ngx_pool_t *pool, ngx_str_t *id,
    ngx_str_t *secret, ngx_uint_t form, ngx_str_t *value);


/* ngx_http_token_json.c */

/*
 * Reads a JSON object (RFC 8259) into its members, in order; of two with one
 * name the last counts.  Returns NGX_OK, NGX_DECLINED if it is none, or
 * NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_token_json_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t **members);

/*
 * The lifetime in seconds, without its fraction, from a number or a string
 * with a number; -1 if there is none or it is not positive, at most ten years.
 */
time_t ngx_http_token_json_expires_in(ngx_array_t *members);

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


/* ngx_http_token_fetch.c */

/*
 * Prepares what of the token request is constant.  Called when the location
 * has been merged.
 */
char *ngx_http_token_init_request(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/*
 * Evaluates the token request for a caller.  Returns NGX_OK, or NGX_ERROR
 * after an error message.
 */
ngx_int_t ngx_http_token_evaluate(ngx_http_request_t *r,
    ngx_http_token_request_t *request);

/*
 * Starts a call of the endpoint as a subrequest of r, whose
 * write_event_handler is run when it has finished.  Returns NGX_OK or
 * NGX_ERROR.
 */
ngx_int_t ngx_http_token_fetch(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);

/* Turns a finished call into its result, and logs why if it failed. */
void ngx_http_token_fetch_result(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);


/* ngx_http_token_handler.c */

ngx_int_t ngx_http_token_handler(ngx_http_request_t *r);

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

ngx_http_token_ctx_t *ngx_http_token_ctx(ngx_http_request_t *r);



/* ngx_http_token_origin.c */

/*
 * Writes "scheme://host[:port]" in its normal form, in which equal origins
 * are equal strings, to origin->data, which has room for text->len bytes.
 * Returns NULL, or what is wrong in words.
 */
char *ngx_http_token_origin_normalize(ngx_str_t *text, ngx_str_t *origin);

ngx_http_token_origins_t *ngx_http_token_origins_create(ngx_conf_t *cf);

/* Adds an argument of the directive that is being parsed. */
char *ngx_http_token_origins_add(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text);

/* Makes a list ready once its last origin has been added. */
char *ngx_http_token_origins_init(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins);

/* Whether a list names an origin in its normal form, apart from "*". */
ngx_uint_t ngx_http_token_origins_match(ngx_http_token_origins_t *origins,
    ngx_str_t *origin, ngx_log_t *log);


/* ngx_http_token_cors_conf.c */

char *ngx_http_token_set_cors_origin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cors_self(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cors_methods(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cors_headers(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_cors_create(ngx_http_token_cors_conf_t *conf);
char *ngx_http_token_cors_merge(ngx_conf_t *cf,
    ngx_http_token_cors_conf_t *prev, ngx_http_token_cors_conf_t *conf);

/* Checks and prepares a token location, when it has been merged. */
char *ngx_http_token_cors_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

ngx_int_t ngx_http_token_cors_add_variable(ngx_conf_t *cf);


/* ngx_http_token_cors.c */

/* Preaccess phase: preflights, and origins that are not allowed. */
ngx_int_t ngx_http_token_cors_handler(ngx_http_request_t *r);

/* Header filter, for every response of a token location. */
ngx_int_t ngx_http_token_cors_header_filter(ngx_http_request_t *r);

/*
 * Notes that a request of the token location leaves it for an error page.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_cors_leave(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_cors_headers.c */

/* Removes the CORS headers of the response. */
void ngx_http_token_cors_clean(ngx_http_request_t *r);

/* Adds a header to the response. */
ngx_int_t ngx_http_token_cors_add(ngx_http_request_t *r, char *name,
    ngx_str_t *value);

/* Adds a name to the response's Vary, if it is not there. */
ngx_int_t ngx_http_token_cors_vary(ngx_http_request_t *r, char *name);

/* Finds a header of the request, the last of n with this name. */
#define ngx_http_token_cors_find(r, name, n)                                  \
    ngx_http_token_cors_find_header(r, (u_char *) name, sizeof(name) - 1, n)

ngx_table_elt_t *ngx_http_token_cors_find_header(ngx_http_request_t *r,
    u_char *name, size_t len, ngx_uint_t *n);


/* ngx_http_token_preflight.c */

/* Answers OPTIONS. Returns what a content handler returns. */
ngx_int_t ngx_http_token_cors_options(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_ctx_t *ctx);

/* Adds the headers of a preflight's answer. */
ngx_int_t ngx_http_token_cors_preflight(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors);


/* ngx_http_token_basic_conf.c */

char *ngx_http_token_set_auth_basic(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_auth_basic_user(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_basic_create(ngx_http_token_basic_conf_t *conf);
char *ngx_http_token_basic_merge(ngx_conf_t *cf,
    ngx_http_token_basic_conf_t *prev, ngx_http_token_basic_conf_t *conf);

/* Checks and prepares a token location, when it has been merged. */
char *ngx_http_token_basic_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/* Warns of a check that a location without "token_proxy on" does not make. */
void ngx_http_token_basic_unused(ngx_conf_t *cf,
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


/* ngx_http_token_variables.c */

ngx_int_t ngx_http_token_add_variables(ngx_conf_t *cf);


extern ngx_module_t  ngx_http_token_module;
extern ngx_module_t  ngx_http_proxy_module;


#endif /* _NGX_HTTP_TOKEN_MODULE_H_INCLUDED_ */
