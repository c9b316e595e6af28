
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * JSON in, the subset out.  cJSON parses what has escapes or is nested; what
 * is handed on are the bytes that were sent, so that numbers keep their digits
 * and strings their escapes.
 */


#include "ngx_http_token_util.h"

#include <cjson/cJSON.h>


#define NGX_HTTP_TOKEN_MAX_MEMBERS   256
#define NGX_HTTP_TOKEN_MAX_LIFETIME  315360000  /* ten years */


static ngx_int_t ngx_http_token_json_members(ngx_pool_t *pool, u_char *p,
    u_char *last, ngx_array_t *members);
static ngx_int_t ngx_http_token_json_member(ngx_pool_t *pool, u_char **pos,
    u_char *last, ngx_http_token_member_t *member);
static ngx_int_t ngx_http_token_json_encode_name(ngx_pool_t *pool,
    ngx_http_token_member_t *member);
static ngx_int_t ngx_http_token_json_value(ngx_pool_t *pool, u_char **pos,
    u_char *last, ngx_str_t *raw, ngx_str_t *string);
static ngx_int_t ngx_http_token_json_decode(ngx_pool_t *pool, u_char *p,
    u_char *last, ngx_str_t *string);
static u_char *ngx_http_token_json_skip_value(u_char *p, u_char *last);
static ngx_int_t ngx_http_token_json_add(ngx_array_t *members,
    ngx_http_token_member_t *member);
static ngx_uint_t ngx_http_token_json_is_decimal(ngx_str_t *text);
static u_char *ngx_http_token_json_space(u_char *p, u_char *last);


ngx_int_t
ngx_http_token_json_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t **members)
{
    u_char  *p, *last;

    p = text->data;
    last = text->data + text->len;

    p = ngx_http_token_json_space(p, last);

    if (p == last || *p != '{') {
        return NGX_DECLINED;
    }

    *members = ngx_array_create(pool, 8, sizeof(ngx_http_token_member_t));
    if (*members == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_token_json_members(pool, p + 1, last, *members);
}


static ngx_int_t
ngx_http_token_json_members(ngx_pool_t *pool, u_char *p, u_char *last,
    ngx_array_t *members)
{
    ngx_int_t                rc;
    ngx_http_token_member_t  member;

    p = ngx_http_token_json_space(p, last);

    if (p != last && *p == '}') {
        goto end;
    }

    for ( ;; ) {

        rc = ngx_http_token_json_member(pool, &p, last, &member);
        if (rc != NGX_OK) {
            return rc;
        }

        if (members->nelts == NGX_HTTP_TOKEN_MAX_MEMBERS) {
            return NGX_DECLINED;
        }

        if (ngx_http_token_json_add(members, &member) != NGX_OK) {
            return NGX_ERROR;
        }

        p = ngx_http_token_json_space(p, last);

        if (p == last) {
            return NGX_DECLINED;
        }

        if (*p == '}') {
            goto end;
        }

        if (*p++ != ',') {
            return NGX_DECLINED;
        }
    }

end:

    p = ngx_http_token_json_space(p + 1, last);

    return (p == last) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_token_json_member(ngx_pool_t *pool, u_char **pos, u_char *last,
    ngx_http_token_member_t *member)
{
    u_char     *p;
    ngx_int_t   rc;

    ngx_memzero(member, sizeof(ngx_http_token_member_t));

    p = ngx_http_token_json_space(*pos, last);

    if (p == last || *p != '"') {
        return NGX_DECLINED;
    }

    *pos = p;

    rc = ngx_http_token_json_value(pool, pos, last, &member->key,
                                   &member->name);
    if (rc != NGX_OK) {
        return rc;
    }

    if (member->key.len != member->name.len + 2
        && ngx_http_token_json_encode_name(pool, member) != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_http_token_json_space(*pos, last);

    if (p == last || *p != ':') {
        return NGX_DECLINED;
    }

    *pos = p + 1;

    rc = ngx_http_token_json_value(pool, pos, last, &member->value,
                                   &member->string);
    if (rc != NGX_OK) {
        return rc;
    }

    member->is_string = (member->value.data[0] == '"');

    return NGX_OK;
}


/* a name that needs no escapes is handed on without them */

static ngx_int_t
ngx_http_token_json_encode_name(ngx_pool_t *pool,
    ngx_http_token_member_t *member)
{
    size_t   i;
    u_char  *p;

    for (i = 0; i < member->name.len; i++) {
        p = &member->name.data[i];

        if (*p < 0x20 || *p == '"' || *p == '\\') {
            return NGX_OK;
        }
    }

    member->key.len = member->name.len + 2;
    member->key.data = ngx_pnalloc(pool, member->key.len);
    if (member->key.data == NULL) {
        return NGX_ERROR;
    }

    p = member->key.data;

    *p++ = '"';
    p = ngx_cpymem(p, member->name.data, member->name.len);
    *p = '"';

    return NGX_OK;
}


/* the raw bytes of one value of any kind, and what they say if it's a string */

static ngx_int_t
ngx_http_token_json_value(ngx_pool_t *pool, u_char **pos, u_char *last,
    ngx_str_t *raw, ngx_str_t *string)
{
    u_char     *p, *end;
    ngx_int_t   rc;

    p = ngx_http_token_json_space(*pos, last);

    if (p == last) {
        return NGX_DECLINED;
    }

    rc = NGX_OK;

    if (*p == '"') {
        end = ngx_http_token_json_strict_string(p, last);

        if (end) {
            rc = ngx_http_token_json_decode(pool, p, end, string);
        }

    } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
        end = ngx_http_token_json_strict_number(p, last);

    } else {
        end = ngx_http_token_json_skip_value(p, last);
    }

    if (end == NULL) {
        return NGX_DECLINED;
    }

    raw->data = p;
    raw->len = end - p;

    *pos = end;

    return rc;
}


/* what a string says: its own bytes if there is no escape */

static ngx_int_t
ngx_http_token_json_decode(ngx_pool_t *pool, u_char *p, u_char *last,
    ngx_str_t *string)
{
    cJSON      *item;
    ngx_int_t   rc;

    string->data = p + 1;
    string->len = last - p - 2;

    if (memchr(string->data, '\\', string->len) == NULL) {
        return NGX_OK;
    }

    item = cJSON_ParseWithLengthOpts((char *) p, last - p, NULL, 0);
    if (item == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_ERROR;

    string->len = ngx_strlen(item->valuestring);
    string->data = ngx_pnalloc(pool, string->len + 1);

    if (string->data) {
        ngx_memcpy(string->data, item->valuestring, string->len + 1);
        rc = NGX_OK;
    }

    ngx_explicit_memzero(item->valuestring, string->len);

    cJSON_Delete(item);

    return rc;
}


/* arrays, objects, and words: to behind it, or NULL */

static u_char *
ngx_http_token_json_skip_value(u_char *p, u_char *last)
{
    cJSON       *item;
    const char  *end;

    item = cJSON_ParseWithLengthOpts((char *) p, last - p, &end, 0);
    if (item == NULL) {
        return NULL;
    }

    cJSON_Delete(item);

    last = (u_char *) end;

    return (ngx_http_token_json_strict(p, last) == NGX_OK) ? last : NULL;
}


static ngx_int_t
ngx_http_token_json_add(ngx_array_t *members, ngx_http_token_member_t *member)
{
    ngx_uint_t                i;
    ngx_http_token_member_t  *m;

    m = members->elts;

    for (i = 0; i < members->nelts; i++) {
        if (m[i].name.len == member->name.len
            && ngx_memcmp(m[i].name.data, member->name.data, m[i].name.len)
               == 0)
        {
            m[i] = *member;
            return NGX_OK;
        }
    }

    m = ngx_array_push(members);
    if (m == NULL) {
        return NGX_ERROR;
    }

    *m = *member;

    return NGX_OK;
}


ngx_http_token_member_t *
ngx_http_token_json_find(ngx_array_t *members, char *name)
{
    size_t                    len;
    ngx_uint_t                i;
    ngx_http_token_member_t  *m;

    m = members->elts;
    len = ngx_strlen(name);

    for (i = 0; i < members->nelts; i++) {
        if (m[i].name.len == len
            && ngx_memcmp(m[i].name.data, name, len) == 0)
        {
            return &m[i];
        }
    }

    return NULL;
}


int64_t
ngx_http_token_json_lifetime(ngx_array_t *members)
{
    double                    n;
    char                     *end;
    ngx_str_t                *text;
    ngx_http_token_member_t  *m;

    m = ngx_http_token_json_find(members, "expires_in");

    if (m == NULL) {
        return -1;
    }

    text = m->is_string ? &m->string : &m->value;

    n = ngx_atoi(text->data, text->len);

    if (n == NGX_ERROR) {

        /* strtod() takes "inf", "0x10" and white space as well */

        if (!ngx_http_token_json_is_decimal(text)) {
            return 0;
        }

        /* the text does not end the answer: a quote or a brace follows */

        n = strtod((char *) text->data, &end);

        if ((u_char *) end != text->data + text->len) {
            return 0;
        }
    }

    if (n <= 0) {
        return 0;
    }

    return (n < NGX_HTTP_TOKEN_MAX_LIFETIME)
           ? (int64_t) (n * 1000)
           : (int64_t) NGX_HTTP_TOKEN_MAX_LIFETIME * 1000;
}


static ngx_uint_t
ngx_http_token_json_is_decimal(ngx_str_t *text)
{
    u_char      ch;
    ngx_uint_t  i;

    for (i = 0; i < text->len; i++) {
        ch = text->data[i];

        if ((ch < '0' || ch > '9') && ch != '.' && ch != '+' && ch != '-'
            && ch != 'e' && ch != 'E')
        {
            return 0;
        }
    }

    return (text->len != 0);
}


ngx_int_t
ngx_http_token_json_subset(ngx_pool_t *pool, ngx_array_t *members,
    ngx_array_t *fields, ngx_str_t *text)
{
    size_t                     len;
    u_char                    *p;
    ngx_str_t                 *name;
    ngx_uint_t                 i, n;
    ngx_http_token_member_t   *m, **chosen;

    n = fields->nelts ? fields->nelts : members->nelts;

    chosen = ngx_palloc(pool, (n + 1) * sizeof(ngx_http_token_member_t *));
    if (chosen == NULL) {
        return NGX_ERROR;
    }

    m = members->elts;
    name = fields->elts;
    len = sizeof("{}") - 1;

    for (i = 0; i < n; i++) {
        chosen[i] = fields->nelts
                    ? ngx_http_token_json_find(members, (char *) name[i].data)
                    : &m[i];

        if (chosen[i]) {
            len += chosen[i]->key.len + sizeof(":") - 1
                   + chosen[i]->value.len + sizeof(",") - 1;
        }
    }

    text->data = ngx_pnalloc(pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = text->data;
    *p++ = '{';

    for (i = 0; i < n; i++) {
        if (chosen[i] == NULL) {
            continue;
        }

        if (p != text->data + 1) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, chosen[i]->key.data, chosen[i]->key.len);
        *p++ = ':';
        p = ngx_cpymem(p, chosen[i]->value.data, chosen[i]->value.len);
    }

    *p++ = '}';

    text->len = p - text->data;

    return NGX_OK;
}


static u_char *
ngx_http_token_json_space(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t' || *p == CR || *p == LF)) {
        p++;
    }

    return p;
}
