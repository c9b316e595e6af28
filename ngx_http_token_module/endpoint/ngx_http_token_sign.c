
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Signatures of assertions: algorithms, and private keys, which are read from
 * a file when the configuration is read, and again when the file has changed.
 */


#include "ngx_http_token_endpoint.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>


static int ngx_http_token_key_no_password(char *buf, int size, int rwflag,
    void *data);
static char *ngx_http_token_key_check(ngx_http_token_key_t *key,
    EVP_PKEY *pkey, ngx_pool_t *pool);
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


EVP_PKEY *
ngx_http_token_key_parse(ngx_str_t *text)
{
    BIO       *bio;
    EVP_PKEY  *pkey;

    bio = BIO_new_mem_buf(text->data, text->len);
    if (bio == NULL) {
        ERR_clear_error();
        return NULL;
    }

    pkey = PEM_read_bio_PrivateKey(bio, NULL, ngx_http_token_key_no_password,
                                   NULL);
    BIO_free(bio);

    /* OpenSSL's error for a file without a key is "unsupported" */

    ERR_clear_error();

    return pkey;
}


/* OpenSSL would ask for it at the terminal */

static int
ngx_http_token_key_no_password(char *buf, int size, int rwflag, void *data)
{
    return -1;
}


ngx_http_token_alg_t *
ngx_http_token_key_alg(ngx_http_token_loc_conf_t *tlcf, EVP_PKEY *pkey)
{
    ngx_str_t  name;

    ngx_str_null(&name);

    if (tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT) {
        name = tlcf->auth.alg_name;
    }

    return ngx_http_token_find_alg(NGX_HTTP_TOKEN_PRIVATE_KEY_JWT, &name,
                                   pkey);
}


ngx_uint_t
ngx_http_token_key_signs(ngx_pool_t *pool, ngx_http_token_alg_t *alg,
    EVP_PKEY *pkey)
{
    ngx_str_t  text, signature;

    ngx_str_set(&text, "any");

    if (ngx_http_token_sign(pool, alg, pkey, &text, &signature) == NGX_OK) {
        return 1;
    }

    ERR_clear_error();

    return 0;
}


EVP_PKEY *
ngx_http_token_key_current(ngx_http_token_key_t *key, ngx_http_request_t *r)
{
    char       *wrong;
    EVP_PKEY   *pkey;
    ngx_str_t   text;
    ngx_log_t  *log;

    if (ngx_http_token_watch_look(key->file, r, &text) != NGX_OK) {
        return key->pkey;
    }

    log = r->connection->log;

    pkey = ngx_http_token_key_parse(&text);

    ngx_explicit_memzero(text.data, text.len);

    wrong = pkey ? ngx_http_token_key_check(key, pkey, r->pool)
                 : "is not a PEM file with a private key that needs no "
                   "password";

    if (wrong) {
        EVP_PKEY_free(pkey);

        ngx_http_token_watch_warn(key->file, log, 0, "", wrong);

        return key->pkey;
    }

    ngx_http_token_watch_notice(key->file, log);

    /* OpenSSL overwrites what it frees of a key */

    EVP_PKEY_free(key->pkey);
    key->pkey = pkey;

    return pkey;
}


/* every location has to be able to use a new key */

static char *
ngx_http_token_key_check(ngx_http_token_key_t *key, EVP_PKEY *pkey,
    ngx_pool_t *pool)
{
    ngx_uint_t                    i;
    ngx_http_token_alg_t         *alg;
    ngx_http_token_cert_t        *certificate;
    ngx_http_token_loc_conf_t   **user;

    user = key->users.elts;

    for (i = 0; i < key->users.nelts; i++) {

        alg = ngx_http_token_key_alg(user[i], pkey);

        if (alg == NULL || !ngx_http_token_key_signs(pool, alg, pkey)) {
            return "does not fit the algorithm";
        }

        certificate = user[i]->auth.certificate;

        if (certificate && X509_check_private_key(certificate->x509, pkey) != 1)
        {
            ERR_clear_error();
            return "does not belong to the certificate";
        }
    }

    return NULL;
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
