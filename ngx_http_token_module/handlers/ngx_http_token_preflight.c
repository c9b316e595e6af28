
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * OPTIONS, and what a preflight is told: the CORS-preflight fetch of the
 * Fetch standard.
 */


#include "ngx_http_token_handlers.h"


static ngx_uint_t ngx_http_token_cors_method_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors);
static ngx_int_t ngx_http_token_cors_headers_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *text);
static ngx_uint_t ngx_http_token_cors_names_allowed(
    ngx_http_token_cors_conf_t *cors, ngx_str_t *names);
static ngx_uint_t ngx_http_token_cors_in(ngx_array_t *list, ngx_str_t *name);


/* the request-headers that need no permission, if their values are harmless */

static ngx_str_t  ngx_http_token_cors_safe_headers[] = {
    ngx_string("accept"),
    ngx_string("accept-language"),
    ngx_string("content-language"),
    ngx_string("content-type"),
    ngx_string("range"),
    ngx_null_string
};


/*
 * OPTIONS is never more than a question about the location, whether it is a
 * preflight or not, and no credentials come with a preflight.
 */

ngx_int_t
ngx_http_token_cors_options(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_uint_t                  n;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_loc_conf_t  *tlcf;

    rc = ngx_http_token_discard_body(r, NGX_HTTP_NO_CONTENT);

    if (rc != NGX_OK) {
        return rc;
    }

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx->origin_verdict == NGX_HTTP_TOKEN_ORIGIN_ALLOWED
        && ngx_http_token_cors_find(r, "access-control-request-method", &n))
    {
        ctx->preflight = 1;
    }

    if (ngx_http_token_cors_add(r, "Allow", &tlcf->allow) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


ngx_int_t
ngx_http_token_cors_preflight(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors)
{
    ngx_int_t         rc;
    ngx_str_t         value;
    ngx_uint_t        n;
    ngx_table_elt_t  *h;

    if (ngx_http_token_cors_vary(r, "Access-Control-Request-Method") != NGX_OK
        || ngx_http_token_cors_vary(r, "Access-Control-Request-Headers")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_token_cors_method_allowed(r, cors)
        && ngx_http_token_cors_add(r, "Access-Control-Allow-Methods",
                                   &cors->allow_methods)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_token_cors_headers_allowed(r, cors, &value);

    if (rc == NGX_ERROR
        || (rc == NGX_OK
            && ngx_http_token_cors_add(r, "Access-Control-Allow-Headers",
                                       &value)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    h = ngx_http_token_cors_find(r, "access-control-request-private-network",
                                 &n);

    if (h && h->value.len == 4 && ngx_strncmp(h->value.data, "true", 4) == 0)
    {
        ngx_str_set(&value, "true");

        if (ngx_http_token_cors_add(r, "Access-Control-Allow-Private-Network",
                                    &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_token_cors_add(r, "Access-Control-Max-Age", &cors->age);
}


static ngx_uint_t
ngx_http_token_cors_method_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors)
{
    u_char           *p, *last;
    size_t            len;
    ngx_uint_t        n;
    ngx_table_elt_t  *h;

    h = ngx_http_token_cors_find(r, "access-control-request-method", &n);

    if (n != 1 || h->value.len == 0) {
        return 0;
    }

    len = h->value.len;
    p = cors->allow_methods.data;
    last = p + cors->allow_methods.len;

    /* a list of names and ", ", compared by case */

    while (p < last) {

        if ((size_t) (last - p) >= len
            && ngx_memcmp(p, h->value.data, len) == 0
            && (p + len == last || p[len] == ','))
        {
            return 1;
        }

        while (p < last && *p++ != ' ') { /* void */ }
    }

    return 0;
}


/*
 * Returns NGX_OK with the value of Access-Control-Allow-Headers, NGX_DECLINED
 * if one of the request's is not allowed, or NGX_ERROR.
 */

static ngx_int_t
ngx_http_token_cors_headers_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *text)
{
    ngx_uint_t        n;
    ngx_table_elt_t  *h;

    h = ngx_http_token_cors_find(r, "access-control-request-headers", &n);

    *text = cors->allow_headers;

    if (n > 1) {
        return NGX_DECLINED;
    }

    if (h == NULL || h->value.len == 0) {
        return (cors->headers->nelts == 0) ? NGX_DECLINED : NGX_OK;
    }

    if (!ngx_http_token_cors_names_allowed(cors, &h->value)) {
        return NGX_DECLINED;
    }

    /* "*" in a response covers neither Authorization nor credentials */

    if (cors->headers->nelts == 0) {
        *text = h->value;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_token_cors_names_allowed(ngx_http_token_cors_conf_t *cors,
    ngx_str_t *names)
{
    u_char      *p, *last;
    ngx_str_t    name, *safe;

    p = names->data;
    last = p + names->len;

    while (p < last) {

        while (p < last && (*p == ' ' || *p == '\t' || *p == ',')) {
            p++;
        }

        name.data = p;

        while (p < last && *p != ' ' && *p != '\t' && *p != ',') {

            if (*p < 0x20 || *p >= 0x7f) {
                return 0;
            }

            p++;
        }

        name.len = p - name.data;

        if (name.len == 0 || cors->headers->nelts == 0) {
            continue;
        }

        for (safe = ngx_http_token_cors_safe_headers; safe->len; safe++) {
            if (name.len == safe->len
                && ngx_strncasecmp(name.data, safe->data, name.len) == 0)
            {
                break;
            }
        }

        if (safe->len == 0 && !ngx_http_token_cors_in(cors->headers, &name)) {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_http_token_cors_in(ngx_array_t *list, ngx_str_t *name)
{
    ngx_str_t   *elt;
    ngx_uint_t   i;

    elt = list->elts;

    for (i = 0; i < list->nelts; i++) {
        if (elt[i].len == name->len
            && ngx_strncasecmp(elt[i].data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}
