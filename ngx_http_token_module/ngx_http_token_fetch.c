
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * One call of the token endpoint: the request out, the response in.
 */


#include "ngx_http_token_module.h"


#define NGX_HTTP_TOKEN_MAX_RETRY_AFTER  3600


static ngx_int_t ngx_http_token_evaluate_value(ngx_http_request_t *r,
    ngx_http_token_value_t *value, ngx_str_t *text);
static ngx_int_t ngx_http_token_evaluate_client(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *id, ngx_str_t *secret);
static ngx_int_t ngx_http_token_evaluate_body(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *id, ngx_str_t *secret,
    ngx_str_t *body);
static ngx_int_t ngx_http_token_build_body(ngx_pool_t *pool,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *id, ngx_str_t *secret,
    ngx_str_t *values, ngx_str_t *body);
static ngx_int_t ngx_http_token_init_headers_in(ngx_http_request_t *sr,
    ngx_http_token_request_t *request);
static void ngx_http_token_fetch_run(ngx_http_request_t *sr);
static void ngx_http_token_fetch_mute(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_process_header(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_reinit_request(ngx_http_request_t *sr);
static ngx_int_t ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);
static void ngx_http_token_fetch_upstream(ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_fetch_complete(ngx_http_request_t *sr);
static ngx_uint_t ngx_http_token_fetch_timed_out(ngx_http_request_t *sr,
    ngx_http_token_fetch_t *fetch);
static void ngx_http_token_fetch_answer(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);
static void ngx_http_token_fetch_refusal(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch);
static ngx_str_t ngx_http_token_said(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_array_t *members, char *name);
static ngx_uint_t ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text);
static ngx_uint_t ngx_http_token_is_public(ngx_str_t *name);
static ngx_uint_t ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret);
static time_t ngx_http_token_retry_after(ngx_http_request_t *sr);


static ngx_str_t  ngx_http_token_post_method = ngx_string("POST");


/* parameters of a token request that an error may repeat in the log */

static char  *ngx_http_token_public_params[] = {
    "grant_type",
    "client_id",
    "scope",
    "audience",
    "resource",
    "username",
    NULL
};


/*
 * nginx writes request headers and the values of variables to a debug log.
 * Where those are secrets, the log is told to be silent.
 */

static ngx_uint_t
ngx_http_token_mute(ngx_log_t *log)
{
    ngx_uint_t  level;

    level = log->log_level;
    log->log_level &= ~NGX_LOG_DEBUG_HTTP;

    return level;
}


char *
ngx_http_token_init_request(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_str_t                *id, *secret, *values;
    ngx_uint_t                i, constant;
    ngx_http_token_param_t   *param;

    tlcf->request.tlcf = tlcf;

    if (tlcf->endpoint->lengths == NULL) {
        tlcf->request.endpoint = tlcf->endpoint->value;
    }

    if (tlcf->client_id->complex
        || (tlcf->client_secret && tlcf->client_secret->complex))
    {
        id = NULL;
        secret = NULL;

    } else {
        id = &tlcf->client_id->text;
        secret = tlcf->client_secret ? &tlcf->client_secret->text : NULL;
    }

    if (id && tlcf->auth_method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC
        && ngx_http_token_basic_value(cf->pool, id, secret, tlcf->auth_form,
                                      &tlcf->request.authorization)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (id && secret) {
        tlcf->request.secret = *secret;
    }

    constant = (id != NULL
                || tlcf->auth_method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC);

    values = ngx_palloc(cf->pool,
                        (tlcf->params->nelts + 1) * sizeof(ngx_str_t));
    if (values == NULL) {
        return NGX_CONF_ERROR;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (param[i].value.complex) {
            constant = 0;
        }

        values[i] = param[i].value.text;
    }

    if (constant
        && ngx_http_token_build_body(cf->pool, tlcf, id, secret, values,
                                     &tlcf->request.body)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_token_evaluate(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_request_t *request)
{
    ngx_int_t    rc;
    ngx_str_t    id, secret;
    ngx_log_t   *log;
    ngx_uint_t   level;

    *request = tlcf->request;

    if (request->endpoint.data && request->body.data
        && (request->authorization.data
            || tlcf->auth_method != NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC))
    {
        return NGX_OK;
    }

    log = r->connection->log;

    level = ngx_http_token_mute(log);

    rc = ngx_http_complex_value(r, tlcf->endpoint, &request->endpoint);

    if (rc == NGX_OK) {
        rc = ngx_http_token_evaluate_client(r, tlcf, &id, &secret);
    }

    if (rc == NGX_OK && request->body.data == NULL) {
        rc = ngx_http_token_evaluate_body(r, tlcf, &id, &secret,
                                          &request->body);
    }

    log->log_level = level;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    request->secret = secret;

    if (request->authorization.data == NULL
        && tlcf->auth_method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC)
    {
        return ngx_http_token_basic_value(r->pool, &id, &secret,
                                          tlcf->auth_form,
                                          &request->authorization);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_evaluate_value(ngx_http_request_t *r,
    ngx_http_token_value_t *value, ngx_str_t *text)
{
    if (value->complex == NULL) {
        *text = value->text;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, value->complex, text) != NGX_OK) {
        return NGX_ERROR;
    }

    return value->is_file ? ngx_http_token_file(r, text, text) : NGX_OK;
}


static ngx_int_t
ngx_http_token_evaluate_client(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *id, ngx_str_t *secret)
{
    char  *wrong;

    ngx_str_null(secret);

    if (ngx_http_token_evaluate_value(r, tlcf->client_id, id) != NGX_OK) {
        return NGX_ERROR;
    }

    wrong = ngx_http_token_check_credential(id);

    if (wrong == NULL
        && tlcf->auth_method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC
        && !tlcf->auth_form
        && ngx_strlchr(id->data, id->data + id->len, ':'))
    {
        wrong = "contains a colon";
    }

    if (wrong) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the value of \"token_proxy_client_id\" %s", wrong);
        return NGX_ERROR;
    }

    if (tlcf->client_secret == NULL) {
        return NGX_OK;
    }

    if (ngx_http_token_evaluate_value(r, tlcf->client_secret, secret)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    wrong = ngx_http_token_check_credential(secret);

    if (wrong) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the value of \"token_proxy_client_secret\" %s", wrong);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_evaluate_body(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *id, ngx_str_t *secret,
    ngx_str_t *body)
{
    ngx_str_t               *values;
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    values = ngx_palloc(r->pool,
                        (tlcf->params->nelts + 1) * sizeof(ngx_str_t));
    if (values == NULL) {
        return NGX_ERROR;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (ngx_http_token_evaluate_value(r, &param[i].value, &values[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_token_build_body(r->pool, tlcf, id, secret, values, body);
}


static ngx_int_t
ngx_http_token_build_body(ngx_pool_t *pool, ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *id, ngx_str_t *secret, ngx_str_t *values, ngx_str_t *body)
{
    u_char                  *p;
    size_t                   len;
    ngx_uint_t               i, n;
    ngx_keyval_t            *kv;
    ngx_http_token_param_t  *param;

    kv = ngx_palloc(pool, (tlcf->params->nelts + 3) * sizeof(ngx_keyval_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    n = 0;

    ngx_str_set(&kv[n].key, "grant_type");
    kv[n++].value = tlcf->grant_type;

    if (tlcf->auth_method != NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC) {
        ngx_str_set(&kv[n].key, "client_id");
        kv[n++].value = *id;
    }

    if (tlcf->auth_method == NGX_HTTP_TOKEN_CLIENT_SECRET_POST) {
        ngx_str_set(&kv[n].key, "client_secret");
        kv[n++].value = *secret;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        kv[n].key = param[i].name;
        kv[n++].value = values[i];
    }

    len = 0;

    for (i = 0; i < n; i++) {
        len += ngx_http_token_form_encode(NULL, &kv[i].key)
               + ngx_http_token_form_encode(NULL, &kv[i].value)
               + sizeof("=&") - 1;
    }

    body->data = ngx_pnalloc(pool, len);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    p = body->data;

    for (i = 0; i < n; i++) {
        if (i) {
            *p++ = '&';
        }

        p = (u_char *) ngx_http_token_form_encode(p, &kv[i].key);
        *p++ = '=';
        p = (u_char *) ngx_http_token_form_encode(p, &kv[i].value);
    }

    body->len = p - body->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_token_fetch(ngx_http_request_t *r, ngx_http_token_fetch_t *fetch)
{
    ngx_int_t                    rc;
    ngx_uint_t                   flags, in_memory;
    ngx_http_request_t          *sr;
    ngx_http_token_ctx_t        *ctx;
    ngx_http_token_loc_conf_t   *tlcf;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_post_subrequest_t  *ps;

    tlcf = fetch->request->tlcf;
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_token_ctx_t));

    if (ps == NULL || ctx == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_token_fetch_done;
    ps->data = fetch;

    flags = NGX_HTTP_SUBREQUEST_IN_MEMORY|NGX_HTTP_SUBREQUEST_WAITED;
    in_memory = r->subrequest_in_memory;

    if (r->background || in_memory) {
        /* "mirror" and SSI's "set": out of the order of the caller's output */
        flags |= NGX_HTTP_SUBREQUEST_BACKGROUND;
    }

    /* nginx nests none of these, since their outputs would mix: not here */

    r->subrequest_in_memory = 0;

    rc = ngx_http_subrequest(r, &r->uri, NULL, &sr, ps, flags);

    r->subrequest_in_memory = in_memory;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    /*
     * The subrequest has nothing of the caller: no header, no query, no body,
     * and no variable that was evaluated for it.
     */

    sr->variables = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                         * sizeof(ngx_http_variable_value_t));
    if (sr->variables == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_token_init_headers_in(sr, fetch->request) != NGX_OK) {
        return NGX_ERROR;
    }

    sr->request_body = NULL;

    /* the path of an endpoint whose URL has none */
    ngx_str_set(&sr->uri, "/");

    sr->method = NGX_HTTP_POST;
    sr->method_name = ngx_http_token_post_method;

    /* it starts in its location, no phase looks for one */

    sr->loc_conf = tlcf->fetch_conf;
    sr->content_handler = tlcf->proxy_handler;
    sr->write_event_handler = ngx_http_token_fetch_run;

    ctx->request = fetch->request;
    ngx_http_set_ctx(sr, ctx, ngx_http_token_module);

    fetch->subrequest = sr;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_init_headers_in(ngx_http_request_t *sr,
    ngx_http_token_request_t *request)
{
    u_char           *p, *last, *host;
    ngx_table_elt_t  *h;

    ngx_memzero(&sr->headers_in, sizeof(ngx_http_headers_in_t));

    if (ngx_list_init(&sr->headers_in.headers, sr->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sr->headers_in.content_length_n = -1;
    sr->headers_in.keep_alive_n = -1;

    /* $host and $http_host name the endpoint */

    h = ngx_pcalloc(sr->pool, sizeof(ngx_table_elt_t));
    if (h == NULL) {
        return NGX_ERROR;
    }

    last = request->endpoint.data + request->endpoint.len;
    host = ngx_strlchr(request->endpoint.data, last, '/');

    host = (host && last - host > 1) ? host + 2 : last;

    for (p = host; p < last && *p != '/' && *p != '?'; p++) { /* void */ }

    h->hash = 1;
    ngx_str_set(&h->key, "Host");
    h->lowcase_key = (u_char *) "host";
    h->value.data = host;
    h->value.len = p - host;

    sr->headers_in.host = h;

    /* without the port, which follows the bracket of an IPv6 address */

    sr->headers_in.server = h->value;

    while (p > host && p[-1] >= '0' && p[-1] <= '9') {
        p--;
    }

    if (p > host && p[-1] == ':') {
        sr->headers_in.server.len = p - 1 - host;
    }

    return NGX_OK;
}


static void
ngx_http_token_fetch_run(ngx_http_request_t *sr)
{
    ngx_int_t    rc;
    ngx_log_t   *log;
    ngx_uint_t   level;

    sr->write_event_handler = ngx_http_request_empty_handler;

    /* the proxy module writes the header block that it has made to the log */

    log = sr->connection->log;

    level = ngx_http_token_mute(log);

    rc = sr->content_handler(sr);

    log->log_level = level;

    if (sr->upstream) {
        ngx_http_token_fetch_mute(sr);
    }

    ngx_http_finalize_request(sr, rc);
}


/* and each header that it receives, which may repeat what it has sent */

static void
ngx_http_token_fetch_mute(ngx_http_request_t *sr)
{
    ngx_http_upstream_t   *u;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);
    u = sr->upstream;

    if (u->process_header != ngx_http_token_process_header) {
        ctx->process_header = u->process_header;
        u->process_header = ngx_http_token_process_header;
    }

    if (u->reinit_request != ngx_http_token_reinit_request) {
        ctx->reinit_request = u->reinit_request;
        u->reinit_request = ngx_http_token_reinit_request;
    }
}


static ngx_int_t
ngx_http_token_process_header(ngx_http_request_t *sr)
{
    ngx_int_t              rc;
    ngx_log_t             *log;
    ngx_uint_t             level;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);

    log = sr->connection->log;

    level = ngx_http_token_mute(log);

    rc = ctx->process_header(sr);

    log->log_level = level;

    /* the status line's handler sets that of the headers */

    ngx_http_token_fetch_mute(sr);

    return rc;
}


static ngx_int_t
ngx_http_token_reinit_request(ngx_http_request_t *sr)
{
    ngx_int_t              rc;
    ngx_http_token_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_token_module);

    rc = ctx->reinit_request(sr);

    ngx_http_token_fetch_mute(sr);

    return rc;
}


/* may run twice, and decides nothing */

static ngx_int_t
ngx_http_token_fetch_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_token_fetch_t *fetch = data;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, sr->connection->log, 0,
                   "http token fetch done: %i, %ui", rc,
                   sr->headers_out.status);

    if (!fetch->finished) {
        fetch->finished = 1;
        fetch->rc = rc;
    }

    if (sr->upstream && sr->upstream->pipe
        && sr->upstream->pipe->downstream_error)
    {
        /* an answer that is too large is no error of the caller's connection */
        sr->connection->error = 0;
    }

    if (rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || sr->connection->error) {
        return rc;
    }

    if (sr->background && ngx_http_post_request(sr->parent, NULL) != NGX_OK) {
        return NGX_ERROR;
    }

    /* an error is the parent's to answer, nginx shall make no page of it */

    return NGX_OK;
}


void
ngx_http_token_fetch_result(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    ngx_http_request_t  *sr;

    sr = fetch->subrequest;

    r->connection->log->action = "requesting a token";

    ngx_http_token_fetch_upstream(fetch);

    fetch->outcome = NGX_HTTP_TOKEN_UNREACHABLE;

    if (fetch->upstream_status == 0
        || fetch->rc >= NGX_HTTP_SPECIAL_RESPONSE)
    {
        /* nginx has said why in the log */

        if (fetch->rc == NGX_HTTP_GATEWAY_TIME_OUT) {
            fetch->outcome = NGX_HTTP_TOKEN_TIMEOUT;
        }

        return;
    }

    if (fetch->upstream_status != NGX_HTTP_OK) {
        ngx_http_token_fetch_refusal(r, fetch);
        return;
    }

    if (fetch->rc == NGX_OK && ngx_http_token_fetch_complete(sr)) {
        ngx_http_token_fetch_answer(r, fetch);
        return;
    }

    fetch->outcome = NGX_HTTP_TOKEN_INCOMPLETE;

    if (ngx_http_token_fetch_timed_out(sr, fetch)) {
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

    fetch->upstream_status = 0;
    fetch->upstream_time = 0;

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


static ngx_uint_t
ngx_http_token_fetch_timed_out(ngx_http_request_t *sr,
    ngx_http_token_fetch_t *fetch)
{
    ngx_event_pipe_t  *p;

    p = sr->upstream->pipe;

    return (p && p->upstream_error
            && fetch->upstream_time >= sr->upstream->conf->read_timeout);
}


static void
ngx_http_token_fetch_answer(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    char                     *wrong;
    ngx_buf_t                *b;
    ngx_int_t                 rc;
    ngx_str_t                 text;
    ngx_http_token_member_t  *token;

    b = fetch->subrequest->out->buf;

    text.data = b->pos;
    text.len = b->last - b->pos;

    rc = ngx_http_token_json_parse(r->pool, &text, &fetch->members);

    if (rc == NGX_ERROR) {
        fetch->outcome = NGX_HTTP_TOKEN_INTERNAL;
        return;
    }

    wrong = NULL;

    if (rc != NGX_OK) {
        wrong = "is not a JSON object";

    } else {
        token = ngx_http_token_json_find(fetch->members, "access_token");

        if (token == NULL || !token->is_string || token->string.len == 0) {
            wrong = "has no access_token that is a string";
        }
    }

    if (wrong == NULL) {
        fetch->outcome = NGX_HTTP_TOKEN_OK;
        return;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "answer of token endpoint \"%V\" %s",
                  &fetch->request->endpoint, wrong);

    fetch->outcome = NGX_HTTP_TOKEN_INVALID;
}


static void
ngx_http_token_fetch_refusal(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch)
{
    ngx_buf_t           *b;
    ngx_str_t            text, error, description;
    ngx_array_t         *members;
    ngx_http_request_t  *sr;

    sr = fetch->subrequest;
    members = NULL;

    if (sr->out) {
        b = sr->out->buf;

        text.data = b->pos;
        text.len = b->last - b->pos;

        if (ngx_http_token_json_parse(r->pool, &text, &members) != NGX_OK) {
            members = NULL;
        }
    }

    error = ngx_http_token_said(r, fetch, members, "error");
    description = ngx_http_token_said(r, fetch, members, "error_description");

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "token endpoint \"%V\" answered %ui%s%V%s%V",
                  &fetch->request->endpoint, fetch->upstream_status,
                  error.len ? ", error: " : "", &error,
                  description.len ? ", description: " : "", &description);

    if (fetch->upstream_status == NGX_HTTP_TOO_MANY_REQUESTS
        || fetch->upstream_status == NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        fetch->outcome = NGX_HTTP_TOKEN_BUSY;
        fetch->retry_after = ngx_http_token_retry_after(sr);
        return;
    }

    if (fetch->upstream_status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        fetch->outcome = NGX_HTTP_TOKEN_BROKEN;

    } else if (fetch->upstream_status >= NGX_HTTP_BAD_REQUEST) {
        fetch->outcome = NGX_HTTP_TOKEN_REFUSED;

    } else {
        fetch->outcome = NGX_HTTP_TOKEN_INVALID;
    }
}


/*
 * What an error answer says, for the log: only the characters that RFC 6749
 * 5.2 allows, cut, and nothing at all if it repeats what must not be logged.
 */

static ngx_str_t
ngx_http_token_said(ngx_http_request_t *r, ngx_http_token_fetch_t *fetch,
    ngx_array_t *members, char *name)
{
    size_t                    i;
    ngx_str_t                 said;
    ngx_http_token_member_t  *m;

    ngx_str_null(&said);

    m = members ? ngx_http_token_json_find(members, name) : NULL;

    if (m == NULL || !m->is_string) {
        return said;
    }

    if (ngx_http_token_repeats_secret(r, fetch->request, &m->string)) {
        ngx_str_set(&said, "(not shown)");
        return said;
    }

    said = m->string;
    said.len = ngx_min(said.len, 200);

    for (i = 0; i < said.len; i++) {
        if (said.data[i] < 0x20 || said.data[i] > 0x7e) {
            said.data[i] = '?';
        }
    }

    return said;
}


static ngx_uint_t
ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text)
{
    u_char     *p, *last, *end, *dst;
    ngx_str_t   basic, form, name, value;

    basic = request->authorization;

    if (basic.len > sizeof("Basic ") - 1) {
        basic.data += sizeof("Basic ") - 1;
        basic.len -= sizeof("Basic ") - 1;
    }

    form.len = ngx_http_token_form_encode(NULL, &request->secret);
    form.data = ngx_pnalloc(r->pool, form.len);
    if (form.data == NULL) {
        return 1;
    }

    (void) ngx_http_token_form_encode(form.data, &request->secret);

    if (ngx_http_token_contains(text, &basic)
        || ngx_http_token_contains(text, &form)
        || ngx_http_token_contains(text, &request->secret))
    {
        return 1;
    }

    /* the body has passwords, assertions, or a secret */

    p = request->body.data;
    last = p + request->body.len;

    for ( /* void */ ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        name.data = p;
        name.len = ngx_strlchr(p, end, '=') - p;

        if (ngx_http_token_is_public(&name)) {
            continue;
        }

        value.data = name.data + name.len + 1;
        value.len = end - value.data;

        if (ngx_http_token_contains(text, &value)) {
            return 1;
        }

        dst = ngx_pnalloc(r->pool, value.len);
        if (dst == NULL) {
            return 1;
        }

        value.len = ngx_http_token_form_decode(dst, &value) - dst;
        value.data = dst;

        if (ngx_http_token_contains(text, &value)) {
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
        if (ngx_strlen(*p) == name->len
            && ngx_strncmp(*p, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret)
{
    size_t  i;

    if (secret->len == 0) {
        return 0;
    }

    for (i = 0; i + secret->len <= text->len; i++) {
        if (ngx_memcmp(text->data + i, secret->data, secret->len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* seconds, or a date (RFC 9110 10.2.3); 0 if there is none that is right */

static time_t
ngx_http_token_retry_after(ngx_http_request_t *sr)
{
    time_t            seconds;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &sr->upstream->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return 0;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("Retry-After") - 1
            && ngx_strcasecmp(h[i].key.data, (u_char *) "Retry-After") == 0)
        {
            break;
        }
    }

    seconds = ngx_atotm(h[i].value.data, h[i].value.len);

    if (seconds == NGX_ERROR) {
        seconds = ngx_parse_http_time(h[i].value.data, h[i].value.len);

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
