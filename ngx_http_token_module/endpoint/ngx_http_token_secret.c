
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Whether a text repeats a secret of a token request, in one of its forms.
 */


#include "ngx_http_token_endpoint.h"


/* the length from which a part is looked for: any text has shorter ones */

#define NGX_HTTP_TOKEN_MIN_PART  16
#define NGX_HTTP_TOKEN_MIN_RUN   4


static ngx_uint_t ngx_http_token_repeats_form(ngx_http_request_t *r,
    ngx_str_t form, ngx_str_t *text);
static ngx_uint_t ngx_http_token_repeats_tokens(
    ngx_http_token_request_t *request, ngx_str_t *text);
static ngx_uint_t ngx_http_token_is_public(ngx_str_t *name);
static ngx_uint_t ngx_http_token_contains_part(ngx_str_t *text,
    ngx_str_t *token);
static ngx_uint_t ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret);
static ngx_uint_t ngx_http_token_find(ngx_str_t *text, ngx_str_t *secret);
static ngx_uint_t ngx_http_token_has_escapes(ngx_str_t *text);
static ngx_str_t ngx_http_token_longest_run(ngx_str_t *secret);
static ngx_uint_t ngx_http_token_is_alnum(u_char c);


/* parameters of a token request that an error may repeat in the log */

static char  *ngx_http_token_public_params[] = {
    "grant_type", "client_id", "client_assertion_type", "scope", "audience",
    "resource", "username", "actor_token_type", "requested_token_type",
    "subject_token_type", NULL
};


ngx_uint_t
ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text)
{
    u_char     *query, *last;
    ngx_str_t   basic, encoded, own;

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
        || ngx_http_token_contains(text, &request->secret)
        || ngx_http_token_repeats_tokens(request, text))
    {
        return 1;
    }

    /* the endpoint's own query may have a secret as well */

    last = request->endpoint.data + request->endpoint.len;
    query = ngx_strlchr(request->endpoint.data, last, '?');

    if (query) {
        own.data = query + 1;
        own.len = last - own.data;

        if (ngx_http_token_repeats_form(r, own, text)) {
            return 1;
        }
    }

    /* the body has passwords, assertions, or a secret */

    return ngx_http_token_repeats_form(r, request->body, text);
}


/* whether a text has a value of a form, which is read from its beginning */

static ngx_uint_t
ngx_http_token_repeats_form(ngx_http_request_t *r, ngx_str_t form,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   name, value;

    while (ngx_http_token_form_next(&form, &name, &value)) {

        /* a "1" would be in any text */

        if (value.len < NGX_HTTP_TOKEN_MIN_RUN
            || ngx_http_token_is_public(&name))
        {
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


/* the tokens of other locations, in whatever parameter or header */

static ngx_uint_t
ngx_http_token_repeats_tokens(ngx_http_token_request_t *request,
    ngx_str_t *text)
{
    ngx_uint_t              i;
    ngx_http_token_pair_t  *kv;

    if (!request->tlcf->chained) {
        return 0;
    }

    for (i = 0; i <= request->nparams; i++) {
        kv = ngx_http_token_pair(request, i);

        if (kv->token
            && (ngx_http_token_contains(text, &kv->value)
                || ngx_http_token_contains_part(text, &kv->value)))
        {
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
    ngx_str_t  run;

    if (text->len == 0 || secret->len == 0) {
        return 0;
    }

    if (ngx_http_token_find(text, secret)) {
        return 1;
    }

    if (!ngx_http_token_has_escapes(text)) {
        return 0;
    }

    /* the longest run of letters and digits stays as it is in any encoding */

    run = ngx_http_token_longest_run(secret);

    return (run.len >= NGX_HTTP_TOKEN_MIN_RUN
            && ngx_http_token_find(text, &run));
}


static ngx_uint_t
ngx_http_token_find(ngx_str_t *text, ngx_str_t *secret)
{
    size_t  i;

    for (i = 0; i + secret->len <= text->len; i++) {
        if (ngx_memcmp(text->data + i, secret->data, secret->len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* of HTML, of URLs, of strings */

static ngx_uint_t
ngx_http_token_has_escapes(ngx_str_t *text)
{
    u_char  *last;

    last = text->data + text->len;

    return (ngx_strlchr(text->data, last, '&')
            || ngx_strlchr(text->data, last, '%')
            || ngx_strlchr(text->data, last, '\\'));
}


static ngx_str_t
ngx_http_token_longest_run(ngx_str_t *secret)
{
    u_char     *p, *last, *begin;
    ngx_str_t   run;

    ngx_str_null(&run);

    last = secret->data + secret->len;

    for (p = secret->data; p < last; p++) {

        begin = p;

        while (p < last && ngx_http_token_is_alnum(*p)) {
            p++;
        }

        if ((size_t) (p - begin) > run.len) {
            run.data = begin;
            run.len = p - begin;
        }
    }

    return run;
}


static ngx_uint_t
ngx_http_token_is_alnum(u_char c)
{
    u_char  lower;

    lower = c | 0x20;

    return ((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z'));
}
