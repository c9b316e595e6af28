
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * JSON that is made of texts: strings, and an object of the parameters of
 * a form, with arrays of those whose names end with "[]".
 */


#include "ngx_http_token_util.h"


static uintptr_t ngx_http_token_json_quote(u_char *dst, ngx_str_t *text);
static uintptr_t ngx_http_token_form_object(u_char *dst, u_char *buf,
    ngx_str_t *text);
static ngx_uint_t ngx_http_token_form_has(ngx_str_t *text, ngx_str_t *name);
static uintptr_t ngx_http_token_form_array(u_char *dst, u_char *buf,
    ngx_str_t *text, ngx_str_t *name);


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
    ngx_str_t   form, before, rest, name, value, key;
    ngx_uint_t  n;

    form = *text;
    before = *text;
    rest = *text;
    len = sizeof("{}") - 1;
    n = 0;

    if (dst) {
        *dst++ = '{';
    }

    for ( /* void */ ;
         ngx_http_token_form_next(&form, &name, &value);
         rest = form)
    {
        key.len = ngx_http_token_form_decode(buf, &name) - buf;
        key.data = buf;

        before.len = name.data - before.data;

        if (ngx_http_token_is_list(&key)
            && ngx_http_token_form_has(&before, &name))
        {
            /* in the array of the first one of that name */

            continue;
        }

        if (n++) {
            if (dst) {
                *dst++ = ',';
            }

            len++;
        }

        if (ngx_http_token_is_list(&key)) {
            key.len -= 2;

            if (dst) {
                dst = (u_char *) ngx_http_token_json_quote(dst, &key);
                *dst++ = ':';
                dst = (u_char *) ngx_http_token_form_array(dst, buf, &rest,
                                                           &name);
                continue;
            }

            /* not in one sum: the array is decoded in the place of the key */

            len += ngx_http_token_json_quote(NULL, &key) + 1;
            len += ngx_http_token_form_array(NULL, buf, &rest, &name);
            continue;
        }

        value.len = ngx_http_token_form_decode(buf + key.len, &value)
                    - (buf + key.len);
        value.data = buf + key.len;

        if (dst) {
            dst = (u_char *) ngx_http_token_json_pair(dst, &key, &value);

        } else {
            len += ngx_http_token_json_pair(NULL, &key, &value);
        }
    }

    if (dst == NULL) {
        return (uintptr_t) len;
    }

    *dst++ = '}';

    return (uintptr_t) dst;
}


/* whether a form has a name, which is as it stands there */

static ngx_uint_t
ngx_http_token_form_has(ngx_str_t *text, ngx_str_t *name)
{
    ngx_str_t  form, other, value;

    form = *text;

    while (ngx_http_token_form_next(&form, &other, &value)) {
        if (other.len == name->len
            && ngx_memcmp(other.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* all values of a name, as above */

static uintptr_t
ngx_http_token_form_array(u_char *dst, u_char *buf, ngx_str_t *text,
    ngx_str_t *name)
{
    size_t      len;
    ngx_str_t   form, other, value;
    ngx_uint_t  n;

    form = *text;
    len = sizeof("[]") - 1;
    n = 0;

    if (dst) {
        *dst++ = '[';
    }

    while (ngx_http_token_form_next(&form, &other, &value)) {

        if (other.len != name->len
            || ngx_memcmp(other.data, name->data, name->len) != 0)
        {
            continue;
        }

        value.len = ngx_http_token_form_decode(buf, &value) - buf;
        value.data = buf;

        if (dst) {
            if (n++) {
                *dst++ = ',';
            }

            dst = (u_char *) ngx_http_token_json_quote(dst, &value);
            continue;
        }

        len += (n++ ? 1 : 0) + ngx_http_token_json_quote(NULL, &value);
    }

    if (dst == NULL) {
        return (uintptr_t) len;
    }

    *dst++ = ']';

    return (uintptr_t) dst;
}


ngx_uint_t
ngx_http_token_is_list(ngx_str_t *name)
{
    return (name->len > 2
            && ngx_strncmp(name->data + name->len - 2, "[]", 2) == 0);
}
