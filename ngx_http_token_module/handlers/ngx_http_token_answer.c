
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Answers to callers: a body of JSON and the headers that belong to it, for
 * a token and for each kind of failure.
 */


#include "ngx_http_token_handlers.h"


typedef struct {
    ngx_uint_t                      status;
    char                           *error;
    char                           *description;
} ngx_http_token_failure_t;


static ngx_int_t ngx_http_token_send_buf(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body, ngx_buf_t *b);
static ngx_uint_t ngx_http_token_has_error_page(ngx_http_request_t *r,
    ngx_uint_t status);
static void ngx_http_token_remove_headers(ngx_http_request_t *r);


/* by outcome; the texts are fixed: an endpoint's messages are logged only */

static ngx_http_token_failure_t  ngx_http_token_failures[] = {

    { NGX_HTTP_OK, "", "" },
    { NGX_HTTP_INTERNAL_SERVER_ERROR, "server_error",
      "The token request cannot be made." },
    { NGX_HTTP_BAD_GATEWAY, "server_error",
      "The token endpoint could not be reached." },
    { NGX_HTTP_GATEWAY_TIME_OUT, "temporarily_unavailable",
      "The token endpoint did not answer in time." },
    { NGX_HTTP_BAD_GATEWAY, "server_error",
      "The token endpoint gave no complete answer." },
    { NGX_HTTP_BAD_GATEWAY, "server_error",
      "The token endpoint gave an invalid answer." },
    { NGX_HTTP_BAD_GATEWAY, "server_error",
      "The token endpoint refused the request." },
    { NGX_HTTP_SERVICE_UNAVAILABLE, "temporarily_unavailable",
      "The token endpoint is busy, try again later." },
    { NGX_HTTP_BAD_GATEWAY, "server_error",
      "The token endpoint failed." },
    { NGX_HTTP_BAD_REQUEST, "invalid_grant",
      "The refresh token is not valid." },
    { NGX_HTTP_BAD_REQUEST, "invalid_scope",
      "The scope is not valid." },
    { NGX_HTTP_SERVICE_UNAVAILABLE, "temporarily_unavailable",
      "The token endpoint failed a moment ago, try again later." },
};


ngx_str_t  ngx_http_token_json_type = ngx_string("application/json");


/* set on every answer, RFC 6749 5.1; the one without a value is only removed */

#define NGX_HTTP_TOKEN_OWN_HEADERS  3

static ngx_keyval_t  ngx_http_token_own_headers[] = {

    { ngx_string("Cache-Control"), ngx_string("no-store") },
    { ngx_string("Pragma"), ngx_string("no-cache") },
    { ngx_string("X-Content-Type-Options"), ngx_string("nosniff") },
    { ngx_string("Expires"), ngx_null_string },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_token_send_failure(ngx_http_request_t *r, ngx_uint_t outcome,
    time_t retry_after)
{
    ngx_str_t                  value;
    ngx_http_token_failure_t  *failure;

    failure = &ngx_http_token_failures[outcome];

    if (failure->status == NGX_HTTP_SERVICE_UNAVAILABLE) {

        value.data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
        if (value.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        value.len = ngx_sprintf(value.data, "%T", ngx_max(retry_after, 1))
                    - value.data;

        if (ngx_http_token_add_header(r, "Retry-After", &value) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_token_send_error(r, failure->status, failure->error,
                                     failure->description);
}


ngx_int_t
ngx_http_token_send_error(ngx_http_request_t *r, ngx_uint_t status,
    char *error, char *description)
{
    size_t     len;
    ngx_str_t  body;

    if (ngx_http_token_has_error_page(r, status)) {
        return status;
    }

    len = sizeof("{\"error\":\"\",\"error_description\":\"\"}") - 1
          + ngx_strlen(error) + ngx_strlen(description);

    body.data = ngx_pnalloc(r->pool, len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.len = ngx_sprintf(body.data,
                           "{\"error\":\"%s\",\"error_description\":\"%s\"}",
                           error, description)
               - body.data;

    return ngx_http_token_send_json(r, status, &body);
}


ngx_int_t
ngx_http_token_send_token(ngx_http_request_t *r, ngx_http_token_ctx_t *ctx,
    ngx_http_token_result_t *result)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_token_own_response(r, ctx);

    r->disable_not_modified = 1;

    return ngx_http_token_send_buf(r, NGX_HTTP_OK, &ngx_http_token_json_type,
                                   &result->value, &result->buf);
}


ngx_int_t
ngx_http_token_send_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body)
{
    ngx_int_t              rc;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_token_discard_body(r, status);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_token_own_response(r, ctx);

    r->disable_not_modified = 1;

    return ngx_http_token_send(r, status, &ngx_http_token_json_type, body);
}


ngx_int_t
ngx_http_token_send(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
    ngx_str_t *body)
{
    ngx_buf_t  *b;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_token_send_buf(r, status, type, body, b);
}


/* b is filled with zeroes */

static ngx_int_t
ngx_http_token_send_buf(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body, ngx_buf_t *b)
{
    ngx_int_t    rc;
    ngx_chain_t  out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


void
ngx_http_token_own_response(ngx_http_request_t *r, ngx_http_token_ctx_t *ctx)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    ctx->own_response = 1;

    if (tlcf->answer_conf) {
        r->loc_conf = tlcf->answer_conf;
    }
}


/*
 * An error_page of the token location itself is meant for the token; one that
 * it inherits is meant for pages, and gives way to the JSON error.
 */

static ngx_uint_t
ngx_http_token_has_error_page(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                  i;
    ngx_http_err_page_t        *page;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->error_pages == NULL || r->error_page) {
        return 0;
    }

    page = tlcf->error_pages->elts;

    for (i = 0; i < tlcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_token_discard_body(ngx_http_request_t *r, ngx_uint_t status)
{
    /* no "100 Continue": the body is of no use to an error */

    if (status >= NGX_HTTP_SPECIAL_RESPONSE) {
        r->expect_tested = 1;
    }

    return ngx_http_discard_request_body(r);
}


void
ngx_http_token_remove_body(ngx_http_request_t *r)
{
    off_t  rest;

    if (r != r->main || r->discard_body) {
        return;
    }

    r->expect_tested = 1;

    if (r->request_body) {
        r->request_body->bufs = NULL;
        r->request_body->buf = NULL;
        r->request_body->temp_file = NULL;

#if (NGX_HTTP_V2)
    } else if (r->stream) {
        (void) ngx_http_discard_request_body(r);
#endif

    } else if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {

        rest = r->headers_in.content_length_n
               - (r->header_in->last - r->header_in->pos);

        if (rest > 0 || r->headers_in.chunked) {

            /* the rest has not come yet: the connection cannot be kept */

            r->keepalive = 0;
            r->lingering_close = 1;

        } else {
            (void) ngx_http_discard_request_body(r);
        }
    }

    r->headers_in.content_length_n = 0;
    r->headers_in.content_length = NULL;
    r->headers_in.chunked = 0;
}


void
ngx_http_token_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_token_remove_body(r);
    }

    ngx_http_finalize_request(r, rc);
}


ngx_int_t
ngx_http_token_header_filter(ngx_http_request_t *r)
{
    ngx_uint_t             i;
    ngx_list_t            *list;
    ngx_keyval_t          *header;
    ngx_table_elt_t       *h;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || !ctx->own_response) {
        return NGX_OK;
    }

    list = &r->headers_out.headers;
    header = ngx_http_token_own_headers;

    if (list->part.nelts == 0 && list->part.next == NULL
        && list->nalloc >= NGX_HTTP_TOKEN_OWN_HEADERS)
    {
        /* there are no others yet, nearly always */

        h = list->part.elts;

        for (i = 0; i < NGX_HTTP_TOKEN_OWN_HEADERS; i++) {
            ngx_http_token_fill_header(&h[i], &header[i].key,
                                       &header[i].value);
        }

        list->part.nelts = NGX_HTTP_TOKEN_OWN_HEADERS;

        return NGX_OK;
    }

    ngx_http_token_remove_headers(r);

    for (i = 0; i < NGX_HTTP_TOKEN_OWN_HEADERS; i++) {

        if (ngx_http_token_push_header(r, &header[i].key, &header[i].value)
            == NULL)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* so that "expires" and "add_header" cannot make a token cacheable */

static void
ngx_http_token_remove_headers(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_keyval_t     *header;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_out.headers.part;
    i = 0;

    while ((h = ngx_http_token_next_header(&part, &i)) != NULL) {

        for (header = ngx_http_token_own_headers; header->key.len; header++) {

            /* a name that a script has given ends without a NUL */

            if (h->key.len == header->key.len
                && ngx_strncasecmp(h->key.data, header->key.data, h->key.len)
                   == 0)
            {
                h->hash = 0;
            }
        }
    }
}
