
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Cross-origin requests, the CORS protocol of the Fetch standard: which origins
 * may call, what a preflight is told, and the headers of every response.
 */


#include "ngx_http_token_handlers.h"


static ngx_uint_t ngx_http_token_cors_is_no_cors(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors);
static void ngx_http_token_cors_refuse(ngx_http_request_t *r, char *text);
static ngx_int_t ngx_http_token_cors_check(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_ctx_t *ctx);
static ngx_uint_t ngx_http_token_cors_is_single(ngx_str_t *text);
static ngx_int_t ngx_http_token_cors_is_self(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *origin);
static ngx_int_t ngx_http_token_cors_self_origin(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *text);
static ngx_http_token_loc_conf_t *ngx_http_token_cors_location(
    ngx_http_request_t *r);
static void ngx_http_token_cors_cleanup(void *data);
static ngx_int_t ngx_http_token_cors_allow(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_http_token_ctx_t *ctx);
static ngx_inline ngx_int_t ngx_http_token_cors_add(ngx_http_request_t *r,
    char *name, ngx_str_t *value);
static ngx_int_t ngx_http_token_cors_options(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_cors_preflight(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors);
static ngx_uint_t ngx_http_token_cors_method_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors);
static ngx_int_t ngx_http_token_cors_headers_allowed(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *text);
static ngx_uint_t ngx_http_token_cors_names_allowed(
    ngx_http_token_cors_conf_t *cors, ngx_str_t list);
static ngx_uint_t ngx_http_token_cors_in(ngx_str_t *list, ngx_uint_t n,
    ngx_str_t *name);


/* the request-headers that need no permission, if their values are harmless */

static ngx_str_t  ngx_http_token_cors_safe_headers[] = {
    ngx_string("accept"),
    ngx_string("accept-language"),
    ngx_string("content-language"),
    ngx_string("content-type"),
    ngx_string("range")
};


ngx_int_t
ngx_http_token_cors_handler(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_ctx_t  *ctx;

    if (ngx_http_token_cors_is_no_cors(r, &tlcf->cors)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "page of another origin asks without CORS");
        ngx_http_token_cors_refuse(r, "A page of another origin may ask by "
                                      "CORS only.");
        return NGX_DONE;
    }

    if (tlcf->cors.origins == NULL && r->method != NGX_HTTP_OPTIONS) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (tlcf->cors.origins
        && ngx_http_token_cors_check(r, tlcf, ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->origin_verdict != NGX_HTTP_TOKEN_ORIGIN_DENIED
        && r->method != NGX_HTTP_OPTIONS)
    {
        return NGX_DECLINED;
    }

    if (ctx->origin_verdict == NGX_HTTP_TOKEN_ORIGIN_DENIED) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "origin \"%V\" is not allowed", &ctx->origin);
        ngx_http_token_cors_refuse(r, "This origin is not allowed.");

    } else {
        ngx_http_token_finalize(r, ngx_http_token_cors_options(r));
    }

    return NGX_DONE;
}


/*
 * Whether a browser says that a page of another origin has caused the request
 * without CORS: by an image, a script, a link, a form, fetch() with mode
 * "no-cors" (Fetch Metadata Request Headers, sections 2.2 and 2.3).  The page
 * could not read the token, but would have it fetched.  A POST of this kind has
 * an "Origin", which the list of origins decides on where there is one.
 */

static ngx_uint_t
ngx_http_token_cors_is_no_cors(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors)
{
    ngx_uint_t        n;
    ngx_table_elt_t  *site, *mode;

    if (cors->origins && cors->origins->any) {
        return 0;
    }

    site = ngx_http_token_cors_find(r, "sec-fetch-site", &n);

    if (site == NULL
        || !(ngx_http_token_equals(&site->value, "cross-site")
             || ngx_http_token_equals(&site->value, "same-site"))
        || (cors->origins && ngx_http_token_cors_find(r, "origin", &n)))
    {
        return 0;
    }

    mode = ngx_http_token_cors_find(r, "sec-fetch-mode", &n);

    return (mode == NULL || !ngx_http_token_equals(&mode->value, "cors"));
}


static void
ngx_http_token_cors_refuse(ngx_http_request_t *r, char *text)
{
    ngx_http_token_finalize(r, ngx_http_token_send_error(r, NGX_HTTP_FORBIDDEN,
                                                         "access_denied",
                                                         text));
}


static ngx_int_t
ngx_http_token_cors_check(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_ctx_t *ctx)
{
    char                      *wrong;
    ngx_int_t                  rc;
    ngx_str_t                  origin;
    ngx_uint_t                 n;
    ngx_table_elt_t           *h;
    ngx_http_token_origins_t  *origins;

    if (ctx->origin_verdict != NGX_HTTP_TOKEN_ORIGIN_UNKNOWN) {
        return NGX_OK;
    }

    h = ngx_http_token_cors_find(r, "origin", &n);

    if (h == NULL) {
        ctx->origin_verdict = NGX_HTTP_TOKEN_ORIGIN_NONE;
        return NGX_OK;
    }

    origins = tlcf->cors.origins;

    ctx->origin = h->value;
    ctx->origin_verdict = NGX_HTTP_TOKEN_ORIGIN_DENIED;

    if (n > 1) {
        return NGX_OK;
    }

    /* browsers send an origin in its normal form */

    if (ngx_http_token_origins_exact(origins, &h->value)) {
        ctx->origin_verdict = NGX_HTTP_TOKEN_ORIGIN_ALLOWED;
        return NGX_OK;
    }

    if (!ngx_http_token_cors_is_single(&h->value)) {
        return NGX_OK;
    }

    if (origins->any) {
        ctx->origin_verdict = NGX_HTTP_TOKEN_ORIGIN_ALLOWED;
        return NGX_OK;
    }

    origin.data = ngx_pnalloc(r->pool, h->value.len);
    if (origin.data == NULL) {
        return NGX_ERROR;
    }

    wrong = ngx_http_token_origin_normalize(&h->value, &origin);

    if (wrong) {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "http token origin \"%V\" %s", &h->value, wrong);
        return NGX_OK;
    }

    rc = ngx_http_token_origins_match(origins, &origin, r->connection->log)
             ? NGX_OK
             : ngx_http_token_cors_is_self(r, &tlcf->cors, &origin);

    if (rc == NGX_OK) {
        ctx->origin_verdict = NGX_HTTP_TOKEN_ORIGIN_ALLOWED;
    }

    return (rc == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


/* whether a text is neither empty nor a list */

static ngx_uint_t
ngx_http_token_cors_is_single(ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] <= 0x20 || text->data[i] >= 0x7f
            || text->data[i] == ',')
        {
            return 0;
        }
    }

    return (text->len != 0);
}


/* returns NGX_OK, NGX_DECLINED or NGX_ERROR */

static ngx_int_t
ngx_http_token_cors_is_self(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *origin)
{
    char       *wrong;
    ngx_int_t   rc;
    ngx_str_t   text, own;

    rc = ngx_http_token_cors_self_origin(r, cors, &text);

    if (rc != NGX_OK) {
        return rc;
    }

    own.data = ngx_pnalloc(r->pool, text.len + 1);
    if (own.data == NULL) {
        return NGX_ERROR;
    }

    wrong = ngx_http_token_origin_normalize(&text, &own);

    if (wrong) {
        ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "http token own origin \"%V\" %s", &text, wrong);
        return NGX_DECLINED;
    }

    if (own.len != origin->len
        || ngx_memcmp(own.data, origin->data, own.len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_cors_self_origin(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   host, scheme;

    if (cors->self) {
        return ngx_http_complex_value(r, cors->self, text);
    }

    /* "Host" has the port, if there is one; with HTTP/3 there is no "Host" */

    host = r->headers_in.host ? r->headers_in.host->value
                              : r->headers_in.server;

    if (host.len == 0) {
        return NGX_DECLINED;
    }

    ngx_str_set(&scheme, "http");

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        ngx_str_set(&scheme, "https");
    }
#endif

    p = ngx_pnalloc(r->pool, scheme.len + sizeof("://") - 1 + host.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;
    text->len = ngx_sprintf(p, "%V://%V", &scheme, &host) - p;

    return NGX_OK;
}


/* the token location whose CORS headers belong to a response, or NULL */

static ngx_http_token_loc_conf_t *
ngx_http_token_cors_location(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_token_loc_conf_t  *tlcf;

    if (r != r->main) {
        return NULL;
    }

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->enable == 1) {
        return tlcf->cors.origins ? tlcf : NULL;
    }

    if (!r->internal) {
        return NULL;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_token_cors_cleanup) {
            return *(ngx_http_token_loc_conf_t **) cln->data;
        }
    }

    return NULL;
}


/*
 * The pool's cleanups, unlike the contexts of modules, outlive an internal
 * redirect: an entry among them marks the request.
 */

ngx_int_t
ngx_http_token_cors_leave(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_token_loc_conf_t *));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_token_cors_cleanup;
    *(ngx_http_token_loc_conf_t **) cln->data = tlcf;

    return NGX_OK;
}


static void
ngx_http_token_cors_cleanup(void *data)
{
    /* there is nothing to do: this function's address marks the entry */

    (void) data;
}


ngx_int_t
ngx_http_token_cors_header_filter(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_str_t                    origin;
    ngx_uint_t                   vary;
    ngx_http_token_ctx_t        *ctx;
    ngx_http_token_loc_conf_t   *tlcf;
    ngx_http_token_cors_conf_t  *cors;

    tlcf = ngx_http_token_cors_location(r);

    if (tlcf == NULL) {
        return NGX_OK;
    }

    cors = &tlcf->cors;

    /* the verdict is missing if the request ended before the preaccess phase */

    ctx = ngx_http_token_ctx(r);

    if (ctx == NULL || ngx_http_token_cors_check(r, tlcf, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    vary = ngx_http_token_cors_clean(r);

    if (!cors->origins->any) {
        ngx_str_set(&origin, "Origin");

        rc = vary ? ngx_http_token_cors_vary(r, "Origin")
                  : ngx_http_token_cors_add(r, "Vary", &origin);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_token_cors_allow(r, cors, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->preflight) {
        return ngx_http_token_cors_preflight(r, cors);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_cors_allow(ngx_http_request_t *r,
    ngx_http_token_cors_conf_t *cors, ngx_http_token_ctx_t *ctx)
{
    ngx_str_t  value;

    if (ctx->origin_verdict == NGX_HTTP_TOKEN_ORIGIN_DENIED
        || (ctx->origin_verdict == NGX_HTTP_TOKEN_ORIGIN_NONE
            && !cors->origins->any))
    {
        return NGX_OK;
    }

    if (cors->origins->any) {
        ngx_str_set(&value, "*");

    } else {
        value = ctx->origin;
    }

    if (ngx_http_token_cors_add(r, "Access-Control-Allow-Origin", &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cors->credentials) {
        ngx_str_set(&value, "true");

        if (ngx_http_token_cors_add(r, "Access-Control-Allow-Credentials",
                                    &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (cors->expose.len && !ctx->preflight) {
        return ngx_http_token_cors_add(r, "Access-Control-Expose-Headers",
                                       &cors->expose);
    }

    return NGX_OK;
}


static ngx_inline ngx_int_t
ngx_http_token_cors_add(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    return ngx_http_token_add_header(r, name, value) ? NGX_OK : NGX_ERROR;
}


/*
 * OPTIONS is never more than a question about the location, whether it is a
 * preflight or not, and no credentials come with a preflight.
 */

static ngx_int_t
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


static ngx_int_t
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

    if (h && ngx_http_token_equals(&h->value, "true")) {
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
    ngx_str_t         list, method;
    ngx_uint_t        n;
    ngx_table_elt_t  *h;

    h = ngx_http_token_cors_find(r, "access-control-request-method", &n);

    if (n != 1) {
        return 0;
    }

    list = cors->allow_methods;

    while (ngx_http_token_next_name(&list, &method)) {
        if (method.len == h->value.len
            && ngx_memcmp(method.data, h->value.data, method.len) == 0)
        {
            return 1;
        }
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

    if (!ngx_http_token_cors_names_allowed(cors, h->value)) {
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
    ngx_str_t list)
{
    size_t     i;
    ngx_str_t  name;

    while (ngx_http_token_next_name(&list, &name)) {

        for (i = 0; i < name.len; i++) {
            if (name.data[i] < 0x20 || name.data[i] >= 0x7f) {
                return 0;
            }
        }

        if (cors->headers->nelts
            && !ngx_http_token_cors_in(ngx_http_token_cors_safe_headers, 5,
                                       &name)
            && !ngx_http_token_cors_in(cors->headers->elts,
                                       cors->headers->nelts, &name))
        {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_http_token_cors_in(ngx_str_t *list, ngx_uint_t n, ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        if (ngx_http_token_equals_nocase(name, (char *) list[i].data)) {
            return 1;
        }
    }

    return 0;
}
