
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * One call of the token endpoint: a subrequest, kept in memory, of a request
 * that has no client.  It does not end when a caller leaves, unless the code
 * that waits for it closes it, and no caller's next request waits for it.
 */


#include "ngx_http_token_endpoint.h"


static ngx_int_t ngx_http_token_fetch_complete_request(
    ngx_http_token_fetch_t *fetch, ngx_http_token_request_t *request);
static void ngx_http_token_fetch_set_deadline(ngx_http_token_fetch_t *fetch);
static ngx_int_t ngx_http_token_fetch_subrequest(
    ngx_http_token_fetch_t *fetch);
static ngx_int_t ngx_http_token_fetch_headers_in(ngx_http_request_t *sr,
    ngx_str_t *endpoint);
static void ngx_http_token_fetch_run(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);
static void ngx_http_token_fetch_finished(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_fetch_other(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_fetch_stale(ngx_http_token_fetch_t *fetch);
static void ngx_http_token_fetch_deadline(ngx_event_t *ev);
static void ngx_http_token_fetch_shutdown(ngx_event_t *ev);


static ngx_str_t  ngx_http_token_post_method = ngx_string("POST");
static ngx_str_t  ngx_http_token_get_method = ngx_string("GET");


ngx_http_token_fetch_t *
ngx_http_token_fetch_create(ngx_http_token_loc_conf_t *tlcf, ngx_log_t *log)
{
    ngx_http_request_t        *r;
    ngx_http_token_ctx_t      *ctx;
    ngx_http_token_fetch_t    *fetch;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = tlcf->loc_conf[ngx_http_core_module.ctx_index];

    r = ngx_http_token_detached_create(tlcf->fetch_connection, &clcf->name,
                                       ngx_http_token_fetch_shutdown, log);
    if (r == NULL) {
        return NULL;
    }

    ctx = ngx_http_token_ctx(r);
    fetch = ngx_pcalloc(r->pool, sizeof(ngx_http_token_fetch_t));

    if (ctx == NULL || fetch == NULL) {
        ngx_http_token_detached_close(r);
        return NULL;
    }

    ctx->fetch = fetch;
    fetch->main = r;

    if (tlcf->auth.second_secret) {
        fetch->secret = ngx_max(tlcf->auth.secret,
                                NGX_HTTP_TOKEN_FIRST_SECRET);
    }

    fetch->deadline.handler = ngx_http_token_fetch_deadline;
    fetch->deadline.data = fetch;
    fetch->deadline.log = r->connection->log;

    fetch->limit = -1;
    fetch->token_limit = -1;

    return fetch;
}


void
ngx_http_token_fetch_start(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    fetch->request = request;
    fetch->finished = 0;

    fetch->main->write_event_handler = ngx_http_token_fetch_finished;

    c = fetch->main->connection;

    rc = ngx_http_token_fetch_complete_request(fetch, request);

    if (rc == NGX_OK) {
        rc = ngx_http_token_fetch_subrequest(fetch);
    }

    if (rc != NGX_OK) {
        ngx_http_token_fetch_fail(fetch, (rc == NGX_DECLINED)
                                         ? NGX_HTTP_TOKEN_UNREACHABLE
                                         : NGX_HTTP_TOKEN_INTERNAL);
        return;
    }

    ngx_http_token_fetch_set_deadline(fetch);

    ngx_http_run_posted_requests(c);
}


/*
 * What the request is made of is the caller's, and is here now: the one with
 * the other secret is made as well, in case this one is refused.
 */

static ngx_int_t
ngx_http_token_fetch_complete_request(ngx_http_token_fetch_t *fetch,
    ngx_http_token_request_t *request)
{
    ngx_uint_t                 other;
    ngx_http_token_request_t  *complete;

    complete = ngx_http_token_complete_request(fetch->main, request,
                                               fetch->secret);
    if (complete == NULL) {
        return NGX_ERROR;
    }

    fetch->request = complete;

    if (fetch->secret == 0) {
        return NGX_OK;
    }

    other = (fetch->secret == NGX_HTTP_TOKEN_FIRST_SECRET)
            ? NGX_HTTP_TOKEN_SECOND_SECRET : NGX_HTTP_TOKEN_FIRST_SECRET;

    fetch->other = ngx_http_token_complete_request(fetch->main, request, other);

    return fetch->other ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_token_fetch_set_deadline(ngx_http_token_fetch_t *fetch)
{
    ngx_http_upstream_conf_t  *ucf;

    /* the read timeout starts anew with each byte that the endpoint sends */

    ucf = ngx_http_get_module_loc_conf(fetch->main, ngx_http_proxy_module);

    ngx_add_timer(&fetch->deadline, ucf->connect_timeout + ucf->send_timeout
                                    + ucf->read_timeout);
}


static ngx_int_t
ngx_http_token_fetch_subrequest(ngx_http_token_fetch_t *fetch)
{
    ngx_int_t                    rc;
    ngx_http_request_t          *r, *sr;
    ngx_http_post_subrequest_t  *ps;

    r = fetch->main;

    /* an assertion is good for one call */

    fetch->sent = ngx_http_token_sign_request(r, fetch->request);
    if (fetch->sent == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_token_format(r, fetch->sent, &fetch->url, &fetch->body);

    if (rc != NGX_OK) {
        return rc;
    }

    fetch->authorization = fetch->sent->authorization;
    fetch->bearer = fetch->sent->bearer_value;

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_token_fetch_done;
    ps->data = fetch;

    if (ngx_http_subrequest(r, &r->uri, NULL, &sr, ps,
                            NGX_HTTP_SUBREQUEST_IN_MEMORY
                            |NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK
        || ngx_http_token_fetch_headers_in(sr, &fetch->sent->endpoint)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* an endpoint's URL may have no path; the one that it has replaces this */

    ngx_str_set(&sr->uri, "/");
    sr->valid_location = 1;

    /* nginx repeats no POST at another server, and so this GET neither */

    sr->method = NGX_HTTP_POST;
    sr->method_name = (fetch->request->tlcf->format
                       == NGX_HTTP_TOKEN_FORMAT_QUERY)
                      ? ngx_http_token_get_method : ngx_http_token_post_method;

    /* it starts in its location: no phase has to find one */

    sr->loc_conf = r->loc_conf;
    sr->content_handler = fetch->request->tlcf->proxy_handler;
    sr->write_event_handler = ngx_http_token_fetch_run;

    ngx_http_set_ctx(sr, ngx_http_token_ctx(r), ngx_http_token_module);

    fetch->subrequest = sr;

    return NGX_OK;
}


/* $host and $http_host name the endpoint */

static ngx_int_t
ngx_http_token_fetch_headers_in(ngx_http_request_t *sr, ngx_str_t *endpoint)
{
    u_char           *p;
    ngx_str_t         host;
    ngx_table_elt_t  *h;

    if (ngx_list_init(&sr->headers_in.headers, sr->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    h = ngx_pcalloc(sr->pool, sizeof(ngx_table_elt_t));
    if (h == NULL) {
        return NGX_ERROR;
    }

    host = ngx_http_token_url_host(endpoint);

    h->hash = 1;
    ngx_str_set(&h->key, "Host");
    h->lowcase_key = (u_char *) "host";
    h->value = host;

    sr->headers_in.host = h;

    /* without the port, which follows the bracket of an IPv6 address */

    sr->headers_in.server = host;

    p = host.data + host.len;

    while (p > host.data && p[-1] >= '0' && p[-1] <= '9') {
        p--;
    }

    if (p > host.data && p[-1] == ':') {
        sr->headers_in.server.len = p - 1 - host.data;
    }

    return NGX_OK;
}


static void
ngx_http_token_fetch_run(ngx_http_request_t *sr)
{
    sr->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_finalize_request(sr, sr->content_handler(sr));
}


/* called when the subrequest ends, perhaps twice: the result is made later */

static ngx_int_t
ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_token_fetch_t  *fetch = data;

    if (!fetch->finished) {
        fetch->finished = 1;
        fetch->rc = rc;
    }

    /* an answer that is too large is no error of the connection */

    sr->connection->error = 0;

    /* with an error nginx would make an error page; the parent handles it */

    return NGX_OK;
}


/* the write_event_handler of the request, run when the subrequest has ended */

static void
ngx_http_token_fetch_finished(ngx_http_request_t *r)
{
    ngx_http_token_fetch_t  *fetch;

    fetch = ngx_http_token_ctx(r)->fetch;

    if (!fetch->finished) {
        return;
    }

    if (ngx_http_token_fetch_stale(fetch)) {

        fetch->repeats++;
        fetch->finished = 0;

        if (ngx_http_token_fetch_subrequest(fetch) == NGX_OK) {
            return;
        }

        fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;

    } else {
        ngx_http_token_fetch_process_response(r, fetch);
    }

    if (fetch->try_other) {

        fetch->try_other = 0;
        fetch->finished = 0;

        if (ngx_http_token_fetch_other(fetch) == NGX_OK) {
            return;
        }

        fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;
    }

    if (fetch->try_again) {

        /* a token that was sent is not good any more: it waits for another */

        fetch->try_again = 0;

        if (fetch->deadline.timer_set) {
            ngx_del_timer(&fetch->deadline);
        }

        fetch->again(fetch);
        return;
    }

    if (fetch->secret && fetch->outcome == NGX_HTTP_TOKEN_OK) {
        fetch->request->tlcf->auth.secret = fetch->secret;
    }

    ngx_http_token_fetch_end(fetch);
}


/* asks once more, with the other secret */

static ngx_int_t
ngx_http_token_fetch_other(ngx_http_token_fetch_t *fetch)
{
    fetch->request = fetch->other;
    fetch->other = NULL;
    fetch->tried_other = 1;

    fetch->secret = (fetch->secret == NGX_HTTP_TOKEN_FIRST_SECRET)
                    ? NGX_HTTP_TOKEN_SECOND_SECRET
                    : NGX_HTTP_TOKEN_FIRST_SECRET;

    fetch->upstream_status = 0;
    fetch->upstream_time = 0;

    ngx_http_token_fetch_set_deadline(fetch);

    return ngx_http_token_fetch_subrequest(fetch);
}


/*
 * Whether a kept connection has ended before a byte of the answer, as it does
 * when the endpoint closes it at that moment.  nginx does not send a POST again
 * there: it cannot know that a token request may be.  A caller's refresh token
 * may have been used up all the same, so it is sent again once.
 */

static ngx_uint_t
ngx_http_token_fetch_stale(ngx_http_token_fetch_t *fetch)
{
    ngx_http_upstream_t  *u;

    u = fetch->subrequest->upstream;

    if (fetch->request->refresh_grant && fetch->repeats) {
        return 0;
    }

    return (fetch->rc == NGX_HTTP_BAD_GATEWAY
            && u && u->peer.cached && u->state->bytes_received == 0);
}


static void
ngx_http_token_fetch_deadline(ngx_event_t *ev)
{
    ngx_str_t                endpoint;
    ngx_http_token_fetch_t  *fetch;

    fetch = ev->data;

    endpoint = ngx_http_token_log_url(&fetch->request->endpoint);

    ngx_log_error(NGX_LOG_ERR, ev->log, 0,
                  "token endpoint \"%V\" did not end its answer in time",
                  &endpoint);

    fetch->outcome = NGX_HTTP_TOKEN_TIMEOUT;

    ngx_http_token_fetch_end(fetch);
}


static void
ngx_http_token_fetch_shutdown(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_token_fetch_t  *fetch;

    c = ev->data;

    if (!c->close) {
        return;
    }

    /* c->data is the subrequest while it runs */

    r = c->data;

    fetch = ngx_http_token_ctx(r->main)->fetch;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "worker_shutdown_timeout ends a token request");

    fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;

    ngx_http_token_fetch_end(fetch);
}


void
ngx_http_token_fetch_end(ngx_http_token_fetch_t *fetch)
{
    fetch->handler(fetch);

    ngx_http_token_fetch_close(fetch);
}


void
ngx_http_token_fetch_fail(ngx_http_token_fetch_t *fetch, ngx_uint_t outcome)
{
    fetch->outcome = outcome;

    ngx_http_token_fetch_end(fetch);
}


void
ngx_http_token_fetch_close(ngx_http_token_fetch_t *fetch)
{
    if (fetch->deadline.timer_set) {
        ngx_del_timer(&fetch->deadline);
    }

    ngx_http_token_detached_close(fetch->main);
}
