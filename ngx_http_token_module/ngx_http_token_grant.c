
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The refresh grant (RFC 6749 6) of a caller: his refresh token is sent on with
 * the client's authentication, which he does not have.  It is kept in memory,
 * and nowhere else.
 */


#include "ngx_http_token_module.h"


#define NGX_HTTP_TOKEN_MAX_FORM  8192


typedef struct {
    ngx_str_t                       type;
    ngx_str_t                       token;
    ngx_str_t                       scope;
    ngx_uint_t                      malformed;
} ngx_http_token_grant_t;


static ngx_uint_t ngx_http_token_has_form(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_refuse(ngx_http_request_t *r,
    ngx_uint_t status, char *error, char *description);
static void ngx_http_token_form_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_form_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_form_text(ngx_http_request_t *r,
    ngx_str_t *text);
static ngx_int_t ngx_http_token_form_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_token_grant_t *grant);
static ngx_int_t ngx_http_token_form_param(ngx_pool_t *pool, ngx_str_t *pair,
    ngx_http_token_grant_t *grant);
static ngx_uint_t ngx_http_token_form_valid(ngx_str_t *text);
static ngx_int_t ngx_http_token_refresh_grant(ngx_http_request_t *r,
    ngx_http_token_grant_t *grant);


void
ngx_http_token_init_grant(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (!tlcf->refresh_grant) {
        return;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* no refresh token is written to a temporary file */

    clcf->client_body_buffer_size = ngx_max(clcf->client_body_buffer_size,
                                            NGX_HTTP_TOKEN_MAX_FORM);
    clcf->client_body_in_file_only = 0;

    if (!(tlcf->methods & NGX_HTTP_POST) && !clcf->noname) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"token_proxy_refresh_grant\" is of no use without "
                           "POST in \"token_proxy_methods\"");
    }
}


ngx_int_t
ngx_http_token_grant(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (!tlcf->refresh_grant || r != r->main
        || !(r->method & tlcf->methods & NGX_HTTP_POST)
        || !ngx_http_token_has_form(r))
    {
        return NGX_DECLINED;
    }

    if (r->headers_in.chunked) {
        return ngx_http_token_refuse(r, NGX_HTTP_LENGTH_REQUIRED,
                                     "invalid_request",
                                     "The length of the request is missing.");
    }

    if (r->headers_in.content_length_n > NGX_HTTP_TOKEN_MAX_FORM) {
        return ngx_http_token_refuse(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                     "invalid_request",
                                     "The request is too large.");
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_token_form_read);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_token_has_form(ngx_http_request_t *r)
{
    size_t      len;
    ngx_str_t  *type;

    static ngx_str_t  form = ngx_string("application/x-www-form-urlencoded");

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        return 0;
    }

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;
    len = form.len;

    return (type->len >= len
            && ngx_strncasecmp(type->data, form.data, len) == 0
            && (type->len == len || type->data[len] == ';'
                || type->data[len] == ' '));
}


static ngx_int_t
ngx_http_token_refuse(ngx_http_request_t *r, ngx_uint_t status, char *error,
    char *description)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_token_send_error(r, status, error, description);
}


static void
ngx_http_token_form_read(ngx_http_request_t *r)
{
    ngx_http_finalize_request(r, ngx_http_token_form_handler(r));
}


static ngx_int_t
ngx_http_token_form_handler(ngx_http_request_t *r)
{
    ngx_str_t               text;
    ngx_http_token_grant_t  grant;

    if (ngx_http_token_form_text(r, &text) != NGX_OK
        || ngx_http_token_form_parse(r->pool, &text, &grant) != NGX_OK)
    {
        return ngx_http_token_send_failure(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token form: %uz, grant type: %uz, malformed: %ui",
                   text.len, grant.type.len, grant.malformed);

    if (grant.malformed) {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "invalid_request",
                                         "The request is malformed.");
    }

    if (grant.type.len == 0) {
        return ngx_http_token_answer(r);
    }

    if (grant.type.len != sizeof("refresh_token") - 1
        || ngx_strncmp(grant.type.data, "refresh_token", grant.type.len) != 0)
    {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "unsupported_grant_type",
                                         "This grant type is not supported.");
    }

    if (grant.token.len == 0) {
        return ngx_http_token_send_error(r, NGX_HTTP_BAD_REQUEST,
                                         "invalid_request",
                                         "The refresh token is missing.");
    }

    return ngx_http_token_refresh_grant(r, &grant);
}


static ngx_int_t
ngx_http_token_form_text(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char       *p;
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    len = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        /* a module that came before has read it in its own way */

        if (b->in_file || b->last - b->pos > NGX_HTTP_TOKEN_MAX_FORM) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "the body of a request for a token was not kept "
                          "in memory");
            return NGX_ERROR;
        }

        len += b->last - b->pos;
    }

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;
    text->len = len;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    return NGX_OK;
}


static ngx_int_t
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


static ngx_int_t
ngx_http_token_refresh_grant(ngx_http_request_t *r,
    ngx_http_token_grant_t *grant)
{
    ngx_uint_t                  n;
    ngx_keyval_t                params[3];
    ngx_http_token_request_t   *request;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    request = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));
    if (request == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&params[0].key, "grant_type");
    params[0].value = grant->type;

    ngx_str_set(&params[1].key, "refresh_token");
    params[1].value = grant->token;

    n = 2;

    if (grant->scope.len) {
        ngx_str_set(&params[n].key, "scope");
        params[n++].value = grant->scope;
    }

    if (ngx_http_token_evaluate(r, tlcf, request) != NGX_OK
        || ngx_http_token_form(r->pool, request, params, n) != NGX_OK)
    {
        return ngx_http_token_send_failure(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    return ngx_http_token_pass(r, request,
                               grant->scope.len ? NGX_HTTP_TOKEN_GRANT_SCOPE
                                                : NGX_HTTP_TOKEN_GRANT_PLAIN);
}
