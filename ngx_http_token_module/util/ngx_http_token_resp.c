
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The replies of a Redis server: RESP2.  They may come from anything that
 * listens there, so that everything in them is bounded.
 */


#include "ngx_http_token_util.h"


static ngx_int_t ngx_http_token_resp_value(u_char **pos, u_char *last,
    ngx_http_token_resp_value_t *value);
static ngx_int_t ngx_http_token_resp_line(u_char **pos, u_char *last,
    ngx_str_t *line);
static ngx_int_t ngx_http_token_resp_integer(ngx_str_t *line, int64_t *n);
static ngx_int_t ngx_http_token_resp_bulk(u_char **pos, u_char *last,
    ngx_http_token_resp_value_t *value);


ngx_int_t
ngx_http_token_resp_parse(ngx_str_t *text, ngx_http_token_resp_t *resp)
{
    u_char                       *p, *last;
    int64_t                       left[NGX_HTTP_TOKEN_RESP_DEPTH];
    ngx_int_t                     rc;
    ngx_uint_t                    depth;
    ngx_http_token_resp_value_t  *value;

    p = text->data;
    last = text->data + text->len;

    resp->nvalues = 0;
    depth = 0;

    do {
        if (resp->nvalues == NGX_HTTP_TOKEN_RESP_VALUES) {
            return NGX_ERROR;
        }

        value = &resp->values[resp->nvalues];

        rc = ngx_http_token_resp_value(&p, last, value);

        if (rc != NGX_OK) {
            return rc;
        }

        resp->nvalues++;

        if (depth) {
            left[depth - 1]--;
        }

        if (value->type == '*' && value->integer > 0) {

            if (depth == NGX_HTTP_TOKEN_RESP_DEPTH) {
                return NGX_ERROR;
            }

            left[depth++] = value->integer;
        }

        while (depth && left[depth - 1] == 0) {
            depth--;
        }

    } while (depth);

    resp->size = p - text->data;

    return NGX_OK;
}


/* one value, of an array only how many values follow */

static ngx_int_t
ngx_http_token_resp_value(u_char **pos, u_char *last,
    ngx_http_token_resp_value_t *value)
{
    ngx_int_t  rc;

    ngx_memzero(value, sizeof(ngx_http_token_resp_value_t));

    if (*pos == last) {
        return NGX_AGAIN;
    }

    value->type = **pos;

    if (ngx_strchr("+-:$*", value->type) == NULL || value->type == '\0') {
        return NGX_ERROR;
    }

    (*pos)++;

    rc = ngx_http_token_resp_line(pos, last, &value->text);

    if (rc != NGX_OK || value->type == '+' || value->type == '-') {
        return rc;
    }

    if (ngx_http_token_resp_integer(&value->text, &value->integer) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value->type == ':') {
        return NGX_OK;
    }

    if (value->integer == -1) {
        value->null = 1;
        ngx_str_null(&value->text);
        return NGX_OK;
    }

    if (value->integer < 0) {
        return NGX_ERROR;
    }

    if (value->type == '$') {
        return ngx_http_token_resp_bulk(pos, last, value);
    }

    return (value->integer <= NGX_HTTP_TOKEN_RESP_VALUES) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_token_resp_line(u_char **pos, u_char *last, ngx_str_t *line)
{
    u_char  *p, *end;

    end = *pos + ngx_min(last - *pos, NGX_HTTP_TOKEN_RESP_LINE);

    for (p = *pos; p < end; p++) {

        if (*p == LF) {
            return NGX_ERROR;
        }

        if (*p != CR) {
            continue;
        }

        if (p + 1 == last) {
            return NGX_AGAIN;
        }

        if (p[1] != LF) {
            return NGX_ERROR;
        }

        line->data = *pos;
        line->len = p - *pos;

        *pos = p + 2;

        return NGX_OK;
    }

    return (end == last && last - *pos < NGX_HTTP_TOKEN_RESP_LINE)
           ? NGX_AGAIN : NGX_ERROR;
}


static ngx_int_t
ngx_http_token_resp_integer(ngx_str_t *line, int64_t *n)
{
    size_t      i;
    ngx_uint_t  negative;

    negative = (line->len && line->data[0] == '-');

    i = negative;

    /* 18 digits are below the largest number of 64 bits */

    if (line->len == i || line->len - i > 18) {
        return NGX_ERROR;
    }

    *n = 0;

    for ( /* void */ ; i < line->len; i++) {

        if (line->data[i] < '0' || line->data[i] > '9') {
            return NGX_ERROR;
        }

        *n = *n * 10 + (line->data[i] - '0');
    }

    if (negative) {
        *n = -*n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_resp_bulk(u_char **pos, u_char *last,
    ngx_http_token_resp_value_t *value)
{
    size_t  len;

    if (value->integer > NGX_HTTP_TOKEN_RESP_BULK) {
        return NGX_ERROR;
    }

    len = (size_t) value->integer;

    if ((size_t) (last - *pos) < len + 2) {
        return NGX_AGAIN;
    }

    value->text.data = *pos;
    value->text.len = len;

    *pos += len;

    if ((*pos)[0] != CR || (*pos)[1] != LF) {
        return NGX_ERROR;
    }

    *pos += 2;

    return NGX_OK;
}


ngx_str_t
ngx_http_token_resp_error(ngx_http_token_resp_t *resp)
{
    size_t                        i;
    ngx_str_t                     code;
    ngx_http_token_resp_value_t  *value;

    ngx_str_null(&code);

    value = &resp->values[0];

    if (value->type != '-') {
        return code;
    }

    /* what follows may repeat the command, and with it a password */

    for (i = 0; i < value->text.len && i < NGX_HTTP_TOKEN_RESP_CODE; i++) {

        if (value->text.data[i] < 'A' || value->text.data[i] > 'Z') {
            break;
        }
    }

    if (i == 0 || (i < value->text.len && value->text.data[i] != ' ')) {
        ngx_str_set(&code, "ERR");
        return code;
    }

    code.data = value->text.data;
    code.len = i;

    return code;
}


u_char *
ngx_http_token_resp_word(u_char *p, ngx_str_t *word)
{
    p = ngx_sprintf(p, "$%uz" CRLF, word->len);
    if (word->len) {
        p = ngx_cpymem(p, word->data, word->len);
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}
