
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Commands to a Redis server, as they are sent.
 */


#include "ngx_http_token_cache.h"


static ngx_http_token_command_t *ngx_http_token_command_make(ngx_str_t *words,
    ngx_uint_t n, ngx_uint_t all, ngx_str_t *rest);


ngx_http_token_command_t *
ngx_http_token_command_create(ngx_str_t *words, ngx_uint_t n)
{
    ngx_str_t  none = ngx_null_string;

    return ngx_http_token_command_make(words, n, n, &none);
}


/* words, then the text of others: all in all so many */

static ngx_http_token_command_t *
ngx_http_token_command_make(ngx_str_t *words, ngx_uint_t n, ngx_uint_t all,
    ngx_str_t *rest)
{
    u_char                    *p;
    size_t                     size;
    ngx_uint_t                 i;
    ngx_http_token_command_t  *cmd;

    size = 1 + NGX_INT_T_LEN + 2 + rest->len;

    for (i = 0; i < n; i++) {
        size += NGX_HTTP_TOKEN_RESP_WORD + words[i].len;
    }

    cmd = ngx_alloc(sizeof(ngx_http_token_command_t) + size, ngx_cycle->log);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_memzero(cmd, sizeof(ngx_http_token_command_t));

    p = (u_char *) (cmd + 1);

    cmd->size = size;
    cmd->nwords = all;

    cmd->buf.start = p;
    cmd->buf.pos = p;
    cmd->buf.memory = 1;

    p = ngx_sprintf(p, "*%ui" CRLF, all);

    for (i = 0; i < n; i++) {
        p = ngx_http_token_resp_word(p, &words[i]);

        if (i + 1 == NGX_HTTP_TOKEN_SCRIPT_WORDS) {
            cmd->rest = p;
        }
    }

    if (rest->len) {
        p = ngx_cpymem(p, rest->data, rest->len);
    }

    cmd->buf.last = p;
    cmd->buf.end = p;

    cmd->out.buf = &cmd->buf;

    return cmd;
}


ngx_http_token_command_t *
ngx_http_token_command_replace(ngx_http_token_command_t *cmd,
    ngx_str_t *words)
{
    ngx_str_t                  rest;
    ngx_http_token_command_t  *again;

    rest.data = cmd->rest;
    rest.len = cmd->buf.last - cmd->rest;

    again = ngx_http_token_command_make(words, NGX_HTTP_TOKEN_SCRIPT_WORDS,
                                        cmd->nwords, &rest);
    if (again == NULL) {
        return NULL;
    }

    again->handler = cmd->handler;
    again->data = cmd->data;
    again->sent = cmd->sent;
    again->store = cmd->store;
    again->zone = cmd->zone;
    again->script = cmd->script;
    again->again = 1;

    return again;
}


void
ngx_http_token_command_free(ngx_http_token_command_t *cmd)
{
    /* it may have a password */

    ngx_explicit_memzero(cmd->buf.start, cmd->size);
    ngx_free(cmd);
}
