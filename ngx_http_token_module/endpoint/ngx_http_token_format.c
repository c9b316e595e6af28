
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The form in which the parameters of a token request are sent: as a form, as
 * JSON, or in the query of the URL.
 */


#include "ngx_http_token_endpoint.h"


static ngx_int_t ngx_http_token_format_check_url(ngx_http_request_t *r,
    ngx_str_t *endpoint);
static ngx_int_t ngx_http_token_join_url(ngx_pool_t *pool,
    ngx_str_t *endpoint, ngx_str_t *query, ngx_str_t *url);


ngx_int_t
ngx_http_token_format(ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_str_t *url, ngx_str_t *body)
{
    ngx_int_t                   rc;
    ngx_str_t                   query;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    ngx_str_null(&query);

    if (tlcf->endpoint->lengths) {
        rc = ngx_http_token_format_check_url(r, &request->endpoint);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    switch (tlcf->format) {

    case NGX_HTTP_TOKEN_FORMAT_JSON:

        if (ngx_http_token_form_json(r->pool, &request->body, body) != NGX_OK) {
            return NGX_ERROR;
        }

        break;

    case NGX_HTTP_TOKEN_FORMAT_QUERY:
        ngx_str_set(body, "");
        query = request->body;
        break;

    default: /* NGX_HTTP_TOKEN_FORMAT_FORM */
        *body = request->body;
    }

    if (tlcf->constant_url) {
        *url = request->endpoint;
        return NGX_OK;
    }

    return ngx_http_token_join_url(r->pool, &request->endpoint, &query, url);
}


/*
 * A URL with variables: a space or a line's end in it would be one in the
 * request, and what is wrong in it nginx would log with its query.
 */

static ngx_int_t
ngx_http_token_format_check_url(ngx_http_request_t *r, ngx_str_t *endpoint)
{
    char       *wrong;
    ngx_str_t   host, shown;
    ngx_url_t   u;

    host = ngx_http_token_url_host(endpoint);

    if (ngx_strlchr(host.data, host.data + host.len, '@')) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "a user name in \"token_proxy_endpoint\" is not allowed");
        return NGX_DECLINED;
    }

    wrong = ngx_http_token_prepare_url(endpoint, &u);

    if (wrong == NULL && ngx_parse_url(r->pool, &u) != NGX_OK) {
        wrong = u.err ? u.err : "out of memory";
    }

    if (wrong == NULL) {
        return NGX_OK;
    }

    shown = ngx_http_token_log_url(endpoint);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "%s in \"token_proxy_endpoint\" \"%V\"", wrong, &shown);

    return NGX_DECLINED;
}


/*
 * A URL may have a query of its own, and no path.  nginx would take a query
 * behind an IPv6 address for its port, and one behind a Unix socket for a part
 * of the socket's path: so the path is written.
 */

static ngx_int_t
ngx_http_token_join_url(ngx_pool_t *pool, ngx_str_t *endpoint,
    ngx_str_t *query, ngx_str_t *url)
{
    u_char     *p, *path, *last;
    ngx_str_t   add;

    path = ngx_http_token_url_path(endpoint);
    last = endpoint->data + endpoint->len;

    if (path == NULL) {
        path = last;
        ngx_str_set(&add, ":/");

    } else if (path < last && *path == '/') {
        ngx_str_set(&add, "");

    } else {
        ngx_str_set(&add, "/");
    }

    if (query->len == 0 && add.len == 0) {
        *url = *endpoint;
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, endpoint->len + add.len + 1 + query->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    url->data = p;

    p = ngx_cpymem(p, endpoint->data, path - endpoint->data);
    p = ngx_cpymem(p, add.data, add.len);
    p = ngx_cpymem(p, path, last - path);

    if (query->len) {

        if (ngx_strlchr(path, last, '?') == NULL) {
            *p++ = '?';

        } else if (last[-1] != '?' && last[-1] != '&') {
            *p++ = '&';
        }

        p = ngx_cpymem(p, query->data, query->len);
    }

    url->len = p - url->data;

    return NGX_OK;
}
