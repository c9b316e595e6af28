
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The token request, the call of the endpoint, and its result.
 */


#ifndef _NGX_HTTP_TOKEN_ENDPOINT_H_INCLUDED_
#define _NGX_HTTP_TOKEN_ENDPOINT_H_INCLUDED_


#include "ngx_http_token_util.h"

#include <openssl/evp.h>
#include <openssl/x509.h>


struct ngx_http_token_alg_s {
    ngx_str_t                       name;
    ngx_uint_t                      method;  /* of client authentication */
    int                             type;    /* of the key, EVP_PKEY_... */
    int                             curve;   /* NID_..., if EC */
    int                             bits;    /* of the key, at least */
    const EVP_MD                 *(*digest)(void);
    ngx_uint_t                      pss;
};


/*
 * A file that a directive names.  What it holds is read again when it has
 * changed: a worker looks at it once a second at most.  The state is that of
 * the worker.
 */

struct ngx_http_token_watch_s {
    ngx_str_t                       name;      /* full, and a NUL behind it */
    ngx_str_t                       directive;
    ngx_str_t                       text;      /* the last that was good */
    ngx_uint_t                      allocated; /* not in the configuration */

    /* what else a text has to pass */

    char                         *(*check)(ngx_str_t *text);
    ngx_uint_t                      utf8;
    ngx_uint_t                      no_colon;

    /* the file that was read last, good or bad */

    dev_t                           dev;
    ngx_file_uniq_t                 uniq;
    time_t                          mtime;
    off_t                           size;
    time_t                          read;      /* when */
    time_t                          looked;    /* when it was looked at */
    ngx_uint_t                      changed;   /* it was another file then */
    ngx_uint_t                      unread;    /* it could not be read */
};


struct ngx_http_token_key_s {
    EVP_PKEY                       *pkey;
    ngx_str_t                       name;    /* of the file */
    ngx_http_token_pos_t            pos;
    ngx_http_token_watch_t         *file;
    ngx_array_t                     users;   /* ngx_http_token_loc_conf_t * */
};


struct ngx_http_token_cert_s {
    X509                           *x509;
    ngx_str_t                       name;    /* of the file */
    ngx_str_t                       x5t;     /* SHA-1 in base64url */
    ngx_str_t                       x5t_s256;
    ngx_http_token_pos_t            pos;
};


/* ngx_http_token_request.c */

/*
 * Prepares what of the token request is constant.  Called when the location
 * has been merged.
 */
char *ngx_http_token_request_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/*
 * The same for the tokens of other locations that it needs, when these have
 * been prepared: whether the request is constant may depend on them.
 */
void ngx_http_token_request_init_tokens(ngx_http_token_loc_conf_t *tlcf);

/*
 * Evaluates the request of a token location for a caller, and those of the
 * locations whose tokens it needs.  Returns NGX_OK, or NGX_ERROR after an error
 * message.
 */
ngx_int_t ngx_http_token_evaluate(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_request_t *request);

/*
 * The request of a token location for a caller: the constant one, or one that
 * is evaluated, with these inputs.  Returns NULL if it cannot be made.
 */
ngx_http_token_request_t *ngx_http_token_make_request(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *inputs);

/*
 * Makes the body of a caller's refresh grant, of a request that has been
 * evaluated.  Returns as ngx_http_token_evaluate() does.
 */
ngx_int_t ngx_http_token_refresh_body(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_http_token_grant_t *grant);


/* ngx_http_token_complete.c */

ngx_uint_t ngx_http_token_uses_secret(ngx_http_token_loc_conf_t *tlcf);

/* Whether a token of another location is sent in a header. */
ngx_uint_t ngx_http_token_sends_bearer(ngx_http_token_loc_conf_t *tlcf);

/* Whether the client's id is one of the parameters. */
ngx_uint_t ngx_http_token_sends_id(ngx_http_token_loc_conf_t *tlcf);

/*
 * Makes the body of the parameters, of which the first is the grant type.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_encode_body(ngx_pool_t *pool,
    ngx_http_token_request_t *request);

/*
 * The request with what is in the files that it names, and with the first or
 * the second secret, in r->pool, or the request itself, if it has nothing of
 * the kind.  Returns NULL after an error message.
 */
ngx_http_token_request_t *ngx_http_token_complete_request(
    ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_uint_t secret);

/*
 * Copies a request: what is not constant is in the caller's pool, and the
 * caller may leave.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_copy_request(ngx_pool_t *pool,
    ngx_http_token_request_t *dst, ngx_http_token_request_t *src);


/*
 * The secrets of a client, one or two, as they are in files now.  Returns how
 * many, or 0 if it has none, or one cannot be read.
 */
ngx_uint_t ngx_http_token_request_secrets(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *secrets);


/* ngx_http_token_format.c */

/*
 * Makes what is sent of a request, in the form that its endpoint wants: URL and
 * body.  Returns NGX_OK, NGX_DECLINED if the URL is wrong, after a message, or
 * NGX_ERROR.
 */
ngx_int_t ngx_http_token_format(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *url, ngx_str_t *body);


/* ngx_http_token_claims.c */

/* Whether the claims of a grant's assertion need the client's id. */
ngx_uint_t ngx_http_token_claims_need_id(ngx_http_token_loc_conf_t *tlcf);

/* Whether none of token_proxy_grant_claim has variables. */
ngx_uint_t ngx_http_token_claims_constant(ngx_http_token_loc_conf_t *tlcf);

/* Whether the value of one that is sent is in a file. */
ngx_uint_t ngx_http_token_claims_have_file(ngx_http_token_loc_conf_t *tlcf);

/*
 * Makes request->claims.  r is NULL while the configuration is read.  Returns
 * NGX_OK, or NGX_ERROR after an error message.
 */
ngx_int_t ngx_http_token_evaluate_claims(ngx_http_request_t *r,
    ngx_pool_t *pool, ngx_http_token_request_t *request);

/*
 * Writes claims that are not empty as members of an object, a comma after each.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_write_claims(ngx_pool_t *pool,
    ngx_http_token_pair_t *claims, ngx_uint_t nclaims, ngx_str_t *text);


/* ngx_http_token_key.c */

/*
 * The identity of a token request, SHA-256 of all that makes it one: for
 * a caller.  Returns the digest in r->pool, or NULL.
 */
u_char *ngx_http_token_request_digest(ngx_http_request_t *r,
    ngx_http_token_request_t *request);

/*
 * Evaluates all that is not constant in a location's token request and in the
 * key of its cache, in r->pool: of one location the same text is the same token
 * request.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_request_inputs(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *text);

/*
 * Prepares what of a token request's identity is constant.  Called after
 * ngx_http_token_request_init().
 */
char *ngx_http_token_key_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf);

/*
 * The digest of a constant request.  Called by ngx_http_token_key_init(), or
 * where other locations' tokens are needed, when these have been prepared.
 */
char *ngx_http_token_key_init_digest(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_assertion.c */

/*
 * The request as it is sent, in r->pool: with assertions of its own if the
 * client authenticates itself by one, or its grant is one, or else the request
 * itself.  Returns NULL after an error message.
 */
ngx_http_token_request_t *ngx_http_token_sign_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request);


/* ngx_http_token_sign.c */

/*
 * The algorithm of a method by its name, or without one the first that fits
 * the key; any key, if that is NULL.  Returns NULL if there is none.
 */
ngx_http_token_alg_t *ngx_http_token_find_alg(ngx_uint_t method,
    ngx_str_t *name, EVP_PKEY *key);

/* The curve of an EC key, NID_... */
int ngx_http_token_curve(EVP_PKEY *key);

/* Makes the signature of a JWS.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_sign(ngx_pool_t *pool, ngx_http_token_alg_t *alg,
    EVP_PKEY *key, ngx_str_t *text, ngx_str_t *signature);

/* Reads a PEM file's text.  Returns NULL if there is no key in it. */
EVP_PKEY *ngx_http_token_key_parse(ngx_str_t *text);

/* The algorithm with which a location signs by a key, or NULL. */
ngx_http_token_alg_t *ngx_http_token_key_alg(
    ngx_http_token_loc_conf_t *tlcf, EVP_PKEY *pkey);

/* Whether a signature can be made: some keys are restricted. */
ngx_uint_t ngx_http_token_key_signs(ngx_pool_t *pool,
    ngx_http_token_alg_t *alg, EVP_PKEY *pkey);

/*
 * The key of a file as it is now, or the last one that all locations can use.
 * It is valid until the next call.
 */
EVP_PKEY *ngx_http_token_key_current(ngx_http_token_key_t *key,
    ngx_http_request_t *r);


/* ngx_http_token_detached.c */

/*
 * Makes a request without a client, in the configuration of hc.  The shutdown
 * handler has to close it when the event's connection has "close" set.
 * Returns NULL if there is no memory or no connection.
 */
ngx_http_request_t *ngx_http_token_detached_create(ngx_http_connection_t *hc,
    ngx_str_t *uri, ngx_event_handler_pt shutdown, ngx_log_t *log);

/* Runs the cleanups of the request and of its subrequests, and frees it. */
void ngx_http_token_detached_close(ngx_http_request_t *r);


/* ngx_http_token_fetch.c */

/*
 * Makes a call of a token location's endpoint, and with it a pool that lives
 * as long, fetch->main->pool.  Returns NULL if there is no memory or no
 * connection.
 */
ngx_http_token_fetch_t *ngx_http_token_fetch_create(
    ngx_http_token_loc_conf_t *tlcf, ngx_log_t *log);

/*
 * Sends the request, which has to live as long as the fetch.  The handler is
 * called once when there is a result, good or bad, and may be called before
 * this returns; after it the fetch is gone.  fetch->again calls it once more.
 */
void ngx_http_token_fetch_start(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request);

/* Ends a fetch with the result that it has. */
void ngx_http_token_fetch_end(ngx_http_token_fetch_t *fetch);

/* Ends a fetch before its call, with a result that is a failure. */
void ngx_http_token_fetch_fail(ngx_http_token_fetch_t *fetch,
    ngx_uint_t outcome);

/* Ends a fetch in any state, without a result. */
void ngx_http_token_fetch_close(ngx_http_token_fetch_t *fetch);


/* ngx_http_token_result.c */

/* Turns a finished call into its result, and logs why if it failed. */
void ngx_http_token_fetch_process_response(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);

/*
 * Makes what a token location answers or, with a scheme, the value of a header.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_compose(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_array_t *members, ngx_str_t *scheme,
    ngx_str_t *answer);

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


/* ngx_http_token_error.c */

/*
 * Whether an answer with these members, NULL if it is no JSON object, says that
 * the request failed.
 */
ngx_uint_t ngx_http_token_is_error(ngx_array_t *members);

/* The member that names an error in a word, or NULL. */
ngx_http_token_member_t *ngx_http_token_error_code(ngx_array_t *members);

/*
 * What the endpoint says of an answer that has no token, as far as it may stand
 * in a log: text that begins with a comma and ends with a NUL.
 */
u_char *ngx_http_token_endpoint_said(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t *members);


/* ngx_http_token_secret.c */

/*
 * Whether a text repeats the secret of a request, its Basic value, or another
 * of its parameters that may be one, encoded or not; also if memory is out.
 */
ngx_uint_t ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text);


/* ngx_http_token_lifetime.c */

/*
 * The lifetime of an answer's token in milliseconds, at most ten years: its
 * expires_in, or else the claims of a JWT, or expires_at or expires_on.  0 if
 * it is not positive, -1 if there is none that can be read.
 */
int64_t ngx_http_token_lifetime(ngx_pool_t *pool, ngx_array_t *members);

/*
 * Bounds the lifetime of a token that may be cached, and the expires_in of its
 * answer: by token_proxy_cache_max_ttl, and by what it was exchanged for; if
 * that is the token of another location, also where there is no cache.  Returns
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_limit_lifetime(ngx_pool_t *pool,
    ngx_http_token_fetch_t *fetch);


/* ngx_http_token_value.c */

/*
 * Reads a VALUE argument of the directive in cf->args, which stands at that
 * place.  Returns NGX_CONF_OK, or NGX_CONF_ERROR after an EMERG message without
 * the value.
 */
char *ngx_http_token_compile_value(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, ngx_http_token_value_t *value);

/*
 * Remembers the variables that a value of the directive in cf->args names, for
 * ngx_http_token_check_names().  The hint ends the message of one that is
 * wrong.  Returns as ngx_http_token_compile_value().
 */
char *ngx_http_token_value_names(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, char *hint);

/*
 * Looks for the variables that the values name, when all are known.  Returns
 * NGX_OK, or NGX_ERROR after an EMERG message without the value.
 */
ngx_int_t ngx_http_token_check_names(ngx_conf_t *cf);

/*
 * Evaluates a VALUE, a constant one also while the configuration is read; what
 * is in a file with a constant name is represented by that name.  Returns
 * NGX_OK, or NGX_ERROR after an error message.
 */
ngx_int_t ngx_http_token_evaluate_value(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_value_t *value,
    ngx_str_t *text);

/* Compiles a text with variables.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_compile_complex(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_complex_value_t *complex);

/*
 * Reads a file that the directive that is being parsed names; one trailing
 * newline is dropped.  Returns as ngx_http_token_compile_value() does.
 */
char *ngx_http_token_value_file(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *path, ngx_http_token_watch_t **file);

/*
 * The same without a check of who else can read it; the name is that of the
 * whole path.
 */
char *ngx_http_token_conf_file(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *path, ngx_str_t *name, ngx_http_token_read_t *file);

/*
 * At a binary upgrade the master writes its environment to a debug log: where
 * secrets are in it, the master's log is told to be silent, and a worker's is
 * as it was configured.
 */
void ngx_http_token_environment_debug_off(ngx_cycle_t *cycle);
void ngx_http_token_environment_debug_restore(ngx_cycle_t *cycle);

/*
 * Makes the value of an Authorization header, RFC 6749 2.3.1 and RFC 7617;
 * with form both are form-encoded first.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_basic_value(ngx_pool_t *pool, ngx_str_t *id,
    ngx_str_t *secret, ngx_uint_t form, ngx_str_t *value);


/* ngx_http_token_watch.c */

/* Notes a file that was read for the directive that is being parsed. */
ngx_http_token_watch_t *ngx_http_token_watch_create(ngx_conf_t *cf,
    ngx_str_t *name, ngx_http_token_read_t *read);

/*
 * The text of the file as it is now, or as it was when it was good, in r->pool.
 * Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_watch_text(ngx_http_token_watch_t *watch,
    ngx_http_request_t *r, ngx_str_t *text);

/*
 * Looks at the file, if that is due.  Returns NGX_OK with what is new in it, in
 * r->pool, or NGX_DECLINED.
 */
ngx_int_t ngx_http_token_watch_look(ngx_http_token_watch_t *watch,
    ngx_http_request_t *r, ngx_str_t *text);

/* Both are silent where the same file has been read again. */
void ngx_http_token_watch_warn(ngx_http_token_watch_t *watch, ngx_log_t *log,
    ngx_err_t err, char *call, char *wrong);
void ngx_http_token_watch_notice(ngx_http_token_watch_t *watch,
    ngx_log_t *log);


/* ngx_http_token_file.c */

/*
 * Reads a file for a path with variables, unless it was read within so many
 * seconds.  Returns NGX_OK, or NGX_ERROR after an error message.
 */
ngx_int_t ngx_http_token_file(ngx_http_request_t *r, ngx_str_t *path,
    time_t valid, ngx_str_t *text);

/* Overwrites what was read, when the process exits. */
void ngx_http_token_files_done(ngx_cycle_t *cycle);


#endif /* _NGX_HTTP_TOKEN_ENDPOINT_H_INCLUDED_ */
