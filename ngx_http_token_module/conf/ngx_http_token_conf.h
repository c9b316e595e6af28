
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Directives, inheritance, and what is made of a configuration.
 */


#ifndef _NGX_HTTP_TOKEN_CONF_H_INCLUDED_
#define _NGX_HTTP_TOKEN_CONF_H_INCLUDED_


#include "ngx_http_token_handlers.h"


/* ngx_http_token_conf.c */

/* Reads a VALUE of the directive in cf->args, a client id or a secret. */
char *ngx_http_token_compile_credential(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *arg, ngx_http_token_value_t **field);


/*
 * Checks the value of the directive in cf->args, which stands at that place.
 * Returns NGX_CONF_OK, or NGX_CONF_ERROR after a message.
 */
char *ngx_http_token_conf_credential(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *text);

/*
 * Whether a list has an element of that name, which is its first member, after
 * a message that the "what" is a duplicate.
 */
ngx_uint_t ngx_http_token_is_duplicate(ngx_conf_t *cf, ngx_array_t *list,
    char *what, ngx_str_t *name);

/* Finds a name in a table.  Returns NULL after a message. */
ngx_conf_enum_t *ngx_http_token_find_method(ngx_conf_t *cf,
    ngx_conf_enum_t *methods, ngx_str_t *name);

/* Makes a list of two names, a default.  Returns NULL if memory is out. */
ngx_array_t *ngx_http_token_two_names(ngx_conf_t *cf, char *first,
    char *second);

extern ngx_conf_post_t  ngx_http_token_not_empty;
extern ngx_conf_post_t  ngx_http_token_not_zero_size;

char *ngx_http_token_set_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* as ngx_http_set_complex_value_slot(), with messages that show no value */
char *ngx_http_token_set_complex(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_client_id(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_client_secret(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_client_assertion(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_param(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_methods(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* Whether a member's name is registered, or one of large providers. */
ngx_uint_t ngx_http_token_is_known_field(ngx_str_t *name);


/* ngx_http_token_endpoint_conf.c */

char *ngx_http_token_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Decides when the host of the endpoint is resolved, and checks the endpoint.
 * Called when the location has been merged: the resolver is known then, and so
 * are all upstream blocks.
 */
char *ngx_http_token_endpoint_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);


/* ngx_http_token_request_conf.c */

char *ngx_http_token_set_request(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_member(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_grant_claim(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* Checks what a token location sends, and where an answer has its members. */
char *ngx_http_token_request_check(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_auth_conf.c */

char *ngx_http_token_set_auth_method(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_private_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_certificate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_key_id(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_audience(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* Finds out whether a grant has an assertion to sign, and checks its key. */
char *ngx_http_token_auth_init_grant(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/* Chooses the algorithm, and checks that it and the key fit. */
char *ngx_http_token_auth_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

void ngx_http_token_auth_create(ngx_http_token_auth_conf_t *conf);
char *ngx_http_token_auth_merge(ngx_conf_t *cf,
    ngx_http_token_auth_conf_t *prev, ngx_http_token_auth_conf_t *conf);


/* ngx_http_token_cache_conf.c */

char *ngx_http_token_set_cache_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_cache_create(ngx_http_token_cache_conf_t *conf);
char *ngx_http_token_cache_merge(ngx_conf_t *cf,
    ngx_http_token_cache_conf_t *prev, ngx_http_token_cache_conf_t *conf);
void ngx_http_token_cache_check(ngx_conf_t *cf,
    ngx_http_token_cache_conf_t *conf);
void ngx_http_token_cache_unused(ngx_conf_t *cf,
    ngx_http_token_cache_conf_t *conf);
char *ngx_http_token_cache_init_warm(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);


extern ngx_conf_post_t  ngx_http_token_not_zero;
extern ngx_conf_post_t  ngx_http_token_not_zero_time;

char *ngx_http_token_set_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_token_set_cache_bypass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cache_warm(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_refresh_before(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_retry_backoff(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* ngx_http_token_cors_conf.c */

char *ngx_http_token_set_cors_origin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cors_self(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_cors_names(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_cors_create(ngx_http_token_cors_conf_t *conf);
char *ngx_http_token_cors_merge(ngx_conf_t *cf,
    ngx_http_token_cors_conf_t *prev, ngx_http_token_cors_conf_t *conf);

/* Checks and prepares a token location, when it has been merged. */
char *ngx_http_token_cors_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

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


/* ngx_http_token_bearer_conf.c */

char *ngx_http_token_set_bearer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_bearer_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_bearer_retry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_bearer_create(ngx_http_token_bearer_conf_t *conf);
char *ngx_http_token_bearer_merge(ngx_conf_t *cf,
    ngx_http_token_bearer_conf_t *prev, ngx_http_token_bearer_conf_t *conf);

/* Notes a location for ngx_http_token_bearer_init_locations(). */
char *ngx_http_token_bearer_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/*
 * Called when all locations have been merged: prepares those that pass requests
 * on with a token.  *used is 1 if there is one.
 */
char *ngx_http_token_bearer_init_locations(ngx_conf_t *cf, ngx_uint_t *used);

/* The token location of a server that has this name, or NULL. */
ngx_http_token_location_t *ngx_http_token_find_location(ngx_conf_t *cf,
    ngx_http_core_srv_conf_t *cscf, ngx_str_t *name);


/* ngx_http_token_chain_conf.c */

/*
 * Called when all locations have been merged: finds the token locations whose
 * tokens others need, and prepares these.
 */
char *ngx_http_token_chain_init_locations(ngx_conf_t *cf);


/* ngx_http_token_upstream_modules.c */

/*
 * Finds the content handlers of proxy_pass, grpc_pass, fastcgi_pass, uwsgi_pass
 * and scgi_pass.
 */
char *ngx_http_token_upstream_modules_init(ngx_conf_t *cf);

/* The one that has this content handler, or NULL. */
ngx_http_token_upstream_module_t *ngx_http_token_upstream_module_find(
    ngx_http_handler_pt handler);

/*
 * Checks that no directive of the location replaces or drops the header, and
 * notes whether the API speaks gRPC.  Returns NGX_CONF_OK, or NGX_CONF_ERROR
 * after a message.
 */
char *ngx_http_token_upstream_module_check(ngx_conf_t *cf,
    ngx_http_token_location_t *location, ngx_http_token_upstream_module_t *um);


/* ngx_http_token_merge.c */

char *ngx_http_token_merge(ngx_conf_t *cf, void *parent, void *child);


/* ngx_http_token_location.c */

/*
 * Makes the location configurations in which token requests and answers run.
 * Called when the location has been merged.
 */
char *ngx_http_token_location_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);

/* ngx_http_token_store_url.c */

/* Returns NULL, NGX_CONF_ERROR, or what is wrong in words. */
char *ngx_http_token_store_url(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *url);


/* ngx_http_token_store_conf.c */

char *ngx_http_token_set_cache_store(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* Checks that what a token location keeps in the store can be sealed. */
char *ngx_http_token_store_check(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);

/* Makes the store ready when all has been read. */
char *ngx_http_token_store_init(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf);


/* ngx_http_token_proxy.c */

/*
 * Both prepare the proxy module's configuration of a token request, before it
 * is merged with prev, the token location's.
 */
char *ngx_http_token_proxy_init_headers(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf);
char *ngx_http_token_proxy_init_ssl(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf, void *prev);

/*
 * Checks a file of certificates that the directive names, or finds that of the
 * system.  Both return NGX_CONF_OK, or NGX_CONF_ERROR after a message.
 */
char *ngx_http_token_check_certificates(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, char *directive, ngx_str_t *file);
char *ngx_http_token_system_certificates(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, char *directive, ngx_str_t *file);

typedef char *(*ngx_http_token_set_pt)(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Where a directive of another module keeps its value in a location's
 * configuration of that module.  "set" is the setter of nginx's that says what
 * is stored there.  Returns NULL, after a message, if nginx has no such
 * directive, or one with another setter.
 */
void *ngx_http_token_directive_field(ngx_conf_t *cf, ngx_module_t *module,
    void *conf, char *name, ngx_http_token_set_pt set);

/* The same of the proxy module. */
void *ngx_http_token_proxy_field(ngx_conf_t *cf, void *conf, char *name,
    ngx_http_token_set_pt set);

/*
 * As if "name value;" stood where that configuration is from.  Returns
 * NGX_CONF_OK, or NGX_CONF_ERROR after a message.
 */
char *ngx_http_token_set_directive(ngx_conf_t *cf, ngx_module_t *module,
    void *conf, char *name, char *value);

/* The same of a "..._pass", with the content handler that it sets. */
char *ngx_http_token_set_pass(ngx_conf_t *cf, ngx_module_t *module,
    void *conf, char *name, char *value, ngx_http_handler_pt *handler);

/* The same of another directive of the proxy module. */
char *ngx_http_token_proxy_set(ngx_conf_t *cf, void *conf, char *name,
    char *value);

/* A copy of the configurations of all modules at one level, or NULL. */
void **ngx_http_token_copy_conf(ngx_conf_t *cf, void **conf);


#endif /* _NGX_HTTP_TOKEN_CONF_H_INCLUDED_ */
