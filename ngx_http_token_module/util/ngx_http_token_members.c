
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The members of a JSON object: finds one, and writes an object of chosen ones.
 * Their bytes are written as they were read, so that numbers keep their digits
 * and strings their escapes.
 */


#include "ngx_http_token_util.h"


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


/*
 * Endpoints that have an error in each answer mean that there is none by 0,
 * "0", "000000", 200, "", null, false, [], {}, "ok" or "success".
 */

ngx_uint_t
ngx_http_token_json_is_success(ngx_http_token_member_t *m)
{
    size_t     i;
    ngx_str_t  text;

    text = m->is_string ? m->string : m->value;

    for (i = 0; i < text.len && text.data[i] == '0'; i++) { /* void */ }

    if (i == text.len) {
        return 1;
    }

    switch (m->value.data[0]) {

    case '{': case '[':

        for (i = 1; i < text.len - 1; i++) {
            if (text.data[i] > ' ') {
                return 0;
            }
        }

        return 1;

    case 'n': case 'f':
        return 1;
    }

    return (ngx_http_token_equals(&text, "200")
            || ngx_http_token_equals_nocase(&text, "ok")
            || ngx_http_token_equals_nocase(&text, "success"));
}


ngx_int_t
ngx_http_token_json_subset(ngx_pool_t *pool, ngx_array_t *members,
    ngx_array_t *fields, ngx_str_t *text)
{
    text->data = ngx_pnalloc(pool, ngx_http_token_json_size(members));
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_http_token_json_write(text->data, members, fields, NULL)
                - text->data;

    return NGX_OK;
}


size_t
ngx_http_token_json_size(ngx_array_t *members)
{
    size_t                    len;
    ngx_uint_t                i;
    ngx_http_token_member_t  *m;

    len = sizeof("{}") - 1;

    m = members->elts;

    for (i = 0; i < members->nelts; i++) {
        len += m[i].key.len + m[i].value.len + sizeof(":,") - 1;
    }

    return len;
}


u_char *
ngx_http_token_json_write(u_char *p, ngx_array_t *members, ngx_array_t *fields,
    ngx_http_token_span_t *spans)
{
    u_char                   *text;
    ngx_str_t                *field;
    ngx_uint_t                i, n;
    ngx_http_token_member_t  *m, *member;

    text = p;

    m = members->elts;
    field = fields->elts;
    n = fields->nelts ? fields->nelts : members->nelts;

    *p++ = '{';

    for (i = 0; i < n; i++) {

        member = fields->nelts
                 ? ngx_http_token_json_find(members, (char *) field[i].data)
                 : &m[i];

        if (member == NULL) {
            continue;
        }

        if (p != text + 1) {
            *p++ = ',';
        }

        p = ngx_http_token_json_write_member(p, text, member,
                                             spans ? &spans[member - m] : NULL);
    }

    *p++ = '}';

    return p;
}


u_char *
ngx_http_token_json_write_member(u_char *p, u_char *text,
    ngx_http_token_member_t *member, ngx_http_token_span_t *span)
{
    if (span) {
        span->key = p - text;
        span->key_len = member->key.len;
        span->value = span->key + member->key.len + 1;
        span->value_len = member->value.len;
    }

    p = ngx_cpymem(p, member->key.data, member->key.len);
    *p++ = ':';

    return ngx_cpymem(p, member->value.data, member->value.len);
}
