
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What the store keeps is sealed: it learns neither a token nor whose it is,
 * and cannot make one, or a failure, that a machine would believe.
 */


#include "ngx_http_token_cache.h"

#include <openssl/hmac.h>
#include <openssl/rand.h>


#define NGX_HTTP_TOKEN_SEAL_NONCE  12
#define NGX_HTTP_TOKEN_SEAL_TAG    16


static ngx_int_t ngx_http_token_hmac(u_char *key, size_t key_len, u_char *data,
    size_t len, u_char *digest);
static ngx_int_t ngx_http_token_seal_crypt(ngx_uint_t seal, u_char *key,
    u_char *nonce, ngx_str_t *with, ngx_str_t *in, u_char *out, u_char *tag);


/* HKDF, RFC 5869, of one block each */

ngx_int_t
ngx_http_token_seal_keys(ngx_str_t *secret, ngx_http_token_seal_t *keys)
{
    u_char     prk[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_int_t  rc;

    static u_char  salt[] = "ngx_http_token_module store";
    static u_char  name[] = "name\1";
    static u_char  seal[] = "seal\1";

    rc = ngx_http_token_hmac(salt, sizeof(salt) - 1, secret->data,
                             secret->len, prk);

    if (rc == NGX_OK) {
        rc = ngx_http_token_hmac(prk, sizeof(prk), name, sizeof(name) - 1,
                                 keys->name);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_token_hmac(prk, sizeof(prk), seal, sizeof(seal) - 1,
                                 keys->seal);
    }

    ngx_explicit_memzero(prk, sizeof(prk));

    return rc;
}


ngx_int_t
ngx_http_token_seal_name(ngx_http_token_seal_t *keys, u_char *digest,
    u_char *name)
{
    return ngx_http_token_hmac(keys->name, NGX_HTTP_TOKEN_DIGEST_LEN, digest,
                               NGX_HTTP_TOKEN_DIGEST_LEN, name);
}


static ngx_int_t
ngx_http_token_hmac(u_char *key, size_t key_len, u_char *data, size_t len,
    u_char *digest)
{
    unsigned int  n;

    return (HMAC(EVP_sha256(), key, (int) key_len, data, len, digest, &n)
            != NULL)
           ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_token_seal(ngx_pool_t *pool, ngx_http_token_seal_t *keys,
    ngx_str_t *with, ngx_str_t *text, ngx_str_t *sealed)
{
    u_char  *p;

    sealed->len = NGX_HTTP_TOKEN_SEAL_NONCE + text->len
                  + NGX_HTTP_TOKEN_SEAL_TAG;

    p = ngx_pnalloc(pool, sealed->len);

    if (p == NULL || RAND_bytes(p, NGX_HTTP_TOKEN_SEAL_NONCE) != 1) {
        return NGX_ERROR;
    }

    sealed->data = p;

    return ngx_http_token_seal_crypt(1, keys->seal, p, with, text,
                                     p + NGX_HTTP_TOKEN_SEAL_NONCE,
                                     p + NGX_HTTP_TOKEN_SEAL_NONCE
                                       + text->len);
}


ngx_int_t
ngx_http_token_unseal(ngx_pool_t *pool, ngx_http_token_seal_t *keys,
    ngx_str_t *with, ngx_str_t *sealed, ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   in;

    if (sealed->len <= NGX_HTTP_TOKEN_SEAL_NONCE + NGX_HTTP_TOKEN_SEAL_TAG) {
        return NGX_DECLINED;
    }

    in.data = sealed->data + NGX_HTTP_TOKEN_SEAL_NONCE;
    in.len = sealed->len - NGX_HTTP_TOKEN_SEAL_NONCE - NGX_HTTP_TOKEN_SEAL_TAG;

    /* a NUL behind it, since numbers in it are read by strtod() */

    p = ngx_pnalloc(pool, in.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p[in.len] = '\0';

    text->data = p;
    text->len = in.len;

    return ngx_http_token_seal_crypt(0, keys->seal, sealed->data, with, &in, p,
                                     in.data + in.len);
}


/* AES-256-GCM; the tag is written, or checked: NGX_DECLINED if it is wrong */

static ngx_int_t
ngx_http_token_seal_crypt(ngx_uint_t seal, u_char *key, u_char *nonce,
    ngx_str_t *with, ngx_str_t *in, u_char *out, u_char *tag)
{
    int              n;
    u_char           end[16];
    ngx_int_t        rc;
    EVP_CIPHER_CTX  *ctx;

    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, (int) seal)
        != 1
        || EVP_CipherUpdate(ctx, NULL, &n, with->data, (int) with->len) != 1
        || EVP_CipherUpdate(ctx, out, &n, in->data, (int) in->len) != 1)
    {
        goto done;
    }

    if (!seal
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG,
                               NGX_HTTP_TOKEN_SEAL_TAG, tag)
           != 1)
    {
        goto done;
    }

    /* GCM has no padding, so that nothing is written at the end */

    if (EVP_CipherFinal_ex(ctx, end, &n) != 1) {
        rc = seal ? NGX_ERROR : NGX_DECLINED;
        goto done;
    }

    if (seal
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG,
                               NGX_HTTP_TOKEN_SEAL_TAG, tag)
           != 1)
    {
        goto done;
    }

    rc = NGX_OK;

done:

    EVP_CIPHER_CTX_free(ctx);

    return rc;
}
