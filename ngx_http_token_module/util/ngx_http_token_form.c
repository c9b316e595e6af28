
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Forms, application/x-www-form-urlencoded: what a token request has, and
 * what a refresh grant of a caller has.
 */


#include "ngx_http_token_util.h"


static ngx_int_t ngx_http_token_form_param(ngx_pool_t *pool, ngx_str_t *name,
    ngx_str_t *value, ngx_http_token_grant_t *grant);
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


ngx_uint_t
ngx_http_token_form_next(ngx_str_t *form, ngx_str_t *name, ngx_str_t *value)
{
    u_char  *p, *last, *end;

    if (form->len == 0) {
        return 0;
    }

    p = form->data;
    last = p + form->len;

    end = ngx_strlchr(p, last, '&');

    form->data = end ? end + 1 : last;
    form->len = last - form->data;

    end = end ? end : last;

    name->data = p;

    p = ngx_strlchr(p, end, '=');

    name->len = (p ? p : end) - name->data;

    value->data = p ? p + 1 : end;
    value->len = end - value->data;

    return 1;
}


ngx_int_t
ngx_http_token_form_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_token_grant_t *grant)
{
    ngx_str_t  form, name, value;

    ngx_memzero(grant, sizeof(ngx_http_token_grant_t));

    form = *text;

    while (ngx_http_token_form_next(&form, &name, &value)) {

        if (!ngx_http_token_form_valid(&name)
            || !ngx_http_token_form_valid(&value))
        {
            grant->malformed = 1;
            return NGX_OK;
        }

        if (ngx_http_token_form_param(pool, &name, &value, grant) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* other parameters are ignored, and go nowhere (RFC 6749 3.2) */

static ngx_int_t
ngx_http_token_form_param(ngx_pool_t *pool, ngx_str_t *name, ngx_str_t *value,
    ngx_http_token_grant_t *grant)
{
    u_char     *p;
    size_t      i;
    ngx_str_t   decoded, *field;

    decoded.data = ngx_pnalloc(pool, name->len + value->len + 1);
    if (decoded.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_http_token_form_decode(decoded.data, name);
    decoded.len = p - decoded.data;

    if (ngx_http_token_equals(&decoded, "grant_type")) {
        field = &grant->type;

    } else if (ngx_http_token_equals(&decoded, "refresh_token")) {
        field = &grant->token;

    } else if (ngx_http_token_equals(&decoded, "scope")) {
        field = &grant->scope;

    } else {
        return NGX_OK;
    }

    if (field->data) {
        grant->malformed = 1;
        return NGX_OK;
    }

    field->data = p;
    field->len = ngx_http_token_form_decode(p, value) - p;

    /* RFC 6749 appendix A */

    for (i = 0; i < field->len; i++) {
        if (field->data[i] < 0x20 || field->data[i] > 0x7e) {
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
