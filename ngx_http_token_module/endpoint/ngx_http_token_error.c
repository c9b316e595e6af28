
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The error messages of an endpoint, for the log: in the characters that
 * RFC 6749 5.2 allows, cut to a length, and not shown if they repeat a secret.
 */


#include "ngx_http_token_endpoint.h"


/* the length from which a part is looked for: any text has shorter ones */

#define NGX_HTTP_TOKEN_MIN_PART  16


static ngx_uint_t ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text);
static ngx_uint_t ngx_http_token_is_public(ngx_str_t *name);
static ngx_uint_t ngx_http_token_contains_part(ngx_str_t *text,
    ngx_str_t *token);
static ngx_uint_t ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret);


/* parameters of a token request that an error may repeat in the log */

static char  *ngx_http_token_public_params[] = {
    "grant_type", "client_id", "client_assertion_type", "scope", "audience",
    "resource", "username", "actor_token_type", "requested_token_type",
    "subject_token_type", NULL
};


ngx_str_t
ngx_http_token_endpoint_error(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_array_t *members, char *name)
{
    size_t                    i;
    ngx_str_t                 said;
    ngx_http_token_member_t  *m;

    ngx_str_null(&said);

    m = members ? ngx_http_token_json_find(members, name) : NULL;

    if (m == NULL || !m->is_string) {
        return said;
    }

    if (ngx_http_token_repeats_secret(r, request, &m->string)) {
        ngx_str_set(&said, "(not shown)");
        return said;
    }

    said = m->string;
    said.len = ngx_min(said.len, 200);

    for (i = 0; i < said.len; i++) {
        if (said.data[i] < 0x20 || said.data[i] > 0x7e) {
            said.data[i] = '?';
        }
    }

    return said;
}


static ngx_uint_t
ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   basic, encoded, body, name, value;

    basic = request->authorization;

    if (basic.len > sizeof("Basic ") - 1) {
        basic.data += sizeof("Basic ") - 1;
        basic.len -= sizeof("Basic ") - 1;
    }

    encoded.len = ngx_http_token_form_encode(NULL, &request->secret);
    encoded.data = ngx_pnalloc(r->pool, encoded.len);
    if (encoded.data == NULL) {
        return 1;
    }

    (void) ngx_http_token_form_encode(encoded.data, &request->secret);

    if (ngx_http_token_contains(text, &basic)
        || ngx_http_token_contains(text, &encoded)
        || ngx_http_token_contains(text, &request->secret))
    {
        return 1;
    }

    /* the body has passwords, assertions, or a secret */

    body = request->body;

    while (ngx_http_token_form_next(&body, &name, &value)) {

        if (ngx_http_token_is_public(&name)) {
            continue;
        }

        if (ngx_http_token_contains(text, &value)
            || ngx_http_token_contains_part(text, &value))
        {
            return 1;
        }

        p = ngx_pnalloc(r->pool, value.len);
        if (p == NULL) {
            return 1;
        }

        value.len = ngx_http_token_form_decode(p, &value) - p;
        value.data = p;

        if (ngx_http_token_contains(text, &value)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_token_is_public(ngx_str_t *name)
{
    char  **p;

    for (p = ngx_http_token_public_params; *p; p++) {
        if (ngx_http_token_equals(name, *p)) {
            return 1;
        }
    }

    return 0;
}


/* whether a text contains the claims or the signature of a JWT */

static ngx_uint_t
ngx_http_token_contains_part(ngx_str_t *text, ngx_str_t *token)
{
    u_char     *p, *last;
    ngx_str_t   part;

    last = token->data + token->len;

    p = ngx_strlchr(token->data, last, '.');

    while (p) {
        part.data = p + 1;

        p = ngx_strlchr(part.data, last, '.');

        part.len = (p ? p : last) - part.data;

        if (part.len >= NGX_HTTP_TOKEN_MIN_PART
            && ngx_http_token_contains(text, &part))
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret)
{
    size_t  i;

    if (secret->len == 0) {
        return 0;
    }

    for (i = 0; i + secret->len <= text->len; i++) {
        if (ngx_memcmp(text->data + i, secret->data, secret->len) == 0) {
            return 1;
        }
    }

    return 0;
}
