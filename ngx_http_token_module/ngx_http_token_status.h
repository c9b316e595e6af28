
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_status: what its two formats share.
 */


#ifndef _NGX_HTTP_TOKEN_STATUS_H_INCLUDED_
#define _NGX_HTTP_TOKEN_STATUS_H_INCLUDED_


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_uint_t                      tokens;    /* that are valid */
    ngx_uint_t                      backoffs;  /* entries that wait */
    ngx_http_token_time_t           earliest;  /* expiry, 0 if none */
} ngx_http_token_state_t;


/* a copy of a zone, taken under its lock and written without it */

typedef struct {
    ngx_str_t                       name;
    size_t                          size;
    size_t                          used;
    ngx_http_token_time_t           now;
    ngx_http_token_shctx_t          sh;
    ngx_http_token_state_t          states[NGX_HTTP_TOKEN_ENDPOINTS];
} ngx_http_token_view_t;


/* ngx_http_token_status.c */

/* By outcome of a fetch. */
extern char  *ngx_http_token_outcome_names[];

/* Writes a name that may come from a URL, without quotes and such. */
u_char *ngx_http_token_status_name(u_char *p, u_char *last, u_char *name,
    size_t len);


/* ngx_http_token_metrics.c */

u_char *ngx_http_token_status_text(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n);


#endif /* _NGX_HTTP_TOKEN_STATUS_H_INCLUDED_ */
