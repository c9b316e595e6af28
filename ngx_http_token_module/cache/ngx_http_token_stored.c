
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A token as it is stored: the answer is prepared once, a hit copies it.
 */


#include "ngx_http_token_cache.h"


static ngx_uint_t ngx_http_token_field_selected(ngx_array_t *fields,
    ngx_http_token_member_t *member);
static u_char *ngx_http_token_stored_member(u_char *p, u_char *text,
    ngx_http_token_member_t *member, ngx_http_token_span_t *span);
static u_char *ngx_http_token_stored_bearer(u_char *p, u_char *text,
    ngx_http_token_stored_t *stored, ngx_http_token_span_t *span,
    ngx_str_t *token);
static void ngx_http_token_stored_times(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_stored_t *stored, ngx_http_token_time_t start,
    int64_t lifetime);


ngx_http_token_stored_t *
ngx_http_token_stored_make(ngx_pool_t *pool, ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *members, ngx_http_token_time_t start, int64_t lifetime)
{
    size_t                    len;
    u_char                   *p, *text;
    ngx_str_t                *field, token;
    ngx_uint_t                i, n;
    ngx_http_token_span_t    *span;
    ngx_http_token_member_t  *m, *member;
    ngx_http_token_stored_t  *stored;

    m = members->elts;
    token = ngx_http_token_bearer_token(members);

    len = sizeof(ngx_http_token_stored_t) + sizeof("{}") - 1 + token.len;

    for (i = 0; i < members->nelts; i++) {
        len += sizeof(ngx_http_token_span_t) + m[i].key.len + m[i].value.len
               + sizeof(":,") - 1;
    }

    stored = ngx_pcalloc(pool, len);
    if (stored == NULL) {
        return NULL;
    }

    stored->nmembers = members->nelts;
    stored->fields = tlcf->fields_hash;

    span = stored->members;
    text = (u_char *) &span[members->nelts];

    /* the answer of this location */

    p = text;
    *p++ = '{';

    field = tlcf->fields->elts;
    n = tlcf->fields->nelts ? tlcf->fields->nelts : members->nelts;

    for (i = 0; i < n; i++) {

        member = tlcf->fields->nelts
                 ? ngx_http_token_json_find(members, (char *) field[i].data)
                 : &m[i];

        if (member) {
            if (p != text + 1) {
                *p++ = ',';
            }

            p = ngx_http_token_stored_member(p, text, member,
                                             &span[member - m]);
        }
    }

    *p++ = '}';

    stored->body_len = p - text;

    member = ngx_http_token_json_find(members, "expires_in");

    if (member && ngx_http_token_field_selected(tlcf->fields, member)) {
        stored->expires_in_pos = span[member - m].value;
        stored->expires_in_len = span[member - m].value_len;
    }

    /* what others may want */

    for (i = 0; i < members->nelts; i++) {
        if (!ngx_http_token_field_selected(tlcf->fields, &m[i])) {
            p = ngx_http_token_stored_member(p, text, &m[i], &span[i]);
        }
    }

    member = ngx_http_token_json_find(members, "access_token");

    p = ngx_http_token_stored_bearer(p, text, stored, &span[member - m],
                                     &token);

    stored->size = p - (u_char *) stored;

    ngx_http_token_stored_times(tlcf, stored, start, lifetime);

    return stored;
}


static ngx_uint_t
ngx_http_token_field_selected(ngx_array_t *fields,
    ngx_http_token_member_t *member)
{
    ngx_str_t   *field;
    ngx_uint_t   i;

    if (fields->nelts == 0) {
        return 1;
    }

    field = fields->elts;

    for (i = 0; i < fields->nelts; i++) {
        if (field[i].len == member->name.len
            && ngx_memcmp(field[i].data, member->name.data, field[i].len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


static u_char *
ngx_http_token_stored_member(u_char *p, u_char *text,
    ngx_http_token_member_t *member, ngx_http_token_span_t *span)
{
    span->key = p - text;
    span->key_len = member->key.len;

    p = ngx_cpymem(p, member->key.data, member->key.len);
    *p++ = ':';

    span->value = p - text;
    span->value_len = member->value.len;

    return ngx_cpymem(p, member->value.data, member->value.len);
}


/* the token is in the text already, unless escapes make it longer there */

static u_char *
ngx_http_token_stored_bearer(u_char *p, u_char *text,
    ngx_http_token_stored_t *stored, ngx_http_token_span_t *span,
    ngx_str_t *token)
{
    if (token->len == 0) {
        return p;
    }

    stored->token_len = token->len;

    if (span->value_len == token->len + 2) {
        stored->token = span->value + 1;
        return p;
    }

    stored->token = p - text;

    return ngx_cpymem(p, token->data, token->len);
}


/* a lifetime counts from when the token was asked for, on the safe side */

static void
ngx_http_token_stored_times(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_stored_t *stored, ngx_http_token_time_t start,
    int64_t lifetime)
{
    int64_t  before;

    stored->asked = start;
    stored->expires = start + lifetime;

    before = tlcf->cache.refresh_percent
             ? lifetime * (int64_t) tlcf->cache.refresh_percent / 100
             : (int64_t) tlcf->cache.refresh_before;

    /* some of its life a token is used, whatever was configured */

    before = ngx_min(before, lifetime * 9 / 10);

    stored->refresh = stored->expires - before;

    /* a little later at random, lest a fleet refreshes in the same second */

    stored->refresh += ngx_random() % (before / 10 + 1);
}


/* under the lock: two copies and a number */

ngx_int_t
ngx_http_token_stored_body(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup)
{
    u_char  *p, *text;
    size_t   rest;

    text = (u_char *) &stored->members[stored->nmembers];

    p = ngx_pnalloc(r->pool, stored->body_len + NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    lookup->value.data = p;

    if (stored->expires_in_len) {
        p = ngx_cpymem(p, text, stored->expires_in_pos);
        p = ngx_sprintf(p, "%T", lookup->expires_in);

        text += stored->expires_in_pos + stored->expires_in_len;
        rest = stored->body_len - stored->expires_in_pos
               - stored->expires_in_len;

    } else {
        rest = stored->body_len;
    }

    p = ngx_cpymem(p, text, rest);

    lookup->value.len = p - lookup->value.data;

    return NGX_OK;
}


/* under the lock as well */

ngx_int_t
ngx_http_token_stored_token(ngx_http_request_t *r,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup)
{
    ngx_str_t  token;

    token.len = stored->token_len;
    token.data = (u_char *) &stored->members[stored->nmembers] + stored->token;

    return ngx_http_token_bearer_value(r->pool, lookup->scheme, &token,
                                       &lookup->value);
}


ngx_int_t
ngx_http_token_stored_compose(ngx_http_request_t *r, ngx_array_t *fields,
    ngx_http_token_stored_t *stored, ngx_http_token_lookup_t *lookup)
{
    u_char                   *text;
    ngx_str_t                 left;
    ngx_uint_t                i;
    ngx_array_t              *members;
    ngx_http_token_span_t    *span;
    ngx_http_token_member_t  *m;

    members = ngx_array_create(r->pool, stored->nmembers,
                               sizeof(ngx_http_token_member_t));
    left.data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);

    if (members == NULL || left.data == NULL) {
        return NGX_ERROR;
    }

    left.len = ngx_sprintf(left.data, "%T", lookup->expires_in) - left.data;

    span = stored->members;
    text = (u_char *) &stored->members[stored->nmembers];

    for (i = 0; i < stored->nmembers; i++) {
        m = ngx_array_push(members);
        if (m == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(m, sizeof(ngx_http_token_member_t));

        m->key.data = text + span[i].key;
        m->key.len = span[i].key_len;
        m->name.data = m->key.data + 1;
        m->name.len = m->key.len - 2;
        m->value.data = text + span[i].value;
        m->value.len = span[i].value_len;

        if (m->name.len == sizeof("expires_in") - 1
            && ngx_memcmp(m->name.data, "expires_in", m->name.len) == 0)
        {
            m->value = left;
        }
    }

    return ngx_http_token_json_subset(r->pool, members, fields,
                                      &lookup->value);
}
