
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The lifetime of a token: what its answer says of it, in one of the forms that
 * endpoints use.
 */


#include "ngx_http_token_endpoint.h"


#define NGX_HTTP_TOKEN_MAX_LIFETIME  315360000  /* ten years */


static ngx_int_t ngx_http_token_jwt_lifetime(ngx_pool_t *pool,
    ngx_array_t *members, double *seconds);
static ngx_int_t ngx_http_token_jwt_claims(ngx_pool_t *pool, ngx_str_t *token,
    ngx_array_t **claims);
static ngx_int_t ngx_http_token_expiry_lifetime(ngx_array_t *members,
    char *name, double *seconds);
static ngx_int_t ngx_http_token_number(ngx_array_t *members, char *name,
    double *n);


int64_t
ngx_http_token_lifetime(ngx_pool_t *pool, ngx_array_t *members)
{
    double  seconds;

    if ((ngx_http_token_number(members, "expires_in", &seconds) != NGX_OK
         || seconds < 0)
        && ngx_http_token_jwt_lifetime(pool, members, &seconds) != NGX_OK
        && ngx_http_token_expiry_lifetime(members, "expires_at", &seconds)
           != NGX_OK
        && ngx_http_token_expiry_lifetime(members, "expires_on", &seconds)
           != NGX_OK)
    {
        return -1;
    }

    if (seconds <= 0) {
        return 0;
    }

    return (seconds < NGX_HTTP_TOKEN_MAX_LIFETIME)
           ? (int64_t) (seconds * 1000)
           : (int64_t) NGX_HTTP_TOKEN_MAX_LIFETIME * 1000;
}


/*
 * RFC 9068 and RFC 7519 4.1.4: between iat and exp, both by the endpoint's
 * clock, or else from now on.  Milliseconds count as absent.
 */

static ngx_int_t
ngx_http_token_jwt_lifetime(ngx_pool_t *pool, ngx_array_t *members,
    double *seconds)
{
    double                    exp, iat;
    ngx_array_t              *claims;
    ngx_http_token_member_t  *token;

    token = ngx_http_token_json_find(members, "access_token");

    if (token == NULL
        || ngx_http_token_jwt_claims(pool, &token->string, &claims) != NGX_OK
        || ngx_http_token_number(claims, "exp", &exp) != NGX_OK
        || exp - ngx_time() >= NGX_HTTP_TOKEN_MAX_LIFETIME)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_token_number(claims, "iat", &iat) != NGX_OK) {
        iat = ngx_time();
    }

    *seconds = exp - iat;

    return NGX_OK;
}


/* the payload of a JWS in its compact form, RFC 7515 3.1 */

static ngx_int_t
ngx_http_token_jwt_claims(ngx_pool_t *pool, ngx_str_t *token,
    ngx_array_t **claims)
{
    u_char     *p, *last;
    ngx_str_t   payload, text;

    last = token->data + token->len;

    p = ngx_strlchr(token->data, last, '.');
    if (p == NULL) {
        return NGX_DECLINED;
    }

    payload.data = p + 1;

    p = ngx_strlchr(payload.data, last, '.');

    if (p == NULL || ngx_strlchr(p + 1, last, '.')) {
        return NGX_DECLINED;
    }

    payload.len = p - payload.data;

    text.data = ngx_pnalloc(pool, ngx_base64_decoded_length(payload.len) + 1);

    if (text.data == NULL
        || ngx_decode_base64url(&text, &payload) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_token_json_parse(pool, &text, claims);
}


/* seconds since 1970; what is no such time counts as absent */

static ngx_int_t
ngx_http_token_expiry_lifetime(ngx_array_t *members, char *name,
    double *seconds)
{
    double  expiry;

    if (ngx_http_token_number(members, name, &expiry) != NGX_OK) {
        return NGX_DECLINED;
    }

    *seconds = expiry - ngx_time();

    return (*seconds < NGX_HTTP_TOKEN_MAX_LIFETIME) ? NGX_OK : NGX_DECLINED;
}


/* a number, or a string that is just a number */

static ngx_int_t
ngx_http_token_number(ngx_array_t *members, char *name, double *n)
{
    char                     *end;
    size_t                    i;
    ngx_str_t                *text;
    ngx_http_token_member_t  *m;

    m = ngx_http_token_json_find(members, name);

    if (m == NULL) {
        return NGX_DECLINED;
    }

    text = m->is_string ? &m->string : &m->value;

    *n = ngx_atoi(text->data, text->len);

    if (*n != NGX_ERROR) {
        return NGX_OK;
    }

    /* strtod() takes "inf", "0x10" and white space as well */

    for (i = 0; i < text->len; i++) {
        if (ngx_strchr("0123456789.+-eE", text->data[i]) == NULL) {
            return NGX_DECLINED;
        }
    }

    /* a quote, a brace or a comma follows, which end a number */

    *n = strtod((char *) text->data, &end);

    return (text->len && (u_char *) end == text->data + text->len)
           ? NGX_OK : NGX_DECLINED;
}
