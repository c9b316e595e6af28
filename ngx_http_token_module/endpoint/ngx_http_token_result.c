
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The result of a finished call of the token endpoint: a token, or one of the
 * failures.
 */


#include "ngx_http_token_endpoint.h"


#define NGX_HTTP_TOKEN_MAX_RETRY_AFTER  3600


static void ngx_http_token_fetch_upstream(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_fetch_complete(ngx_http_request_t *sr);
static void ngx_http_token_fetch_process_token(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);
static void ngx_http_token_fetch_process_error(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);
static ngx_int_t ngx_http_token_fetch_members(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t **members);
static void ngx_http_token_fetch_refused(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t *members);
static ngx_uint_t ngx_http_token_client_refused(
    ngx_http_token_fetch_t *fetch, ngx_array_t *members);
static ngx_uint_t ngx_http_token_tokens_refused(
    ngx_http_token_fetch_t *fetch, ngx_array_t *members);
static ngx_uint_t ngx_http_token_has_path(ngx_http_token_loc_conf_t *tlcf,
    char *name);
static ngx_uint_t ngx_http_token_refusal_outcome(
    ngx_http_token_fetch_t *fetch, ngx_array_t *members);
static ngx_uint_t ngx_http_token_member_is(ngx_http_token_member_t *m,
    char *text);
static time_t ngx_http_token_retry_after(ngx_http_request_t *sr);


void
ngx_http_token_fetch_process_response(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    ngx_event_pipe_t    *p;
    ngx_http_request_t  *sr;

    sr = fetch->subrequest;

    r->connection->log->action = "requesting a token";

    ngx_http_token_fetch_upstream(fetch);

    fetch->outcome = NGX_HTTP_TOKEN_UNREACHABLE;

    if (fetch->upstream_status == 0
        || fetch->rc >= NGX_HTTP_SPECIAL_RESPONSE)
    {
        /* nginx has logged the reason */

        if (fetch->rc == NGX_HTTP_GATEWAY_TIME_OUT) {
            fetch->outcome = NGX_HTTP_TOKEN_TIMEOUT;
        }

        return;
    }

    /* a 204 has no body, RFC 9110 15.3.5 */

    if (fetch->upstream_status < NGX_HTTP_OK
        || fetch->upstream_status >= NGX_HTTP_SPECIAL_RESPONSE
        || fetch->upstream_status == NGX_HTTP_NO_CONTENT)
    {
        ngx_http_token_fetch_process_error(r, fetch);
        return;
    }

    if (fetch->rc == NGX_OK && ngx_http_token_fetch_complete(sr)) {
        ngx_http_token_fetch_process_token(r, fetch);
        return;
    }

    fetch->outcome = NGX_HTTP_TOKEN_INCOMPLETE;

    p = sr->upstream->pipe;

    if (p && p->upstream_error
        && fetch->upstream_time >= sr->upstream->conf->read_timeout)
    {
        fetch->outcome = NGX_HTTP_TOKEN_TIMEOUT;
    }
}


static void
ngx_http_token_fetch_upstream(ngx_http_token_fetch_t *fetch)
{
    ngx_array_t                *states;
    ngx_http_request_t         *sr;
    ngx_http_upstream_state_t  *state;

    sr = fetch->subrequest;
    states = sr->upstream_states;

    if (states == NULL || states->nelts == 0) {
        return;
    }

    state = (ngx_http_upstream_state_t *) states->elts + states->nelts - 1;

    if (state->response_time != (ngx_msec_t) -1) {
        fetch->upstream_time = state->response_time;
    }

    /* a state's status is nginx's own if the endpoint gave none */

    if (sr->upstream && sr->upstream->headers_in.status_n) {
        fetch->upstream_status = sr->upstream->headers_in.status_n;
    }
}


/*
 * An answer that was cut off in its body ends as a subrequest with NGX_OK;
 * the condition is the one by which the upstream code tells the two apart.
 */

static ngx_uint_t
ngx_http_token_fetch_complete(ngx_http_request_t *sr)
{
    ngx_event_pipe_t  *p;

    p = sr->upstream->pipe;

    if (p == NULL || sr->out == NULL) {
        return 0;
    }

    if (p->downstream_error) {
        /* larger than token_proxy_max_response_size */
        return 0;
    }

    return (p->upstream_done || (p->upstream_eof && p->length == -1));
}


static void
ngx_http_token_fetch_process_token(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    u_char                   *said;
    ngx_int_t                 rc;
    ngx_str_t                 body, endpoint;
    ngx_array_t              *members;
    ngx_http_token_member_t  *token;

    rc = ngx_http_token_fetch_members(r, fetch, &body, &members);

    if (rc == NGX_ERROR) {
        fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;
        return;
    }

    token = members ? ngx_http_token_json_find(members, "access_token") : NULL;

    if (members && ngx_http_token_has_path(fetch->request->tlcf, "error")
        && ngx_http_token_is_error(members))
    {
        token = NULL;
    }

    if (token && token->is_string && token->string.len) {
        fetch->members = members;
        fetch->lifetime = ngx_http_token_lifetime(r->pool, members);

        rc = ngx_http_token_limit_lifetime(r->pool, fetch);

        fetch->outcome = (rc == NGX_OK) ? NGX_HTTP_TOKEN_OK
                                        : NGX_HTTP_TOKEN_INTERNAL;
        return;
    }

    if (members && ngx_http_token_is_error(members)) {
        ngx_http_token_fetch_refused(r, fetch, &body, members);
        return;
    }

    said = ngx_http_token_endpoint_said(r, fetch, &body, members);
    endpoint = ngx_http_token_log_url(&fetch->request->endpoint);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "answer of token endpoint \"%V\" %s%s", &endpoint,
                  members ? "has no access_token that is a string"
                          : "is not a JSON object", said);

    fetch->outcome = NGX_HTTP_TOKEN_INVALID;
}


static void
ngx_http_token_fetch_process_error(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    ngx_str_t     body;
    ngx_array_t  *members;

    (void) ngx_http_token_fetch_members(r, fetch, &body, &members);

    ngx_http_token_fetch_refused(r, fetch, &body, members);
}


/* the members are NULL if the body is no JSON object */

static ngx_int_t
ngx_http_token_fetch_members(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t **members)
{
    ngx_int_t   rc;
    ngx_buf_t  *b;

    ngx_str_null(body);
    *members = NULL;

    if (fetch->subrequest->out == NULL) {
        return NGX_DECLINED;
    }

    b = fetch->subrequest->out->buf;

    body->data = b->pos;
    body->len = b->last - b->pos;

    rc = ngx_http_token_json_parse_paths(r->pool, body,
                                         fetch->request->tlcf->paths, members);

    if (rc != NGX_OK) {
        *members = NULL;
    }

    return rc;
}


static void
ngx_http_token_fetch_refused(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t *members)
{
    u_char      *said;
    ngx_str_t    endpoint;
    ngx_uint_t   level;

    fetch->outcome = ngx_http_token_refusal_outcome(fetch, members);

    if (fetch->outcome == NGX_HTTP_TOKEN_BUSY) {
        fetch->retry_after = ngx_http_token_retry_after(fetch->subrequest);
    }

    endpoint = ngx_http_token_log_url(&fetch->request->endpoint);

    if (fetch->other && ngx_http_token_client_refused(fetch, members)) {
        ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                      "token endpoint \"%V\" answered %ui to the %s client "
                      "secret, the other one is tried", &endpoint,
                      fetch->upstream_status,
                      (fetch->secret == NGX_HTTP_TOKEN_FIRST_SECRET)
                          ? "first" : "second");

        fetch->try_other = 1;
        return;
    }

    /* a mistake of the client's is no error of this server */

    level = (fetch->outcome == NGX_HTTP_TOKEN_BAD_GRANT
             || fetch->outcome == NGX_HTTP_TOKEN_BAD_SCOPE)
            ? NGX_LOG_INFO : NGX_LOG_ERR;

    if (fetch->drop_tokens && ngx_http_token_tokens_refused(fetch, members)
        && fetch->drop_tokens(fetch))
    {
        fetch->try_again = 1;
        level = NGX_LOG_NOTICE;
    }

    said = ngx_http_token_endpoint_said(r, fetch, body, members);

    ngx_log_error(level, r->connection->log, 0,
                  "token endpoint \"%V\" answered %ui%s%s",
                  &endpoint, fetch->upstream_status, said,
                  fetch->try_again ? ", it is asked again with another token"
                                   : "");
}


/* RFC 6749 5.2: another secret may be the right one */

static ngx_uint_t
ngx_http_token_client_refused(ngx_http_token_fetch_t *fetch,
    ngx_array_t *members)
{
    ngx_http_token_member_t  *error;

    if (fetch->upstream_status == NGX_HTTP_UNAUTHORIZED) {
        return 1;
    }

    error = members ? ngx_http_token_error_code(members) : NULL;

    return (fetch->upstream_status < NGX_HTTP_INTERNAL_SERVER_ERROR
            && ngx_http_token_member_is(error, "invalid_client"));
}


/*
 * Whether a token of another location that was sent may be the reason: by RFC
 * 7521 4.1, by RFC 8693 2.2.2, or by RFC 6750 3.1 for one in a header.
 */

static ngx_uint_t
ngx_http_token_tokens_refused(ngx_http_token_fetch_t *fetch,
    ngx_array_t *members)
{
    ngx_http_token_member_t  *error;

    if (fetch->upstream_status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return 0;
    }

    error = members ? ngx_http_token_error_code(members) : NULL;

    if (ngx_http_token_member_is(error, "invalid_grant")
        || ngx_http_token_member_is(error, "invalid_request")
        || ngx_http_token_member_is(error, "invalid_token"))
    {
        return 1;
    }

    /* otherwise a 401 is for the client, unless it has shown nothing else */

    return (fetch->upstream_status == NGX_HTTP_UNAUTHORIZED
            && fetch->request->tlcf->auth.method == NGX_HTTP_TOKEN_AUTH_NONE
            && !ngx_http_token_member_is(error, "invalid_client"));
}


/* whether token_proxy_member says where a member is */

static ngx_uint_t
ngx_http_token_has_path(ngx_http_token_loc_conf_t *tlcf, char *name)
{
    ngx_uint_t              i;
    ngx_http_token_path_t  *path;

    if (tlcf->paths == NULL) {
        return 0;
    }

    path = tlcf->paths->elts;

    for (i = 0; i < tlcf->paths->nelts; i++) {
        if (ngx_http_token_equals(&path[i].name, name)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_token_refusal_outcome(ngx_http_token_fetch_t *fetch,
    ngx_array_t *members)
{
    ngx_uint_t                status;
    ngx_http_token_member_t  *error;

    status = fetch->upstream_status;

    if (status == NGX_HTTP_TOO_MANY_REQUESTS
        || status == NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        return NGX_HTTP_TOKEN_BUSY;
    }

    if (status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return NGX_HTTP_TOKEN_BROKEN;
    }

    error = members ? ngx_http_token_error_code(members) : NULL;

    if (status < NGX_HTTP_SPECIAL_RESPONSE) {

        /* the status says nothing, so that the error has to */

        if (ngx_http_token_member_is(error, "temporarily_unavailable")) {
            return NGX_HTTP_TOKEN_BUSY;
        }

        if (ngx_http_token_member_is(error, "server_error")) {
            return NGX_HTTP_TOKEN_BROKEN;
        }
    }

    if (status < NGX_HTTP_OK || status == NGX_HTTP_NO_CONTENT
        || (status >= NGX_HTTP_SPECIAL_RESPONSE
            && status < NGX_HTTP_BAD_REQUEST))
    {
        return NGX_HTTP_TOKEN_INVALID;
    }

    if (!fetch->request->refresh_grant) {
        return NGX_HTTP_TOKEN_REFUSED;
    }

    /* this server's client may be refused, or the caller's grant */

    if (ngx_http_token_member_is(error, "invalid_client")
        || ngx_http_token_member_is(error, "invalid_client_id")
        || ngx_http_token_member_is(error, "unauthorized_client"))
    {
        return NGX_HTTP_TOKEN_REFUSED;
    }

    /*
     * RFC 6749 5.2 has 401 for a client that was not authenticated, with an
     * error in the body.  Without that error the 401 may be for the refresh
     * token, which any caller can choose: so it counts as an invalid answer of
     * the endpoint, and not as a refusal of the client.
     */

    if (status == NGX_HTTP_UNAUTHORIZED && error == NULL) {
        return NGX_HTTP_TOKEN_INVALID;
    }

    if (fetch->request->refresh_grant == NGX_HTTP_TOKEN_GRANT_SCOPE
        && ngx_http_token_member_is(error, "invalid_scope"))
    {
        return NGX_HTTP_TOKEN_BAD_SCOPE;
    }

    return NGX_HTTP_TOKEN_BAD_GRANT;
}


static ngx_uint_t
ngx_http_token_member_is(ngx_http_token_member_t *m, char *text)
{
    return (m && ngx_http_token_equals(&m->string, text));
}


/* seconds, or a date (RFC 9110 10.2.3); 0 if there is none that is right */

static time_t
ngx_http_token_retry_after(ngx_http_request_t *sr)
{
    time_t            seconds;
    ngx_table_elt_t  *h;

    h = ngx_http_token_find_header(&sr->upstream->headers_in.headers,
                                   "Retry-After");
    if (h == NULL) {
        return 0;
    }

    seconds = ngx_atotm(h->value.data, h->value.len);

    if (seconds == NGX_ERROR) {
        seconds = ngx_parse_http_time(h->value.data, h->value.len);

        if (seconds == NGX_ERROR) {
            return 0;
        }

        seconds -= ngx_time();
    }

    if (seconds < 0) {
        return 0;
    }

    return ngx_min(seconds, NGX_HTTP_TOKEN_MAX_RETRY_AFTER);
}


ngx_int_t
ngx_http_token_compose(ngx_pool_t *pool, ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *members, ngx_str_t *scheme, ngx_str_t *answer)
{
    ngx_str_t  token;

    if (scheme == NULL) {
        return ngx_http_token_json_subset(pool, members, tlcf->fields, answer);
    }

    token = ngx_http_token_bearer_token(members);

    return ngx_http_token_bearer_value(pool, scheme, &token, answer);
}


/* RFC 6750 2.1, and RFC 6749 A.12 for what is no Bearer token */

ngx_str_t
ngx_http_token_bearer_token(ngx_array_t *members)
{
    ngx_str_t                 token;
    ngx_http_token_member_t  *m;

    m = ngx_http_token_json_find(members, "access_token");

    token = m->string;

    if (ngx_http_token_check_credential(&token) != NULL) {
        ngx_str_null(&token);
    }

    return token;
}


ngx_int_t
ngx_http_token_bearer_value(ngx_pool_t *pool, ngx_str_t *scheme,
    ngx_str_t *token, ngx_str_t *value)
{
    u_char  *p;

    ngx_str_null(value);

    if (token->len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, scheme->len + token->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;
    value->len = scheme->len + token->len;

    p = ngx_cpymem(p, scheme->data, scheme->len);
    ngx_memcpy(p, token->data, token->len);

    return NGX_OK;
}
