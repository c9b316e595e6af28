
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Assertions (RFC 7521, RFC 7523), with which a client authenticates itself by
 * a signature, or asks for a token: a JWT of its own for each call of the
 * endpoint.
 */


#include "ngx_http_token_endpoint.h"

#include <openssl/err.h>
#include <openssl/rand.h>


/* seconds; the clock of an endpoint may be behind */

#define NGX_HTTP_TOKEN_ASSERTION_LIFETIME  60
#define NGX_HTTP_TOKEN_ASSERTION_AGE       10

#define NGX_HTTP_TOKEN_JTI_LEN             16


static ngx_int_t ngx_http_token_client_assertion(ngx_pool_t *pool,
    ngx_http_token_request_t *request, EVP_PKEY *key, ngx_str_t *assertion);
static ngx_int_t ngx_http_token_assertion(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_alg_t *alg, EVP_PKEY *key,
    ngx_str_t *claims, ngx_str_t *assertion);
static u_char *ngx_http_token_assertion_header(u_char *p,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_alg_t *alg);
static u_char *ngx_http_token_assertion_claims(u_char *p, ngx_str_t *claims,
    u_char *random);
static ngx_int_t ngx_http_token_append(ngx_pool_t *pool, ngx_str_t *body,
    char *before, ngx_str_t *assertion);


ngx_http_token_request_t *
ngx_http_token_sign_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    EVP_PKEY                   *key;
    ngx_int_t                   rc;
    ngx_str_t                   assertion;
    ngx_uint_t                  grant;
    ngx_http_token_request_t   *sent;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;
    grant = (tlcf->auth.grant_alg && !request->refresh_grant);

    if (tlcf->auth.alg == NULL && !grant) {
        return request;
    }

    sent = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));
    if (sent == NULL) {
        return NULL;
    }

    *sent = *request;

    rc = NGX_OK;
    key = NULL;

    if (grant || tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT) {
        key = ngx_http_token_key_current(tlcf->auth.private_key, r);
    }

    if (grant) {
        rc = ngx_http_token_assertion(r->pool, tlcf,
                                      ngx_http_token_key_alg(tlcf, key), key,
                                      &request->claims, &assertion);

        if (rc == NGX_OK) {
            rc = ngx_http_token_append(r->pool, &sent->body, "assertion=",
                                       &assertion);
        }
    }

    if (tlcf->auth.alg && rc == NGX_OK) {
        rc = ngx_http_token_client_assertion(r->pool, request, key,
                                             &assertion);

        if (rc == NGX_OK) {
            rc = ngx_http_token_append(r->pool, &sent->body,
                                       "client_assertion_type="
                                       "urn%3Aietf%3Aparams%3Aoauth"
                                       "%3Aclient-assertion-type%3Ajwt-bearer"
                                       "&client_assertion=", &assertion);
        }
    }

    if (rc != NGX_OK) {
        ERR_clear_error();

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "signing an assertion failed");
        return NULL;
    }

    return sent;
}


static ngx_int_t
ngx_http_token_client_assertion(ngx_pool_t *pool,
    ngx_http_token_request_t *request, EVP_PKEY *key, ngx_str_t *assertion)
{
    EVP_PKEY                   *secret;
    ngx_int_t                   rc;
    ngx_str_t                   text;
    ngx_http_token_alg_t       *alg;
    ngx_http_token_pair_t       claims[3];
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    /* RFC 7523 3 */

    ngx_str_set(&claims[0].name, "iss");
    claims[0].value = request->client_id;

    ngx_str_set(&claims[1].name, "sub");
    claims[1].value = request->client_id;

    ngx_str_set(&claims[2].name, "aud");
    claims[2].value = tlcf->auth.audience ? request->audience
                                          : request->endpoint;

    if (ngx_http_token_write_claims(pool, claims, 3, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    secret = NULL;

    if (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_JWT) {
        secret = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL,
                                              request->secret.data,
                                              request->secret.len);
        key = secret;
        alg = tlcf->auth.alg;

    } else {
        alg = ngx_http_token_key_alg(tlcf, key);
    }

    rc = ngx_http_token_assertion(pool, tlcf, alg, key, &text, assertion);

    EVP_PKEY_free(secret);

    return rc;
}


/* adds a parameter to a form; what is signed needs no encoding */

static ngx_int_t
ngx_http_token_append(ngx_pool_t *pool, ngx_str_t *body, char *before,
    ngx_str_t *assertion)
{
    u_char  *p, *data;
    size_t   len;

    len = ngx_strlen(before);

    data = ngx_pnalloc(pool, body->len + 1 + len + assertion->len);
    if (data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(data, body->data, body->len);

    if (body->len) {
        *p++ = '&';
    }

    p = ngx_cpymem(p, before, len);
    p = ngx_cpymem(p, assertion->data, assertion->len);

    body->data = data;
    body->len = p - data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_assertion(ngx_pool_t *pool, ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_alg_t *alg, EVP_PKEY *key, ngx_str_t *claims,
    ngx_str_t *assertion)
{
    u_char     *p, *plain, *end;
    size_t      len, size;
    u_char      random[NGX_HTTP_TOKEN_JTI_LEN];
    ngx_str_t   signature;

    if (key == NULL || alg == NULL
        || RAND_bytes(random, NGX_HTTP_TOKEN_JTI_LEN) != 1)
    {
        return NGX_ERROR;
    }

    /* every character of a key's id may be escaped */

    len = sizeof("{\"alg\":\"\",\"typ\":\"JWT\",\"kid\":\"\",\"x5t\":\"\","
                 "\"x5t#S256\":\"\"}{\"jti\":\"\",\"iat\":,\"exp\":}")
          + alg->name.len + 2 * tlcf->auth.key_id.len + claims->len
          + 2 * NGX_HTTP_TOKEN_JTI_LEN + 2 * NGX_TIME_T_LEN;

    if (tlcf->auth.certificate) {
        len += tlcf->auth.certificate->x5t.len
               + tlcf->auth.certificate->x5t_s256.len;
    }

    plain = ngx_pnalloc(pool, len);
    if (plain == NULL) {
        return NGX_ERROR;
    }

    size = ngx_max(EVP_PKEY_size(key), EVP_MAX_MD_SIZE);

    /* three parts, the rounding of each, and dots */

    p = ngx_pnalloc(pool, ngx_base64_encoded_length(len)
                          + ngx_base64_encoded_length(size) + 3 * 4 + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    assertion->data = p;

    end = ngx_http_token_assertion_header(plain, tlcf, alg);
    p = ngx_http_token_base64url(p, plain, end - plain);
    *p++ = '.';

    end = ngx_http_token_assertion_claims(plain, claims, random);
    p = ngx_http_token_base64url(p, plain, end - plain);

    assertion->len = p - assertion->data;

    if (ngx_http_token_sign(pool, alg, key, assertion, &signature) != NGX_OK) {
        return NGX_ERROR;
    }

    *p++ = '.';
    p = ngx_http_token_base64url(p, signature.data, signature.len);

    assertion->len = p - assertion->data;

    return NGX_OK;
}


/* RFC 7515 4.1 */

static u_char *
ngx_http_token_assertion_header(u_char *p, ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_alg_t *alg)
{
    ngx_http_token_cert_t  *certificate;

    static ngx_str_t  kid = ngx_string("kid");

    p = ngx_sprintf(p, "{\"alg\":\"%V\",\"typ\":\"JWT\"", &alg->name);

    if (tlcf->auth.key_id.len) {
        *p++ = ',';
        p = (u_char *) ngx_http_token_json_pair(p, &kid, &tlcf->auth.key_id);
    }

    certificate = tlcf->auth.certificate;

    if (certificate && alg->method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT) {
        p = ngx_sprintf(p, ",\"x5t\":\"%V\",\"x5t#S256\":\"%V\"",
                        &certificate->x5t, &certificate->x5t_s256);
    }

    *p++ = '}';

    return p;
}


/* the times and the id are of this very assertion, RFC 7519 4.1 */

static u_char *
ngx_http_token_assertion_claims(u_char *p, ngx_str_t *claims, u_char *random)
{
    time_t  iat;

    iat = ngx_time() - NGX_HTTP_TOKEN_ASSERTION_AGE;

    p = ngx_sprintf(p, "{%V\"jti\":\"", claims);
    p = ngx_http_token_base64url(p, random, NGX_HTTP_TOKEN_JTI_LEN);

    return ngx_sprintf(p, "\",\"iat\":%T,\"exp\":%T}", iat,
                       iat + NGX_HTTP_TOKEN_ASSERTION_LIFETIME);
}
