
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives: what reads, merges and checks them.
 */


#ifndef _NGX_HTTP_TOKEN_CONF_H_INCLUDED_
#define _NGX_HTTP_TOKEN_CONF_H_INCLUDED_


#include "ngx_http_token_module.h"


/* ngx_http_token_conf.c */

extern ngx_conf_post_t  ngx_http_token_not_empty;

char *ngx_http_token_set_enable(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_credential(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_param(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_methods(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_max_response_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_token_auth_conf.c */

char *ngx_http_token_set_auth_method(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_private_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_key_id(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_audience(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

void ngx_http_token_merge_auth(ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf);

/* Chooses the algorithm, and checks that it and the key fit. */
char *ngx_http_token_init_auth(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_cache_conf.c */

extern ngx_conf_post_t  ngx_http_token_not_zero;

char *ngx_http_token_set_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_token_set_refresh_before(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_retry_backoff(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_merge_cache(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *prev, ngx_http_token_loc_conf_t *conf);


/* ngx_http_token_bearer_conf.c */

char *ngx_http_token_set_bearer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_bearer_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_set_bearer_retry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_token_merge_bearer(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *prev, ngx_http_token_loc_conf_t *conf);
char *ngx_http_token_init_bearer(ngx_conf_t *cf, ngx_uint_t *used);


/* ngx_http_token_gateway.c */

/*
 * Finds the content handlers of proxy_pass, grpc_pass, fastcgi_pass, uwsgi_pass
 * and scgi_pass.
 */
char *ngx_http_token_init_gateways(ngx_conf_t *cf);

/* The one that has this content handler, or NULL. */
ngx_http_token_gateway_t *ngx_http_token_gateway(ngx_http_handler_pt handler);

/*
 * Checks that no directive of the location replaces or drops the header, and
 * notes whether the API speaks gRPC.  Returns NGX_CONF_OK, or NGX_CONF_ERROR
 * after a message.
 */
char *ngx_http_token_gateway_check(ngx_conf_t *cf,
    ngx_http_token_place_t *place, ngx_http_token_gateway_t *gateway);


/* ngx_http_token_status.c */

char *ngx_http_token_set_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_token_status_handler(ngx_http_request_t *r);


/* ngx_http_token_key.c */

/*
 * Prepares what of a token request's identity is constant.  Called after
 * ngx_http_token_init_request().
 */
char *ngx_http_token_init_key(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf);


/* ngx_http_token_merge.c */

char *ngx_http_token_merge(ngx_conf_t *cf, ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf);


/* ngx_http_token_zone.c */

char *ngx_http_token_set_cache_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_TOKEN_CONF_H_INCLUDED_ */
