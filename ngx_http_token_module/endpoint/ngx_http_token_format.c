
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The form in which the parameters of a token request are sent: as a form, as
 * JSON, or in the query of the URL.
 */


#include "ngx_http_token_endpoint.h"


static ngx_int_t ngx_http_token_format_check_url(ngx_http_request_t *r,
    ngx_str_t *endpoint);
static ngx_int_t ngx_http_token_add_query(ngx_pool_t *pool,
    ngx_str_t *endpoint, ngx_str_t *query, ngx_str_t *url);


ngx_int_t
ngx_http_token_format(ngx_http_request_t *r, ngx_http_token_request_t *request,
    ngx_str_t *url, ngx_str_t *body)
{
    ngx_int_t                   rc;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    *url = request->endpoint;

    if (tlcf->endpoint->lengths) {
        rc = ngx_http_token_format_check_url(r, url);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    switch (tlcf->format) {

    case NGX_HTTP_TOKEN_FORMAT_JSON:
        return ngx_http_token_form_json(r->pool, &request->body, body);

    case NGX_HTTP_TOKEN_FORMAT_QUERY:
        ngx_str_set(body, "");

        return ngx_http_token_add_query(r->pool, &request->endpoint,
                                        &request->body, url);

    default: /* NGX_HTTP_TOKEN_FORMAT_FORM */
        *body = request->body;
        return NGX_OK;
    }
}


/*
 * A URL with variables: a space or a line's end in it would be one in the
 * request, and what is wrong in it nginx would log with its query.
 */

static ngx_int_t
ngx_http_token_format_check_url(ngx_http_request_t *r, ngx_str_t *endpoint)
{
    char       *wrong;
    ngx_str_t   shown;
    ngx_url_t   u;

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
 * A URL may have a query of its own.  That of a Unix socket has a path behind
 * a second colon, or none: the query would be a part of the socket's path.
 */

static ngx_int_t
ngx_http_token_add_query(ngx_pool_t *pool, ngx_str_t *endpoint,
    ngx_str_t *query, ngx_str_t *url)
{
    u_char     *p, *uri, *last;
    ngx_str_t   host;

    if (query->len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, endpoint->len + sizeof(":/?") - 1 + query->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    url->data = p;

    last = endpoint->data + endpoint->len;
    p = ngx_cpymem(p, endpoint->data, endpoint->len);

    host = ngx_http_token_url_host(endpoint);
    uri = host.data;

    if (host.len >= 5
        && ngx_strncasecmp(host.data, (u_char *) "unix:", 5) == 0)
    {
        uri = ngx_strlchr(host.data + 5, last, ':');

        if (uri == NULL) {
            p = ngx_cpymem(p, ":/", 2);
            uri = last;
        }
    }

    if (ngx_strlchr(uri, last, '?') == NULL) {
        *p++ = '?';

    } else if (last[-1] != '?' && last[-1] != '&') {
        *p++ = '&';
    }

    p = ngx_cpymem(p, query->data, query->len);

    url->len = p - url->data;

    return NGX_OK;
}
