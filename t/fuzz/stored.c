
/*
 * A token as it is stored in shared memory.  Input: two bytes for the fields
 * of the location that stores it and of one that reads it, two for how long it
 * lives, then the endpoint's answer.
 */


#include "fuzz.h"


/* the subset of the answer, where expires_in is what is left */

static ngx_str_t
fuzz_wanted(fuzz_t *fz, ngx_array_t *members, ngx_array_t *fields,
    time_t expires_in)
{
    ngx_str_t                 text;
    ngx_array_t               copy;
    ngx_http_token_member_t  *m;

    copy = *members;
    copy.elts = ngx_palloc(fz->pool, copy.nalloc * copy.size);
    fuzz_check(copy.elts);

    ngx_memcpy(copy.elts, members->elts, copy.nelts * copy.size);

    m = ngx_http_token_json_find(&copy, "expires_in");

    if (m) {
        m->value.data = ngx_pnalloc(fz->pool, NGX_TIME_T_LEN);
        fuzz_check(m->value.data);

        m->value.len = ngx_sprintf(m->value.data, "%T", expires_in)
                       - m->value.data;
    }

    fuzz_check(ngx_http_token_json_subset(fz->pool, &copy, fields, &text)
               == NGX_OK);

    return text;
}


static ngx_uint_t
fuzz_printable(ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] < 0x20 || text->data[i] > 0x7e) {
            return 0;
        }
    }

    return 1;
}


int
fuzz_one(fuzz_t *fz)
{
    int64_t                   lifetime;
    ngx_str_t                 text, wanted;
    ngx_uint_t                i;
    ngx_array_t              *members, *fields, *others;
    ngx_http_token_stored_t  *stored, *copy;
    ngx_http_token_lookup_t   lookup;
    ngx_http_token_member_t  *token;

    static ngx_str_t  scheme = ngx_string("DPoP ");

    fields = fuzz_fields(fz);
    others = fuzz_fields(fz);

    lifetime = 1 + fuzz_number(fz, 256) * 1000;
    fz->tlcf.cache.refresh_percent = fuzz_number(fz, 100);
    fz->tlcf.cache.refresh_before = 1000;
    fz->tlcf.fields = fields;

    text = fuzz_rest(fz);

    if (ngx_http_token_json_parse(fz->pool, &text, &members) != NGX_OK) {
        return 0;
    }

    /* the fetch sees to that */

    token = ngx_http_token_json_find(members, "access_token");

    if (token == NULL || !token->is_string) {
        return 0;
    }

    stored = ngx_http_token_stored_make(fz->pool, &fz->tlcf, members, 1000000,
                                        lifetime);
    fuzz_check(stored);

    fuzz_check(stored->expires == 1000000 + lifetime);
    fuzz_check(stored->renew_at > 1000000 || lifetime < 10);
    fuzz_check(stored->renew_at <= stored->expires);

    for (i = 0; i < stored->nmembers; i++) {
        fuzz_check(stored->members[i].key + stored->members[i].key_len
                   <= stored->size);
        fuzz_check(stored->members[i].value + stored->members[i].value_len
                   <= stored->size);
    }

    /* in shared memory there is no more of it than its size */

    copy = ngx_palloc(fz->pool, stored->size);
    fuzz_check(copy);

    ngx_memcpy(copy, stored, stored->size);

    ngx_memzero(&lookup, sizeof(ngx_http_token_lookup_t));
    lookup.expires_in = (time_t) (lifetime / 1000);

    /* the location that stored it */

    wanted = fuzz_wanted(fz, members, fields, lookup.expires_in);

    fuzz_check(ngx_http_token_stored_body(&fz->request, copy, &lookup)
               == NGX_OK);
    fuzz_check(fuzz_equal(&lookup.value, &wanted));

    fuzz_check(ngx_http_token_stored_compose(&fz->request, fields, copy,
                                             &lookup)
               == NGX_OK);
    fuzz_check(fuzz_equal(&lookup.value, &wanted));

    /* one that wants other fields */

    wanted = fuzz_wanted(fz, members, others, lookup.expires_in);

    fuzz_check(ngx_http_token_stored_compose(&fz->request, others, copy,
                                             &lookup)
               == NGX_OK);

    /* "*" has its own order: that of the endpoint, or of who stored it */

    if (others->nelts) {
        fuzz_check(fuzz_equal(&lookup.value, &wanted));
    }

    fuzz_check(fuzz_json_check(lookup.value.data, lookup.value.len)
               != FUZZ_JSON_INVALID);

    /* the token as a header has it, or none */

    lookup.scheme = &scheme;

    fuzz_check(ngx_http_token_stored_token(&fz->request, copy, &lookup)
               == NGX_OK);

    if (lookup.value.len == 0) {
        fuzz_check(token->string.len == 0
                   || !fuzz_printable(&token->string));
        return 0;
    }

    fuzz_check(ngx_strncmp(lookup.value.data, "DPoP ", scheme.len) == 0);

    lookup.value.data += scheme.len;
    lookup.value.len -= scheme.len;

    fuzz_check(fuzz_equal(&lookup.value, &token->string));
    fuzz_check(fuzz_printable(&lookup.value));

    return 0;
}
