
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The front door: which pages may call, and which callers.  Included by
 * ngx_http_token_module.h.
 */


#ifndef _NGX_HTTP_TOKEN_FRONT_H_INCLUDED_
#define _NGX_HTTP_TOKEN_FRONT_H_INCLUDED_


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


/* what is known of a request's Origin */

#define NGX_HTTP_TOKEN_ORIGIN_UNKNOWN  0
#define NGX_HTTP_TOKEN_ORIGIN_NONE     1
#define NGX_HTTP_TOKEN_ORIGIN_ALLOWED  2
#define NGX_HTTP_TOKEN_ORIGIN_DENIED   3


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

/* Whether a list has just this string. */
ngx_uint_t ngx_http_token_origins_exact(ngx_http_token_origins_t *origins,
    ngx_str_t *name);

/* Whether a list allows an origin in its normal form, apart from "*". */
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

/* Answers OPTIONS.  Returns what a content handler returns. */
ngx_int_t ngx_http_token_cors_options(ngx_http_request_t *r);

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


#endif /* _NGX_HTTP_TOKEN_FRONT_H_INCLUDED_ */
