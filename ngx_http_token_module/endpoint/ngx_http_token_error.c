
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What an endpoint says of an error, for the log: in the characters that
 * RFC 6749 5.2 allows, cut to a length, and not shown if it repeats a secret.
 */


#include "ngx_http_token_endpoint.h"


/* the length from which a part is looked for: any text has shorter ones */

#define NGX_HTTP_TOKEN_MIN_PART  16
#define NGX_HTTP_TOKEN_MIN_RUN   8

#define NGX_HTTP_TOKEN_MAX_SAID  200
#define NGX_HTTP_TOKEN_MAX_LINE  1024

/* clocks that differ less do no harm to assertions, in seconds */

#define NGX_HTTP_TOKEN_MAX_SKEW  30


/* the text that is being made */

typedef struct {
    ngx_http_request_t             *request;
    ngx_http_token_request_t       *sent;
    u_char                         *pos;
    u_char                         *last;
} ngx_http_token_said_t;

typedef ngx_uint_t (*ngx_http_token_contains_pt)(ngx_str_t *text,
    ngx_str_t *secret);


static void ngx_http_token_said_headers(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch, ngx_str_t *encoding);
static void ngx_http_token_said_members(ngx_http_token_said_t *said,
    ngx_array_t *members);
static ngx_array_t *ngx_http_token_nested(ngx_pool_t *pool,
    ngx_array_t *members);
static ngx_uint_t ngx_http_token_said_member(ngx_http_token_said_t *said,
    char *label, ngx_array_t *members, char **names);
static void ngx_http_token_said_body(ngx_http_token_said_t *said,
    ngx_str_t *body);
static u_char *ngx_http_token_skip_markup(u_char *p, u_char *last);
static void ngx_http_token_said_clock(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch);
static void ngx_http_token_say(ngx_http_token_said_t *said, char *label,
    ngx_str_t *text);
static ngx_uint_t ngx_http_token_is_alnum(u_char c);
static ngx_uint_t ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text,
    ngx_http_token_contains_pt contains);
static ngx_uint_t ngx_http_token_is_public(ngx_str_t *name);
static ngx_uint_t ngx_http_token_contains_part(ngx_str_t *text,
    ngx_str_t *token);
static ngx_uint_t ngx_http_token_contains(ngx_str_t *text, ngx_str_t *secret);
static ngx_uint_t ngx_http_token_contains_run(ngx_str_t *text,
    ngx_str_t *secret);


/* parameters of a token request that an error may repeat in the log */

static char  *ngx_http_token_public_params[] = {
    "grant_type", "client_id", "client_assertion_type", "scope", "audience",
    "resource", "username", "actor_token_type", "requested_token_type",
    "subject_token_type", NULL
};


/* where endpoints have the code of an error, and its text */

static char  *ngx_http_token_error_names[] = {
    "error", "errorCode", "error_code", "errcode", "code", "title", "name",
    NULL
};


static char  *ngx_http_token_description_names[] = {
    "error_description", "errorSummary", "errorMessage", "error_message",
    "errmsg", "detail", "message", "msg", "faultstring", "description",
    "reason", NULL
};


/* members that make an answer an error, whatever its status is */

static char  *ngx_http_token_failure_names[] = {
    "error", "errorCode", "error_code", "errcode", NULL
};


ngx_uint_t
ngx_http_token_is_error(ngx_array_t *members)
{
    char                     **name;
    ngx_http_token_member_t   *m;

    for (name = ngx_http_token_failure_names; *name; name++) {

        m = ngx_http_token_json_find(members, *name);

        if (m && !ngx_http_token_json_is_success(m)) {
            return 1;
        }
    }

    return 0;
}


u_char *
ngx_http_token_endpoint_said(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t *members)
{
    u_char                 *text;
    ngx_str_t               encoding;
    ngx_http_token_said_t   said;

    text = ngx_pnalloc(r->pool, NGX_HTTP_TOKEN_MAX_LINE + 1);
    if (text == NULL) {
        return (u_char *) "";
    }

    said.request = r;
    said.sent = fetch->sent;
    said.pos = text;
    said.last = text + NGX_HTTP_TOKEN_MAX_LINE;

    ngx_http_token_said_headers(&said, fetch, &encoding);

    if (members) {
        ngx_http_token_said_members(&said, members);

    } else if (encoding.len == 0
               && fetch->upstream_status >= NGX_HTTP_SPECIAL_RESPONSE)
    {
        /* with other statuses it may have a token, in a form of its own */

        ngx_http_token_said_body(&said, body);
    }

    ngx_http_token_said_clock(&said, fetch);

    *said.pos = '\0';

    return text;
}


static void
ngx_http_token_said_headers(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch, ngx_str_t *encoding)
{
    ngx_str_t         url;
    ngx_list_t       *headers;
    ngx_table_elt_t  *h;

    ngx_str_null(encoding);

    headers = &fetch->subrequest->upstream->headers_in.headers;

    h = ngx_http_token_find_header(headers, "Content-Encoding");

    if (h && !ngx_http_token_equals_nocase(&h->value, "identity")) {
        *encoding = h->value;
        ngx_http_token_say(said, "Content-Encoding", encoding);
    }

    if (fetch->upstream_status < NGX_HTTP_SPECIAL_RESPONSE
        || fetch->upstream_status >= NGX_HTTP_BAD_REQUEST)
    {
        return;
    }

    h = ngx_http_token_find_header(headers, "Location");

    if (h) {
        url = ngx_http_token_log_url(&h->value);
        ngx_http_token_say(said, "Location", &url);
    }
}


static void
ngx_http_token_said_members(ngx_http_token_said_t *said, ngx_array_t *members)
{
    ngx_array_t  *nested;

    nested = ngx_http_token_nested(said->request->pool, members);

    if (nested == NULL
        || !ngx_http_token_said_member(said, "error", nested,
                                       ngx_http_token_error_names))
    {
        (void) ngx_http_token_said_member(said, "error", members,
                                          ngx_http_token_error_names);
    }

    if (nested == NULL
        || !ngx_http_token_said_member(said, "description", nested,
                                       ngx_http_token_description_names))
    {
        (void) ngx_http_token_said_member(said, "description", members,
                                          ngx_http_token_description_names);
    }
}


/* {"error":{"code":...}}, {"fault":{...}}, {"errors":[{...}]} */

static ngx_array_t *
ngx_http_token_nested(ngx_pool_t *pool, ngx_array_t *members)
{
    char                     **name;
    ngx_str_t                  text;
    ngx_array_t               *nested;
    ngx_http_token_member_t   *m;

    static char  *names[] = { "error", "fault", "errors", NULL };

    for (name = names; *name; name++) {

        m = ngx_http_token_json_find(members, *name);

        if (m == NULL || m->is_string) {
            continue;
        }

        text = m->value;

        if (text.data[0] == '[') {
            text.data++;
            text.len -= 2;
        }

        if (ngx_http_token_json_parse(pool, &text, &nested) == NGX_OK) {
            return nested;
        }
    }

    return NULL;
}


/* the first of these members that is a text or a number; 0 if there is none */

static ngx_uint_t
ngx_http_token_said_member(ngx_http_token_said_t *said, char *label,
    ngx_array_t *members, char **names)
{
    ngx_http_token_member_t  *m;

    for ( /* void */ ; *names; names++) {

        m = ngx_http_token_json_find(members, *names);

        if (m == NULL || ngx_http_token_json_is_success(m)) {
            continue;
        }

        if (m->is_string) {
            ngx_http_token_say(said, label, &m->string);
            return 1;
        }

        if (m->value.data[0] != '{' && m->value.data[0] != '[') {
            ngx_http_token_say(said, label, &m->value);
            return 1;
        }
    }

    return 0;
}


/* a text, or the text of a page */

static void
ngx_http_token_said_body(ngx_http_token_said_t *said, ngx_str_t *body)
{
    u_char     *p, *next, *last, *dst, buf[NGX_HTTP_TOKEN_MAX_SAID];
    ngx_str_t   text;

    if (ngx_http_token_repeats_secret(said->request, said->sent, body,
                                      ngx_http_token_contains)
        || ngx_http_token_repeats_secret(said->request, said->sent, body,
                                         ngx_http_token_contains_run))
    {
        ngx_str_set(&text, "(not shown)");
        ngx_http_token_say(said, "text", &text);
        return;
    }

    p = body->data;
    last = p + body->len;
    dst = buf;

    while (p < last && dst < buf + NGX_HTTP_TOKEN_MAX_SAID) {

        next = ngx_http_token_skip_markup(p, last);

        if (next == p) {
            *dst++ = *p++;
            continue;
        }

        if (dst != buf && dst[-1] != ' ') {
            *dst++ = ' ';
        }

        p = next;
    }

    text.data = buf;
    text.len = dst - buf;

    while (text.len && text.data[text.len - 1] == ' ') {
        text.len--;
    }

    if (text.len) {
        ngx_http_token_say(said, "text", &text);
    }
}


/* skips white space, a tag, or an element whose content is not to be read */

static u_char *
ngx_http_token_skip_markup(u_char *p, u_char *last)
{
    u_char      *end;
    ngx_uint_t   i;

    static ngx_str_t  hidden[][2] = {
        { ngx_string("<!--"), ngx_string("-->") },
        { ngx_string("<script"), ngx_string("</script") },
        { ngx_string("<style"), ngx_string("</style") }
    };

    if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
        return p + 1;
    }

    if (*p != '<') {
        return p;
    }

    for (i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {

        if ((size_t) (last - p) < hidden[i][0].len
            || ngx_strncasecmp(p, hidden[i][0].data, hidden[i][0].len) != 0)
        {
            continue;
        }

        p = ngx_strlcasestrn(p, last, hidden[i][1].data,
                             hidden[i][1].len - 1);

        if (p == NULL) {
            return last;
        }

        break;
    }

    end = ngx_strlchr(p, last, '>');

    return end ? end + 1 : last;
}


/* an assertion is refused by an endpoint whose clock is behind */

static void
ngx_http_token_said_clock(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch)
{
    time_t            date;
    ngx_table_elt_t  *h;

    if (fetch->sent == fetch->request
        || fetch->outcome != NGX_HTTP_TOKEN_REFUSED)
    {
        return;
    }

    h = ngx_http_token_find_header(
                        &fetch->subrequest->upstream->headers_in.headers,
                        "Date");

    date = h ? ngx_parse_http_time(h->value.data, h->value.len) : NGX_ERROR;

    if (date == NGX_ERROR
        || (date - ngx_time() <= NGX_HTTP_TOKEN_MAX_SKEW
            && ngx_time() - date <= NGX_HTTP_TOKEN_MAX_SKEW))
    {
        return;
    }

    said->pos = ngx_slprintf(said->pos, said->last,
                             ", its clock is %T seconds %s this machine's",
                             (date > ngx_time()) ? date - ngx_time()
                                                 : ngx_time() - date,
                             (date > ngx_time()) ? "ahead of" : "behind");
}


static void
ngx_http_token_say(ngx_http_token_said_t *said, char *label, ngx_str_t *text)
{
    u_char  *p;

    said->pos = ngx_slprintf(said->pos, said->last, ", %s: ", label);

    if (ngx_http_token_repeats_secret(said->request, said->sent, text,
                                      ngx_http_token_contains))
    {
        said->pos = ngx_slprintf(said->pos, said->last, "(not shown)");
        return;
    }

    p = said->pos;

    said->pos = ngx_slprintf(p, said->last, "%*s",
                             ngx_min(text->len, NGX_HTTP_TOKEN_MAX_SAID),
                             text->data);

    for ( /* void */ ; p < said->pos; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            *p = '?';
        }
    }
}


static ngx_uint_t
ngx_http_token_repeats_secret(ngx_http_request_t *r,
    ngx_http_token_request_t *request, ngx_str_t *text,
    ngx_http_token_contains_pt contains)
{
    u_char     *p;
    ngx_str_t   basic, encoded, body, name, value;

    basic = request->authorization;

    if (basic.len > sizeof("Basic ") - 1) {
        basic.data += sizeof("Basic ") - 1;
        basic.len -= sizeof("Basic ") - 1;
    }

    encoded.len = ngx_http_token_form_encode(NULL, &request->secret);
    encoded.data = ngx_pnalloc(r->pool, encoded.len);
    if (encoded.data == NULL) {
        return 1;
    }

    (void) ngx_http_token_form_encode(encoded.data, &request->secret);

    if (contains(text, &basic)
        || contains(text, &encoded)
        || contains(text, &request->secret))
    {
        return 1;
    }

    /* the body has passwords, assertions, or a secret */

    body = request->body;

    while (ngx_http_token_form_next(&body, &name, &value)) {

        if (ngx_http_token_is_public(&name)) {
            continue;
        }

        if (contains(text, &value)
            || ngx_http_token_contains_part(text, &value))
        {
            return 1;
        }

        p = ngx_pnalloc(r->pool, value.len);
        if (p == NULL) {
            return 1;
        }

        value.len = ngx_http_token_form_decode(p, &value) - p;
        value.data = p;

        if (contains(text, &value)) {
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
        if (ngx_http_token_equals(name, *p)) {
            return 1;
        }
    }

    return 0;
}


/* whether a text contains the claims or the signature of a JWT */

static ngx_uint_t
ngx_http_token_contains_part(ngx_str_t *text, ngx_str_t *token)
{
    u_char     *p, *last;
    ngx_str_t   part;

    last = token->data + token->len;

    p = ngx_strlchr(token->data, last, '.');

    while (p) {
        part.data = p + 1;

        p = ngx_strlchr(part.data, last, '.');

        part.len = (p ? p : last) - part.data;

        if (part.len >= NGX_HTTP_TOKEN_MIN_PART
            && ngx_http_token_contains(text, &part))
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


/*
 * Whether a text contains the longest run of letters and digits of a secret,
 * which stays as it is where a text has escapes of its own.
 */

static ngx_uint_t
ngx_http_token_contains_run(ngx_str_t *text, ngx_str_t *secret)
{
    u_char     *p, *last, *begin;
    ngx_str_t   run;

    ngx_str_null(&run);

    last = secret->data + secret->len;

    for (p = secret->data; p < last; p++) {

        begin = p;

        while (p < last && ngx_http_token_is_alnum(*p)) {
            p++;
        }

        if ((size_t) (p - begin) > run.len) {
            run.data = begin;
            run.len = p - begin;
        }
    }

    last = text->data + text->len;

    if (run.len < NGX_HTTP_TOKEN_MIN_RUN
        && ngx_strlchr(text->data, last, '&') == NULL
        && ngx_strlchr(text->data, last, '%') == NULL
        && ngx_strlchr(text->data, last, '\\') == NULL)
    {
        return 0;
    }

    return ngx_http_token_contains(text, &run);
}


static ngx_uint_t
ngx_http_token_is_alnum(u_char c)
{
    u_char  lower;

    lower = c | 0x20;

    return ((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z'));
}
