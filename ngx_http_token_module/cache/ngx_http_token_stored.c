
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A token as it is stored: the answer is prepared once, and a hit copies it.
 */


#include "ngx_http_token_cache.h"


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
    ngx_str_t                 token;
    ngx_uint_t                i;
    ngx_http_token_span_t    *span, *expires_in;
    ngx_http_token_member_t  *m, *member;
    ngx_http_token_stored_t  *stored;

    m = members->elts;
    token = ngx_http_token_bearer_token(members);

    len = offsetof(ngx_http_token_stored_t, members)
          + members->nelts * sizeof(ngx_http_token_span_t)
          + ngx_http_token_json_size(members) + token.len;

    stored = ngx_pcalloc(pool, len);
    if (stored == NULL) {
        return NULL;
    }

    stored->nmembers = members->nelts;
    stored->fields = tlcf->fields_hash;

    span = stored->members;
    text = (u_char *) &span[members->nelts];

    /* the answer of this location */

    p = ngx_http_token_json_write(text, members, tlcf->fields, span);

    stored->body_len = p - text;

    member = ngx_http_token_json_find(members, "expires_in");

    if (member) {
        expires_in = &span[member - m];

        stored->expires_in_pos = expires_in->value;
        stored->expires_in_len = expires_in->value_len;
    }

    /* the members that this answer does not have, for other locations */

    for (i = 0; i < members->nelts; i++) {
        if (span[i].key_len == 0) {
            p = ngx_http_token_json_write_member(p, text, &m[i], &span[i]);
        }
    }

    member = ngx_http_token_json_find(members, "access_token");

    p = ngx_http_token_stored_bearer(p, text, stored, &span[member - m],
                                     &token);

    stored->size = p - (u_char *) stored;

    ngx_http_token_stored_times(tlcf, stored, start, lifetime);

    return stored;
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

    /* not before a tenth of the lifetime has passed, whatever was configured */

    before = ngx_min(before, lifetime * 9 / 10);

    stored->renew_at = stored->expires - before;

    /* a little later at random, lest many servers renew at the same time */

    stored->renew_at += ngx_random() % (before / 10 + 1);
}


/* called under the lock, for each hit that takes it */

ngx_uint_t
ngx_http_token_stored_age(ngx_http_token_stored_t *stored,
    ngx_http_token_time_t now)
{
    ngx_http_token_time_t  missed;

    missed = ngx_http_token_missed(stored->lead, now);

    if (missed == 0) {
        return 0;
    }

    stored->asked -= missed;
    stored->expires -= missed;
    stored->renew_at -= missed;
    stored->lead += missed;

    return 1;
}


/* two copies and a number */

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

        lookup->number_pos = stored->expires_in_pos;
        lookup->number_len = ngx_sprintf(p, "%T", lookup->expires_in) - p;

        p += lookup->number_len;

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

        if (ngx_http_token_equals(&m->name, "expires_in")) {
            m->value = left;
        }
    }

    return ngx_http_token_json_subset(r->pool, members, fields,
                                      &lookup->value);
}
