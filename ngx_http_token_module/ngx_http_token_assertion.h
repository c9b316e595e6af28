
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Signing keys and algorithms: what the two rooms of assertions share.
 */


#ifndef _NGX_HTTP_TOKEN_ASSERTION_H_INCLUDED_
#define _NGX_HTTP_TOKEN_ASSERTION_H_INCLUDED_


#include "ngx_http_token_module.h"

#include <openssl/evp.h>


struct ngx_http_token_alg_s {
    ngx_str_t                       name;
    ngx_uint_t                      method;  /* of client authentication */
    int                             type;    /* of the key, EVP_PKEY_... */
    int                             curve;   /* NID_..., if EC */
    int                             bits;    /* of the key, at least */
    const EVP_MD                 *(*digest)(void);
    ngx_uint_t                      pss;
};


struct ngx_http_token_key_s {
    EVP_PKEY                       *pkey;
    ngx_str_t                       name;    /* of the file */
    u_char                         *file;    /* where it was configured */
    ngx_uint_t                      line;
};


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


#endif /* _NGX_HTTP_TOKEN_ASSERTION_H_INCLUDED_ */
