
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What an endpoint says of an error, for the log: in the characters that
 * RFC 6749 5.2 allows, cut to a length, and not shown if it repeats a secret.
 */


#include "ngx_http_token_endpoint.h"


#define NGX_HTTP_TOKEN_MAX_SAID  200
#define NGX_HTTP_TOKEN_MAX_LINE  1024

/* shorter words are no token */

#define NGX_HTTP_TOKEN_MIN_TOKEN  12

/* clocks that differ less do no harm to assertions, in seconds */

#define NGX_HTTP_TOKEN_MAX_SKEW  30


/* the text that is being made */

typedef struct {
    ngx_http_request_t             *request;
    ngx_http_token_request_t       *sent;
    ngx_uint_t                      no_error;  /* is said to be one */
    u_char                         *pos;
    u_char                         *last;
} ngx_http_token_said_t;


static void ngx_http_token_said_headers(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch);
static ngx_table_elt_t *ngx_http_token_said_find(ngx_http_token_fetch_t *fetch,
    char *name);
static ngx_uint_t ngx_http_token_said_members(ngx_http_token_said_t *said,
    ngx_array_t *members);
static ngx_array_t *ngx_http_token_nested(ngx_pool_t *pool,
    ngx_array_t *members);
static ngx_uint_t ngx_http_token_said_member(ngx_http_token_said_t *said,
    char *label, ngx_array_t *members, char **names);
static ngx_uint_t ngx_http_token_may_be_token(ngx_str_t *text);
static void ngx_http_token_said_body(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_uint_t is_object);
static ngx_uint_t ngx_http_token_mentions_token(u_char *p, u_char *last);
static void ngx_http_token_said_text(ngx_http_token_said_t *said,
    ngx_str_t *body);
static u_char *ngx_http_token_skip_markup(u_char *p, u_char *last);
static void ngx_http_token_said_clock(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch);
static void ngx_http_token_say(ngx_http_token_said_t *said, char *label,
    ngx_str_t *text);


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


ngx_http_token_member_t *
ngx_http_token_error_code(ngx_array_t *members)
{
    char                     **name;
    ngx_http_token_member_t   *m;

    for (name = ngx_http_token_failure_names; *name; name++) {

        m = ngx_http_token_json_find(members, *name);

        if (m && m->is_string && m->string.len) {
            return m;
        }
    }

    return NULL;
}


u_char *
ngx_http_token_endpoint_said(ngx_http_request_t *r,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_array_t *members)
{
    u_char                 *text;
    ngx_http_token_said_t   said;

    text = ngx_pnalloc(r->pool, NGX_HTTP_TOKEN_MAX_LINE + 1);
    if (text == NULL) {
        return (u_char *) "";
    }

    said.request = r;
    said.sent = fetch->sent;
    said.no_error = (fetch->upstream_status < NGX_HTTP_SPECIAL_RESPONSE
                     && members && !ngx_http_token_is_error(members));
    said.pos = text;
    said.last = text + NGX_HTTP_TOKEN_MAX_LINE;

    ngx_http_token_said_headers(&said, fetch);

    if (members == NULL || !ngx_http_token_said_members(&said, members)) {
        ngx_http_token_said_body(&said, fetch, body, members != NULL);
    }

    ngx_http_token_said_clock(&said, fetch);

    *said.pos = '\0';

    return text;
}


static void
ngx_http_token_said_headers(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch)
{
    u_char           *p, *last;
    ngx_str_t         url;
    ngx_table_elt_t  *h;

    if (fetch->upstream_status < NGX_HTTP_SPECIAL_RESPONSE
        || fetch->upstream_status >= NGX_HTTP_BAD_REQUEST)
    {
        return;
    }

    h = ngx_http_token_said_find(fetch, "Location");

    if (h == NULL) {
        return;
    }

    /* a user name, a query and a fragment may be secrets */

    url = h->value;

    for (last = url.data; last < url.data + url.len; last++) {
        if (*last == '?' || *last == '#') {
            break;
        }
    }

    for (p = last; p > url.data && p[-1] != '@'; p--) { /* void */ }

    url.data = p;
    url.len = last - p;

    ngx_http_token_say(said, "Location", &url);
}


static ngx_table_elt_t *
ngx_http_token_said_find(ngx_http_token_fetch_t *fetch, char *name)
{
    return ngx_http_token_find_header(
                       &fetch->subrequest->upstream->headers_in.headers, name);
}


/* returns 0 if no member says anything */

static ngx_uint_t
ngx_http_token_said_members(ngx_http_token_said_t *said, ngx_array_t *members)
{
    ngx_uint_t    n;
    ngx_array_t  *nested;

    nested = ngx_http_token_nested(said->request->pool, members);

    n = 0;

    if (nested) {
        n = ngx_http_token_said_member(said, "error", nested,
                                       ngx_http_token_error_names);
    }

    if (n == 0) {
        n = ngx_http_token_said_member(said, "error", members,
                                       ngx_http_token_error_names);
    }

    if (nested
        && ngx_http_token_said_member(said, "description", nested,
                                      ngx_http_token_description_names))
    {
        return 1;
    }

    return ngx_http_token_said_member(said, "description", members,
                                      ngx_http_token_description_names) || n;
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

            if (said->no_error && ngx_http_token_may_be_token(&m->string)) {
                continue;
            }

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


/* "message" and the like may have the token where there is no error */

static ngx_uint_t
ngx_http_token_may_be_token(ngx_str_t *text)
{
    return (text->len >= NGX_HTTP_TOKEN_MIN_TOKEN
            && ngx_strlchr(text->data, text->data + text->len, ' ') == NULL);
}


/*
 * What has no member for an error: a page, a text, or JSON of another form.
 * Something with a token in it is not shown.
 */

static void
ngx_http_token_said_body(ngx_http_token_said_t *said,
    ngx_http_token_fetch_t *fetch, ngx_str_t *body, ngx_uint_t is_object)
{
    ngx_table_elt_t  *h;

    h = ngx_http_token_said_find(fetch, "Content-Encoding");

    if (h && !ngx_http_token_equals_nocase(&h->value, "identity")) {
        ngx_http_token_say(said, "Content-Encoding", &h->value);
        return;
    }

    if (body->len == 0) {
        h = ngx_http_token_said_find(fetch, "WWW-Authenticate");

        if (h) {
            ngx_http_token_say(said, "WWW-Authenticate", &h->value);
        }

        return;
    }

    if (fetch->upstream_status < NGX_HTTP_SPECIAL_RESPONSE) {

        if (is_object) {
            return;
        }

        h = ngx_http_token_said_find(fetch, "Content-Type");

        if (h) {
            ngx_http_token_say(said, "Content-Type", &h->value);
        }

        if (h == NULL || h->value.len < 9
            || ngx_strncasecmp(h->value.data, (u_char *) "text/html", 9) != 0)
        {
            return;
        }
    }

    if (is_object
        && ngx_http_token_mentions_token(body->data, body->data + body->len))
    {
        return;
    }

    ngx_http_token_said_text(said, body);
}


static ngx_uint_t
ngx_http_token_mentions_token(u_char *p, u_char *last)
{
    return (ngx_strlcasestrn(p, last, (u_char *) "token", 5 - 1) != NULL);
}


static void
ngx_http_token_said_text(ngx_http_token_said_t *said, ngx_str_t *body)
{
    u_char     *p, *next, *last, *dst, buf[NGX_HTTP_TOKEN_MAX_SAID];
    ngx_str_t   text;

    if (ngx_http_token_repeats_secret(said->request, said->sent, body)) {
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

    h = ngx_http_token_said_find(fetch, "Date");

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

    if (ngx_http_token_repeats_secret(said->request, said->sent, text)) {
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
