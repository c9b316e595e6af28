
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What has no other place: URLs and secrets in a log, characters of
 * credentials.
 */


#include "ngx_http_token_util.h"


ngx_str_t
ngx_http_token_shown(ngx_str_t *url)
{
    u_char     *query;
    ngx_str_t   shown;

    shown = *url;

    if (url->len == 0) {
        return shown;
    }

    query = ngx_strlchr(url->data, url->data + url->len, '?');

    if (query) {
        shown.len = query - url->data;
    }

    return shown;
}


/*
 * nginx writes request headers and the values of variables to a debug log.
 * Where those are secrets, the log is told to be silent.
 */

ngx_uint_t
ngx_http_token_mute(ngx_log_t *log)
{
    ngx_uint_t  level;

    level = log->log_level;
    log->log_level &= ~NGX_LOG_DEBUG_HTTP;

    return level;
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
