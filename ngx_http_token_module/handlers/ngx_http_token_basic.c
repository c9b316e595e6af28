
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The Basic check of callers, RFC 7617.
 */


#include "ngx_http_token_handlers.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>


static ngx_int_t ngx_http_token_basic_check(ngx_http_request_t *r,
    ngx_http_token_basic_conf_t *basic);
static ngx_int_t ngx_http_token_basic_decode(ngx_http_request_t *r,
    ngx_str_t *plain);
static ngx_int_t ngx_http_token_basic_find(ngx_http_request_t *r,
    ngx_array_t *users, ngx_str_t *name, ngx_str_t *password);
static ngx_int_t ngx_http_token_basic_password(ngx_http_request_t *r,
    ngx_http_token_user_t *user, u_char *digest, ngx_uint_t *usable);


static ngx_str_t  ngx_http_token_basic_error = ngx_string(
    "{\"error\":\"access_denied\",\"error_description\":"
    "\"A valid user name and password are required.\"}");


ngx_int_t
ngx_http_token_basic_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_table_elt_t            *h;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->enable != 1 || tlcf->basic.challenge.len == 0) {
        return NGX_DECLINED;
    }

    rc = ngx_http_token_basic_check(r, &tlcf->basic);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token basic check: %i", rc);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    ctx = ngx_http_token_ctx(r);
    h = ngx_http_token_add_header(r, "WWW-Authenticate",
                                  &tlcf->basic.challenge);

    if (rc == NGX_ERROR || ctx == NULL || h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.www_authenticate = h;
    ctx->challenge = h;

    /* error pages of the levels outside give way to the JSON error */

    if (tlcf->error_pages == NULL) {
        r->error_page = 1;
    }

    return NGX_HTTP_UNAUTHORIZED;
}


/*
 * Returns NGX_OK, NGX_DECLINED or NGX_ERROR.  Neither the name nor the password
 * may be logged.
 */

static ngx_int_t
ngx_http_token_basic_check(ngx_http_request_t *r,
    ngx_http_token_basic_conf_t *basic)
{
    u_char     *colon;
    ngx_int_t   rc;
    ngx_str_t   plain, name, password;

    if (r->headers_in.authorization == NULL) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "no user name and password for the token location");
        return NGX_DECLINED;
    }

    rc = ngx_http_token_basic_decode(r, &plain);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    colon = NULL;

    if (rc == NGX_OK) {
        colon = ngx_strlchr(plain.data, plain.data + plain.len, ':');
    }

    if (colon) {
        name.data = plain.data;
        name.len = colon - plain.data;
        password.data = colon + 1;
        password.len = plain.data + plain.len - password.data;

        rc = ngx_http_token_basic_find(r, basic->users, &name, &password);

    } else {
        rc = NGX_DECLINED;
    }

    ngx_explicit_memzero(plain.data, plain.len);

    if (rc == NGX_DECLINED) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "wrong user name or password for the token location");
    }

    return rc;
}


static ngx_int_t
ngx_http_token_basic_decode(ngx_http_request_t *r, ngx_str_t *plain)
{
    size_t     len;
    ngx_str_t  encoded;

    ngx_str_null(plain);

    encoded = r->headers_in.authorization->value;

    if (encoded.len < sizeof("Basic ") - 1
        || ngx_strncasecmp(encoded.data, (u_char *) "Basic ",
                           sizeof("Basic ") - 1)
           != 0)
    {
        return NGX_DECLINED;
    }

    encoded.len -= sizeof("Basic ") - 1;
    encoded.data += sizeof("Basic ") - 1;

    while (encoded.len && encoded.data[0] == ' ') {
        encoded.len--;
        encoded.data++;
    }

    /* ngx_decode_base64() takes what has no padding */

    if (encoded.len % 4) {
        return NGX_DECLINED;
    }

    /* ngx_decode_base64() stops at a "=", and reads nothing behind it */

    for (len = encoded.len; len; len--) {
        if (encoded.data[len - 1] != '=') {
            break;
        }
    }

    if (len == 0 || encoded.len - len > 2
        || ngx_strlchr(encoded.data, encoded.data + len, '='))
    {
        return NGX_DECLINED;
    }

    plain->len = ngx_base64_decoded_length(encoded.len);
    plain->data = ngx_pnalloc(r->pool, plain->len);
    if (plain->data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_decode_base64(plain, &encoded) != NGX_OK) {
        ngx_str_null(plain);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* compares with all users, so that the time does not tell which one matches */

static ngx_int_t
ngx_http_token_basic_find(ngx_http_request_t *r, ngx_array_t *users,
    ngx_str_t *name, ngx_str_t *password)
{
    u_char                  name_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    u_char                  password_digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    u_char                  digest[NGX_HTTP_TOKEN_DIGEST_LEN];
    ngx_int_t               rc;
    ngx_uint_t              i, usable, found;
    ngx_http_token_user_t  *user;

    if (ngx_http_token_basic_digest(name, name_digest) != NGX_OK
        || ngx_http_token_basic_digest(password, password_digest) != NGX_OK)
    {
        return NGX_ERROR;
    }

    user = users->elts;

    rc = NGX_OK;
    found = 0;

    ngx_memzero(digest, NGX_HTTP_TOKEN_DIGEST_LEN);

    for (i = 0; i < users->nelts; i++) {

        if (ngx_http_token_basic_password(r, &user[i], digest, &usable)
            != NGX_OK)
        {
            rc = NGX_ERROR;
            usable = 0;
        }

        found |= usable
                 & (CRYPTO_memcmp(name_digest, user[i].name_digest,
                                  NGX_HTTP_TOKEN_DIGEST_LEN)
                    == 0)
                 & (CRYPTO_memcmp(password_digest, digest,
                                  NGX_HTTP_TOKEN_DIGEST_LEN)
                    == 0);
    }

    ngx_explicit_memzero(digest, NGX_HTTP_TOKEN_DIGEST_LEN);
    ngx_explicit_memzero(password_digest, NGX_HTTP_TOKEN_DIGEST_LEN);

    if (rc != NGX_OK) {
        return rc;
    }

    return found ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_token_basic_password(ngx_http_request_t *r,
    ngx_http_token_user_t *user, u_char *digest, ngx_uint_t *usable)
{
    ngx_int_t  rc;
    ngx_str_t  password;

    *usable = 1;

    if (user->file) {

        if (ngx_http_token_watch_text(user->file, r, &password) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (user->password == NULL) {
        ngx_memcpy(digest, user->password_digest, NGX_HTTP_TOKEN_DIGEST_LEN);
        return NGX_OK;

    } else if (ngx_http_token_secret_value(r, user->password, &password)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a variable that is not set matches no password */

    if (password.len == 0) {
        *usable = 0;
    }

    rc = ngx_http_token_basic_digest(&password, digest);

    ngx_explicit_memzero(password.data, password.len);

    return rc;
}


ngx_int_t
ngx_http_token_basic_digest(ngx_str_t *text, u_char *digest)
{
    unsigned int  len;

    if (EVP_Digest(text->data, text->len, digest, &len, EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Whether there will be a 401 is not known in the access phase, with "satisfy
 * any".  So nginx's own answer is made, and its body replaced.
 */

void
ngx_http_token_basic_header_filter(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || ctx->challenge == NULL || ctx->own_response) {
        return;
    }

    if (r->headers_out.status != NGX_HTTP_UNAUTHORIZED) {

        /* another check was satisfied */

        ctx->challenge->hash = 0;
        return;
    }

    ngx_http_token_own_response(r, ctx);

    ctx->replace_body = 1;

    r->headers_out.content_length_n = ngx_http_token_basic_error.len;
    r->headers_out.content_type = ngx_http_token_json_type;
    r->headers_out.content_type_len = ngx_http_token_json_type.len;
    r->headers_out.content_type_lowcase = NULL;
}


ngx_int_t
ngx_http_token_basic_body_filter(ngx_http_request_t *r, ngx_chain_t **in)
{
    ngx_buf_t             *b;
    ngx_chain_t           *cl;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || !ctx->replace_body || *in == NULL) {
        return NGX_OK;
    }

    ctx->replace_body = 0;

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->pos = ngx_http_token_basic_error.data;
    b->last = b->pos + ngx_http_token_basic_error.len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    cl->buf = b;
    cl->next = NULL;

    *in = cl;

    return NGX_OK;
}
