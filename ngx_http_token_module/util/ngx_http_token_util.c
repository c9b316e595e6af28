
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Small helpers: strings, URLs and secrets in a log, the characters of
 * credentials, small files, places in a configuration.
 */


#include "ngx_http_token_util.h"


static ngx_uint_t ngx_http_token_url_is_unix(ngx_str_t *host);
static ngx_int_t ngx_http_token_read_fd(ngx_pool_t *pool, ngx_fd_t fd,
    ngx_http_token_read_t *file);


ngx_str_t
ngx_http_token_log_url(ngx_str_t *url)
{
    u_char     *query;
    ngx_str_t   shown;

    shown = *url;

    if (url->len == 0) {
        return shown;
    }

    if (ngx_http_token_url_has_user(url)) {
        shown.len = ngx_http_token_url_host(url).data - url->data;
        return shown;
    }

    query = ngx_strlchr(url->data, url->data + url->len, '?');

    if (query) {
        shown.len = query - url->data;
    }

    return shown;
}


/* "http://me:pa/ss@host" may be meant as one with a user name too */

ngx_uint_t
ngx_http_token_url_has_user(ngx_str_t *url)
{
    u_char     *p, *last;
    ngx_str_t   host;

    host = ngx_http_token_url_host(url);
    last = host.data + host.len;

    if (ngx_strlchr(host.data, last, '@')) {
        return 1;
    }

    for (p = last; p > host.data && p[-1] >= '0' && p[-1] <= '9'; p--) {
        /* void */
    }

    if ((p > host.data && (p[-1] == ':' || p[-1] == ']'))
        || ngx_strlchr(host.data, last, ':') == NULL)
    {
        return 0;
    }

    return (ngx_strlchr(last, url->data + url->len, '@') != NULL);
}


/* a URL may end, or its query begin, where its path would */

u_char *
ngx_http_token_url_path(ngx_str_t *url)
{
    u_char     *p;
    ngx_str_t   host;

    host = ngx_http_token_url_host(url);

    if (!ngx_http_token_url_is_unix(&host)) {
        return host.data + host.len;
    }

    p = ngx_strlchr(host.data + 5, url->data + url->len, ':');

    return p ? p + 1 : NULL;
}


static ngx_uint_t
ngx_http_token_url_is_unix(ngx_str_t *host)
{
    return (host->len >= 5
            && ngx_strncasecmp(host->data, (u_char *) "unix:", 5) == 0);
}


char *
ngx_http_token_prepare_url(ngx_str_t *url, ngx_url_t *u)
{
    size_t      i, add;
    u_char     *last, *query;
    ngx_str_t   host;

    ngx_memzero(u, sizeof(ngx_url_t));

    if (url->len >= 7
        && ngx_strncasecmp(url->data, (u_char *) "http://", 7) == 0)
    {
        add = 7;
        u->default_port = 80;

    } else if (url->len >= 8
               && ngx_strncasecmp(url->data, (u_char *) "https://", 8) == 0)
    {
#if (NGX_HTTP_SSL)
        add = 8;
        u->default_port = 443;
#else
        return "https protocol requires SSL support";
#endif

    } else {
        return "no \"http://\" or \"https://\"";
    }

    for (i = add; i < url->len; i++) {

        if (url->data[i] <= 0x20 || url->data[i] >= 0x7f) {
            return "invalid character";
        }

        /* RFC 6749 3.2 */

        if (url->data[i] == '#') {
            return "a fragment is not allowed";
        }
    }

    u->url.len = url->len - add;
    u->url.data = url->data + add;
    u->uri_part = 1;
    u->no_resolve = 1;

    last = url->data + url->len;
    query = ngx_strlchr(url->data, last, '?');

    if (query == NULL) {
        return NULL;
    }

    host = ngx_http_token_url_host(url);

    if (!ngx_http_token_url_is_unix(&host)) {

        /* nginx would take it for a part of the port of an IPv6 address */

        u->url.len = query - u->url.data;
        return NULL;
    }

    /* in nginx's messages, it would be a query that is logged */

    if (ngx_strlchr(host.data + 5, query, ':') == NULL) {
        return "no \":\" between the socket and the \"?\"";
    }

    return NULL;
}


ngx_str_t
ngx_http_token_url_host(ngx_str_t *url)
{
    u_char     *p, *last;
    ngx_str_t   host;

    last = url->data + url->len;

    p = ngx_strlchr(url->data, last, '/');
    p = (p && last - p > 1) ? p + 2 : url->data;

    host.data = p;

    while (p < last && *p != '/' && *p != '?') {
        p++;
    }

    host.len = p - host.data;

    return host;
}


ngx_uint_t
ngx_http_token_equals(ngx_str_t *s, char *text)
{
    return (s->len == ngx_strlen(text)
            && ngx_memcmp(s->data, text, s->len) == 0);
}


ngx_uint_t
ngx_http_token_equals_nocase(ngx_str_t *s, char *text)
{
    return (s->len == ngx_strlen(text)
            && ngx_strncasecmp(s->data, (u_char *) text, s->len) == 0);
}


u_char *
ngx_http_token_base64url(u_char *p, u_char *data, size_t len)
{
    ngx_str_t  src, dst;

    src.data = data;
    src.len = len;
    dst.data = p;

    ngx_encode_base64url(&dst, &src);

    return p + dst.len;
}


ngx_uint_t
ngx_http_token_debug_off(ngx_log_t *log)
{
    ngx_uint_t  level;

    level = log->log_level;
    log->log_level &= ~NGX_LOG_DEBUG_HTTP;

    return level;
}


ngx_int_t
ngx_http_token_secret_value(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    ngx_str_t *text)
{
    ngx_int_t   rc;
    ngx_uint_t  level;

    level = ngx_http_token_debug_off(r->connection->log);

    rc = ngx_http_complex_value(r, cv, text);

    r->connection->log->log_level = level;

    return rc;
}


char *
ngx_http_token_check_credential(ngx_str_t *text)
{
    size_t  i;

    if (text->len == 0) {
        return "is empty";
    }

    for (i = 0; i < text->len; i++) {

        if (text->data[i] == LF || text->data[i] == CR) {
            return "contains a newline";
        }

        if (text->data[i] < 0x20 || text->data[i] > 0x7e) {
            return "contains a character outside 0x20 to 0x7E (RFC 6749)";
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_token_read_file(ngx_pool_t *pool, ngx_log_t *log, ngx_str_t *path,
    ngx_http_token_read_t *file)
{
    ngx_fd_t   fd;
    ngx_int_t  rc;

    ngx_memzero(file, sizeof(ngx_http_token_read_t));

    file->call = "";

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        file->err = ngx_errno;
        file->call = ngx_open_file_n " ";
        file->wrong = "failed";
        return NGX_ERROR;
    }

    rc = ngx_http_token_read_fd(pool, fd, file);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", path);
    }

    return rc;
}


static ngx_int_t
ngx_http_token_read_fd(ngx_pool_t *pool, ngx_fd_t fd,
    ngx_http_token_read_t *file)
{
    ssize_t     n;
    ngx_str_t  *text;

    if (ngx_fd_info(fd, &file->info) == NGX_FILE_ERROR) {
        file->err = ngx_errno;
        file->call = ngx_fd_info_n " ";
        file->wrong = "failed";
        return NGX_ERROR;
    }

    if (!ngx_is_file(&file->info)) {
        file->wrong = "is not a file";
        return NGX_ERROR;
    }

    if (ngx_file_size(&file->info) > NGX_HTTP_TOKEN_MAX_FILE_SIZE) {
        file->wrong = "is too large";
        return NGX_ERROR;
    }

    text = &file->text;

    text->len = (size_t) ngx_file_size(&file->info);
    text->data = ngx_pnalloc(pool, text->len + 1);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, text->data, text->len);

    if (n != (ssize_t) text->len) {
        file->err = (n == -1) ? ngx_errno : 0;
        file->call = ngx_read_fd_n " ";
        file->wrong = "failed";
        return NGX_ERROR;
    }

    if (text->len && text->data[text->len - 1] == LF) {
        text->len--;

        if (text->len && text->data[text->len - 1] == CR) {
            text->len--;
        }
    }

    text->data[text->len] = '\0';

    return NGX_OK;
}


ngx_http_token_pos_t
ngx_http_token_conf_pos(ngx_conf_t *cf)
{
    ngx_http_token_pos_t  pos;

    pos.file = cf->conf_file->file.name.data;
    pos.line = cf->conf_file->line;

    return pos;
}


void ngx_cdecl
ngx_http_token_log(ngx_uint_t level, ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_err_t err, const char *fmt, ...)
{
    u_char   errstr[NGX_MAX_CONF_ERRSTR], *p;
    va_list  args;

    va_start(args, fmt);
    p = ngx_vslprintf(errstr, errstr + NGX_MAX_CONF_ERRSTR, fmt, args);
    va_end(args);

    if (err) {
        p = ngx_log_errno(p, errstr + NGX_MAX_CONF_ERRSTR, err);
    }

    ngx_log_error(level, cf->log, 0, "%*s in %s:%ui",
                  p - errstr, errstr, pos->file, pos->line);
}
