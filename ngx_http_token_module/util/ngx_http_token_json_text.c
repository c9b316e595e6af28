
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * JSON that is made of texts: strings, and an object of the parameters of
 * a form.
 */


#include "ngx_http_token_util.h"


static uintptr_t ngx_http_token_json_quote(u_char *dst, ngx_str_t *text);
static uintptr_t ngx_http_token_form_object(u_char *dst, u_char *buf,
    ngx_str_t *text);


uintptr_t
ngx_http_token_json_pair(u_char *dst, ngx_str_t *name, ngx_str_t *value)
{
    if (dst == NULL) {
        return ngx_http_token_json_quote(NULL, name) + 1
               + ngx_http_token_json_quote(NULL, value);
    }

    dst = (u_char *) ngx_http_token_json_quote(dst, name);
    *dst++ = ':';

    return ngx_http_token_json_quote(dst, value);
}


static uintptr_t
ngx_http_token_json_quote(u_char *dst, ngx_str_t *text)
{
    if (dst == NULL) {
        return text->len + ngx_escape_json(NULL, text->data, text->len) + 2;
    }

    *dst++ = '"';
    dst = (u_char *) ngx_escape_json(dst, text->data, text->len);
    *dst++ = '"';

    return (uintptr_t) dst;
}


ngx_int_t
ngx_http_token_form_json(ngx_pool_t *pool, ngx_str_t *text, ngx_str_t *json)
{
    u_char  *buf;

    /* a name and its value are decoded to it, which makes them no longer */

    buf = ngx_pnalloc(pool, text->len + 1);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    json->len = ngx_http_token_form_object(NULL, buf, text);

    json->data = ngx_pnalloc(pool, json->len);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_http_token_form_object(json->data, buf, text);

    ngx_explicit_memzero(buf, text->len);

    return NGX_OK;
}


static uintptr_t
ngx_http_token_form_object(u_char *dst, u_char *buf, ngx_str_t *text)
{
    size_t      len;
    ngx_str_t   form, name, value;
    ngx_uint_t  n;

    form = *text;
    len = sizeof("{}") - 1;

    if (dst) {
        *dst++ = '{';
    }

    for (n = 0; ngx_http_token_form_next(&form, &name, &value); n++) {

        name.len = ngx_http_token_form_decode(buf, &name) - buf;
        name.data = buf;

        buf += name.len;

        value.len = ngx_http_token_form_decode(buf, &value) - buf;
        value.data = buf;

        buf -= name.len;

        if (dst) {
            if (n) {
                *dst++ = ',';
            }

            dst = (u_char *) ngx_http_token_json_pair(dst, &name, &value);
            continue;
        }

        len += (n ? 1 : 0) + ngx_http_token_json_pair(NULL, &name, &value);
    }

    if (dst == NULL) {
        return (uintptr_t) len;
    }

    *dst++ = '}';

    return (uintptr_t) dst;
}
