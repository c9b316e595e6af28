
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Forms, application/x-www-form-urlencoded: what a token request has, and
 * what a refresh grant of a caller has.
 */


#include "ngx_http_token_util.h"


static ngx_int_t ngx_http_token_form_param(ngx_pool_t *pool, ngx_str_t *pair,
    ngx_http_token_grant_t *grant);
static ngx_uint_t ngx_http_token_form_valid(ngx_str_t *text);


uintptr_t
ngx_http_token_form_encode(u_char *dst, ngx_str_t *src)
{
    u_char         ch;
    size_t         i, len;

    static u_char  hex[] = "0123456789ABCDEF";

    len = 0;

    for (i = 0; i < src->len; i++) {
        ch = src->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9')
            || ch == '*' || ch == '-' || ch == '.' || ch == '_' || ch == ' ')
        {
            len++;

            if (dst) {
                *dst++ = (ch == ' ') ? '+' : ch;
            }

            continue;
        }

        len += 3;

        if (dst) {
            *dst++ = '%';
            *dst++ = hex[ch >> 4];
            *dst++ = hex[ch & 0xf];
        }
    }

    return dst ? (uintptr_t) dst : (uintptr_t) len;
}


u_char *
ngx_http_token_form_decode(u_char *dst, ngx_str_t *src)
{
    size_t     i;
    ngx_int_t  ch;

    for (i = 0; i < src->len; i++) {
        ch = src->data[i];

        if (ch == '+') {
            ch = ' ';

        } else if (ch == '%' && src->len - i > 2) {
            ch = ngx_hextoi(&src->data[i + 1], 2);
            i += 2;
        }

        *dst++ = (u_char) ch;
    }

    return dst;
}


ngx_int_t
ngx_http_token_form_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_token_grant_t *grant)
{
    u_char     *p, *last, *end;
    ngx_str_t   pair;

    ngx_memzero(grant, sizeof(ngx_http_token_grant_t));

    p = text->data;
    last = p + text->len;

    for ( /* void */ ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        pair.data = p;
        pair.len = end - p;

        if (!ngx_http_token_form_valid(&pair)) {
            grant->malformed = 1;
            return NGX_OK;
        }

        if (ngx_http_token_form_param(pool, &pair, grant) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* other parameters are ignored, and go nowhere (RFC 6749 3.2) */

static ngx_int_t
ngx_http_token_form_param(ngx_pool_t *pool, ngx_str_t *pair,
    ngx_http_token_grant_t *grant)
{
    u_char     *p, *last;
    size_t      i;
    ngx_str_t   name, src, *value;

    last = pair->data + pair->len;

    p = ngx_strlchr(pair->data, last, '=');
    if (p == NULL) {
        p = last;
    }

    src.data = pair->data;
    src.len = p - pair->data;

    name.data = ngx_pnalloc(pool, pair->len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_http_token_form_decode(name.data, &src) - name.data;

    if (name.len == sizeof("grant_type") - 1
        && ngx_strncmp(name.data, "grant_type", name.len) == 0)
    {
        value = &grant->type;

    } else if (name.len == sizeof("refresh_token") - 1
               && ngx_strncmp(name.data, "refresh_token", name.len) == 0)
    {
        value = &grant->token;

    } else if (name.len == sizeof("scope") - 1
               && ngx_strncmp(name.data, "scope", name.len) == 0)
    {
        value = &grant->scope;

    } else {
        return NGX_OK;
    }

    if (value->data) {
        grant->malformed = 1;
        return NGX_OK;
    }

    src.data = (p < last) ? p + 1 : p;
    src.len = last - src.data;

    value->data = name.data + name.len;
    value->len = ngx_http_token_form_decode(value->data, &src) - value->data;

    /* RFC 6749 appendix A */

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < 0x20 || value->data[i] > 0x7e) {
            grant->malformed = 1;
        }
    }

    return NGX_OK;
}


/* whether two digits follow each percent sign */

static ngx_uint_t
ngx_http_token_form_valid(ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] == '%'
            && (text->len - i < 3
                || ngx_hextoi(&text->data[i + 1], 2) == NGX_ERROR))
        {
            return 0;
        }
    }

    return 1;
}
