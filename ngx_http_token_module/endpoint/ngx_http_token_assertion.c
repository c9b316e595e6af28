
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Assertions (RFC 7521, RFC 7523), with which a client authenticates itself by
 * a signature, or asks for a token: a JWT of its own for each call of the
 * endpoint.
 */


#include "ngx_http_token_endpoint.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>


/* seconds; the clock of an endpoint may be behind */

#define NGX_HTTP_TOKEN_ASSERTION_LIFETIME  60
#define NGX_HTTP_TOKEN_ASSERTION_AGE       10

#define NGX_HTTP_TOKEN_JTI_LEN             16


static ngx_int_t ngx_http_token_client_assertion(ngx_pool_t *pool,
    ngx_http_token_request_t *request, ngx_str_t *assertion);
static ngx_int_t ngx_http_token_assertion(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_alg_t *alg, EVP_PKEY *key,
    ngx_str_t *claims, ngx_str_t *assertion);
static u_char *ngx_http_token_assertion_header(u_char *p,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_alg_t *alg);
static u_char *ngx_http_token_assertion_claims(u_char *p, ngx_str_t *claims,
    u_char *random);
static ngx_int_t ngx_http_token_append(ngx_pool_t *pool, ngx_str_t *body,
    char *before, ngx_str_t *assertion);
static ngx_int_t ngx_http_token_raw_ecdsa(ngx_http_token_alg_t *alg,
    ngx_str_t *signature);


/* RFC 7518 3.1, RFC 8037 3.1; the first one that fits a key is its default */

static ngx_http_token_alg_t  ngx_http_token_algs[] = {

    { ngx_string("HS256"), NGX_HTTP_TOKEN_CLIENT_SECRET_JWT,
      EVP_PKEY_HMAC, NID_undef, 256, EVP_sha256, 0 },
    { ngx_string("HS384"), NGX_HTTP_TOKEN_CLIENT_SECRET_JWT,
      EVP_PKEY_HMAC, NID_undef, 384, EVP_sha384, 0 },
    { ngx_string("HS512"), NGX_HTTP_TOKEN_CLIENT_SECRET_JWT,
      EVP_PKEY_HMAC, NID_undef, 512, EVP_sha512, 0 },
    { ngx_string("RS256"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_RSA, NID_undef, 2048, EVP_sha256, 0 },
    { ngx_string("PS256"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_RSA, NID_undef, 2048, EVP_sha256, 1 },
    { ngx_string("PS256"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_RSA_PSS, NID_undef, 2048, EVP_sha256, 1 },
    { ngx_string("ES256"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_EC, NID_X9_62_prime256v1, 256, EVP_sha256, 0 },
    { ngx_string("ES384"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_EC, NID_secp384r1, 384, EVP_sha384, 0 },
    { ngx_string("EdDSA"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_ED25519, NID_undef, 0, NULL, 0 },
    { ngx_string("EdDSA"), NGX_HTTP_TOKEN_PRIVATE_KEY_JWT,
      EVP_PKEY_ED448, NID_undef, 0, NULL, 0 },
    { ngx_null_string, 0, 0, 0, 0, NULL, 0 }
};


ngx_http_token_alg_t *
ngx_http_token_find_alg(ngx_uint_t method, ngx_str_t *name, EVP_PKEY *key)
{
    int                    type, curve, bits;
    ngx_http_token_alg_t  *alg;

    type = key ? EVP_PKEY_id(key) : 0;
    bits = key ? EVP_PKEY_bits(key) : 0;
    curve = (type == EVP_PKEY_EC) ? ngx_http_token_curve(key) : NID_undef;

    for (alg = ngx_http_token_algs; alg->name.len; alg++) {

        if (alg->method != method) {
            continue;
        }

        if (name->len && (name->len != alg->name.len
                          || ngx_strncmp(name->data, alg->name.data, name->len)
                             != 0))
        {
            continue;
        }

        if (key == NULL
            || (type == alg->type && curve == alg->curve && bits >= alg->bits))
        {
            return alg;
        }
    }

    return NULL;
}


int
ngx_http_token_curve(EVP_PKEY *key)
{
#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)

    char  name[64];

    if (EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) != 1) {
        return NID_undef;
    }

    return OBJ_txt2nid(name);

#else

    return EC_GROUP_get_curve_name(EC_KEY_get0_group(
                                                EVP_PKEY_get0_EC_KEY(key)));

#endif
}


ngx_http_token_request_t *
ngx_http_token_sign_request(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
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

    if (grant) {
        rc = ngx_http_token_assertion(r->pool, tlcf, tlcf->auth.grant_alg,
                                      tlcf->auth.private_key->pkey,
                                      &request->claims, &assertion);

        if (rc == NGX_OK) {
            rc = ngx_http_token_append(r->pool, &sent->body, "assertion=",
                                       &assertion);
        }
    }

    if (tlcf->auth.alg && rc == NGX_OK) {
        rc = ngx_http_token_client_assertion(r->pool, request, &assertion);

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
    ngx_http_token_request_t *request, ngx_str_t *assertion)
{
    EVP_PKEY                   *key, *secret;
    ngx_int_t                   rc;
    ngx_str_t                   text;
    ngx_keyval_t                claims[3];
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    /* RFC 7523 3 */

    ngx_str_set(&claims[0].key, "iss");
    claims[0].value = request->client_id;

    ngx_str_set(&claims[1].key, "sub");
    claims[1].value = request->client_id;

    ngx_str_set(&claims[2].key, "aud");
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

    } else {
        key = tlcf->auth.private_key->pkey;
    }

    rc = ngx_http_token_assertion(pool, tlcf, tlcf->auth.alg, key, &text,
                                  assertion);

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

    if (key == NULL || RAND_bytes(random, NGX_HTTP_TOKEN_JTI_LEN) != 1) {
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


ngx_int_t
ngx_http_token_sign(ngx_pool_t *pool, ngx_http_token_alg_t *alg, EVP_PKEY *key,
    ngx_str_t *text, ngx_str_t *signature)
{
    size_t         len;
    ngx_int_t      rc;
    EVP_MD_CTX    *md;
    EVP_PKEY_CTX  *ctx;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (EVP_DigestSignInit(md, &ctx, alg->digest ? alg->digest() : NULL, NULL,
                           key)
        != 1)
    {
        goto done;
    }

    if (alg->pss
        && (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) <= 0
            || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST)
               <= 0))
    {
        goto done;
    }

    if (EVP_DigestSign(md, NULL, &len, text->data, text->len) != 1) {
        goto done;
    }

    signature->data = ngx_pnalloc(pool, len);
    if (signature->data == NULL) {
        goto done;
    }

    if (EVP_DigestSign(md, signature->data, &len, text->data, text->len) != 1)
    {
        goto done;
    }

    signature->len = len;

    rc = (alg->type == EVP_PKEY_EC) ? ngx_http_token_raw_ecdsa(alg, signature)
                                    : NGX_OK;

done:

    EVP_MD_CTX_free(md);

    return rc;
}


/* RFC 7518 3.4: the two numbers in full length, in place of their DER */

static ngx_int_t
ngx_http_token_raw_ecdsa(ngx_http_token_alg_t *alg, ngx_str_t *signature)
{
    int            size;
    u_char         raw[2 * 48];
    ECDSA_SIG     *sig;
    ngx_int_t      rc;
    const u_char  *der;

    der = signature->data;
    size = alg->bits / 8;

    sig = d2i_ECDSA_SIG(NULL, &der, signature->len);
    if (sig == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, size) == size
        && BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + size, size) == size)
    {
        rc = NGX_OK;
    }

    ECDSA_SIG_free(sig);

    if (rc == NGX_OK) {
        signature->len = 2 * size;
        ngx_memcpy(signature->data, raw, signature->len);
    }

    return rc;
}
