
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The life of a request to a token location.
 */


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_uint_t                      status;
    char                           *error;
    char                           *description;
} ngx_http_token_failure_t;


static void ngx_http_token_resume(ngx_http_request_t *r,
    ngx_http_token_got_t *got);
static ngx_int_t ngx_http_token_reply(ngx_http_request_t *r,
    ngx_http_token_got_t *got);
static void ngx_http_token_passed(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);
static ngx_uint_t ngx_http_token_has_error_page(ngx_http_request_t *r,
    ngx_uint_t status);
static void ngx_http_token_remove_headers(ngx_http_request_t *r);


/* by outcome, the texts are fixed: what the endpoint said is for the log */

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


/* RFC 6749 5.1, and at the end what only must not be there */

static ngx_keyval_t  ngx_http_token_own_headers[] = {

    { ngx_string("Cache-Control"), ngx_string("no-store") },
    { ngx_string("Pragma"), ngx_string("no-cache") },
    { ngx_string("X-Content-Type-Options"), ngx_string("nosniff") },
    { ngx_string("Expires"), ngx_null_string },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_token_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_token_loc_conf_t  *tlcf;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token handler");

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    rc = ngx_http_token_grant(r);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!(r->method & tlcf->methods)
        && !(r->method == NGX_HTTP_HEAD && (tlcf->methods & NGX_HTTP_GET)))
    {
        if (ngx_http_token_add_header(r, "Allow", &tlcf->allow) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_token_send_error(r, NGX_HTTP_NOT_ALLOWED,
                                         "invalid_request",
                                         "This method is not allowed.");
    }

    return ngx_http_token_answer(r);
}


ngx_int_t
ngx_http_token_answer(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_token_got_t       *got;
    ngx_http_token_request_t   *request;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    request = ngx_palloc(r->pool, sizeof(ngx_http_token_request_t));
    if (request == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_token_evaluate(r, tlcf, request) != NGX_OK) {

        got = ngx_pcalloc(r->pool, sizeof(ngx_http_token_got_t));
        if (got == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        got->outcome = NGX_HTTP_TOKEN_INTERNAL;

        return ngx_http_token_reply(r, got);
    }

    if (tlcf->cache) {

        got = ngx_http_token_get(r, request, 0, ngx_http_token_resume, &rc);

        switch (rc) {

        case NGX_OK:
            return ngx_http_token_reply(r, got);

        case NGX_AGAIN:
            r->main->count++;
            return NGX_DONE;

        case NGX_DECLINED:
            break;

        default:
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_token_pass(r, request, 0);
}


static void
ngx_http_token_resume(ngx_http_request_t *r, ngx_http_token_got_t *got)
{
    ngx_http_finalize_request(r, ngx_http_token_reply(r, got));
}


static ngx_int_t
ngx_http_token_reply(ngx_http_request_t *r, ngx_http_token_got_t *got)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_token_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->got = got;

    if (got->outcome == NGX_HTTP_TOKEN_OK) {
        return ngx_http_token_send(r, NGX_HTTP_OK, &got->answer);
    }

    return ngx_http_token_send_failure(r, got->outcome, got->retry_after);
}


ngx_int_t
ngx_http_token_pass(ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_uint_t refresh_grant)
{
    ngx_int_t                rc;
    ngx_http_token_ctx_t    *ctx;
    ngx_http_token_fetch_t  *fetch;

    ctx = ngx_http_token_ctx(r);
    fetch = ngx_pcalloc(r->pool, sizeof(ngx_http_token_fetch_t));

    if (ctx == NULL || fetch == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    fetch->request = request;
    fetch->refresh_grant = refresh_grant;

    rc = ngx_http_token_fetch(r, fetch);

    if (rc == NGX_DECLINED) {
        return ngx_http_token_send_failure(r, NGX_HTTP_TOKEN_INTERNAL, 0);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->fetch = fetch;

    r->main->count++;
    r->write_event_handler = ngx_http_token_passed;

    return NGX_DONE;
}


static void
ngx_http_token_passed(ngx_http_request_t *r)
{
    ngx_http_token_got_t  *got;

    got = ngx_http_token_fetch_got(r, NULL);

    if (got) {
        r->write_event_handler = ngx_http_request_empty_handler;

        ngx_http_finalize_request(r, ngx_http_token_reply(r, got));
    }
}


ngx_http_token_got_t *
ngx_http_token_fetch_got(ngx_http_request_t *r, ngx_str_t *scheme)
{
    int64_t                  lifetime;
    ngx_http_token_ctx_t    *ctx;
    ngx_http_token_got_t    *got;
    ngx_http_token_fetch_t  *fetch;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    fetch = ctx->fetch;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http token fetch finished: %ui", fetch->finished);

    if (!fetch->finished) {
        return NULL;
    }

    got = &fetch->got;

    ngx_http_token_fetch_result(r, fetch);

    if (fetch->request->tlcf->cache) {
        ngx_http_token_cache_count(fetch->request->tlcf->cache->data, fetch);
    }

    got->outcome = fetch->outcome;
    got->retry_after = fetch->retry_after;
    got->cache_status = NGX_HTTP_TOKEN_CACHE_BYPASS;
    got->fetched = 1;
    got->upstream_status = fetch->upstream_status;
    got->upstream_time = fetch->upstream_time;

    if (fetch->outcome == NGX_HTTP_TOKEN_OK) {

        lifetime = ngx_http_token_json_lifetime(fetch->members);
        got->expires_in = (lifetime > 0) ? (time_t) (lifetime / 1000) : -1;

        if (ngx_http_token_answer_of(r->pool, fetch->request->tlcf,
                                     fetch->members, scheme, &got->answer)
            != NGX_OK)
        {
            got->outcome = NGX_HTTP_TOKEN_INTERNAL;
        }
    }

    return got;
}


ngx_int_t
ngx_http_token_answer_of(ngx_pool_t *pool, ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *members, ngx_str_t *scheme, ngx_str_t *answer)
{
    ngx_str_t  token;

    if (scheme == NULL) {
        return ngx_http_token_json_subset(pool, members, tlcf->fields, answer);
    }

    token = ngx_http_token_bearer_token(members);

    return ngx_http_token_bearer_value(pool, scheme, &token, answer);
}


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
    u_char     *p;
    size_t      len;
    ngx_str_t   body;

    if (ngx_http_token_has_error_page(r, status)) {
        return status;
    }

    len = sizeof("{\"error\":\"\",\"error_description\":\"\"}") - 1
          + ngx_strlen(error) + ngx_strlen(description);

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;
    body.len = ngx_snprintf(p, len,
                            "{\"error\":\"%s\",\"error_description\":\"%s\"}",
                            error, description)
               - p;

    return ngx_http_token_send(r, status, &body);
}


static ngx_int_t
ngx_http_token_send(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *body)
{
    ngx_buf_t                  *b;
    ngx_int_t                   rc;
    ngx_chain_t                 out;
    ngx_http_token_ctx_t       *ctx;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    ctx = ngx_http_token_ctx(r);
    b = ngx_calloc_buf(r->pool);

    if (ctx == NULL || b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->answered = 1;

    if (tlcf->answer_conf) {
        r->loc_conf = tlcf->answer_conf;
    }

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type_len = sizeof("application/json") - 1;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_lowcase = NULL;

    r->disable_not_modified = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
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
ngx_http_token_header_filter(ngx_http_request_t *r)
{
    ngx_keyval_t          *header;
    ngx_table_elt_t       *h;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL || !ctx->answered) {
        return NGX_OK;
    }

    ngx_http_token_remove_headers(r);

    for (header = ngx_http_token_own_headers; header->value.len; header++) {

        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->hash = 1;
#if (nginx_version >= 1023000)
        h->next = NULL;
#endif
        h->key = header->key;
        h->value = header->value;
        h->lowcase_key = NULL;
    }

    return NGX_OK;
}


ngx_table_elt_t *
ngx_http_token_add_header(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value = *value;
    h->lowcase_key = NULL;

    return h;
}


ngx_table_elt_t *
ngx_http_token_find_header(ngx_list_t *list, char *name)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);

    for (part = &list->part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == len
                && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
            {
                return &h[i];
            }
        }
    }

    return NULL;
}


/* "expires" and "add_header" cannot make a token cacheable */

static void
ngx_http_token_remove_headers(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_keyval_t     *header;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (header = ngx_http_token_own_headers; header->key.len; header++) {

            if (h[i].key.len == header->key.len
                && ngx_strcasecmp(h[i].key.data, header->key.data) == 0)
            {
                h[i].hash = 0;
            }
        }
    }
}


ngx_http_token_ctx_t *
ngx_http_token_ctx(ngx_http_request_t *r)
{
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_token_ctx_t));
        if (ctx == NULL) {
            return NULL;
        }

        ngx_http_set_ctx(r, ctx, ngx_http_token_module);
    }

    return ctx;
}
