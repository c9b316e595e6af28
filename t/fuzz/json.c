
/*
 * The endpoint's JSON to the subset.  Input: a byte that chooses the fields,
 * then the answer.
 */


#include "fuzz.h"

#include <cjson/cJSON.h>


static void fuzz_subset(fuzz_t *fz, ngx_str_t *text, ngx_array_t *members,
    ngx_array_t *fields);


int
fuzz_one(fuzz_t *fz)
{
    int           opinion;
    int64_t       lifetime;
    ngx_int_t     rc;
    ngx_str_t     text;
    ngx_array_t  *fields, *members;

    fields = fuzz_fields(fz);

    /* without a copy: libFuzzer's has exactly this length */

    text.data = (u_char *) fz->data;
    text.len = fz->size;

    rc = ngx_http_token_json_parse(fz->pool, &text, &members);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    opinion = fuzz_json_check(text.data, text.len);

    if (rc == NGX_DECLINED) {
        fuzz_check(opinion != FUZZ_JSON_VALID);
        return 0;
    }

    fuzz_check(opinion != FUZZ_JSON_INVALID);

    lifetime = ngx_http_token_lifetime(fz->pool, members);

    fuzz_check(lifetime >= -1 && lifetime <= 315360000000);

    fuzz_subset(fz, &text, members, fields);

    return 0;
}


static void
fuzz_subset(fuzz_t *fz, ngx_str_t *text, ngx_array_t *members,
    ngx_array_t *fields)
{
    cJSON                    *answer, *out, *item, *last, *member;
    ngx_str_t                 subset, again;
    ngx_uint_t                i, n;
    ngx_array_t              *left;
    ngx_http_token_member_t  *m, *found;

    fuzz_check(ngx_http_token_json_subset(fz->pool, members, fields, &subset)
               == NGX_OK);

    /* it parses, by both, and is its own subset */

    fuzz_check(fuzz_json_check(subset.data, subset.len) != FUZZ_JSON_INVALID);

    fuzz_check(ngx_http_token_json_parse(fz->pool, &subset, &left) == NGX_OK);

    fuzz_check(ngx_http_token_json_subset(fz->pool, left, fields, &again)
               == NGX_OK);

    fuzz_check(fuzz_equal(&subset, &again));

    /* it has what was asked for and there, in that order, and as it was sent */

    m = left->elts;
    n = 0;

    for (i = 0; i < fields->nelts; i++) {
        found = ngx_http_token_json_find(members,
                              (char *) ((ngx_str_t *) fields->elts)[i].data);

        if (found == NULL) {
            continue;
        }

        fuzz_check(n < left->nelts);
        fuzz_check(fuzz_equal(&m[n].name, &found->name));
        fuzz_check(fuzz_equal(&m[n].value, &found->value));
        fuzz_check(fuzz_contains(text, &m[n].value));

        n++;
    }

    fuzz_check(n == left->nelts || fields->nelts == 0);
    fuzz_check(fields->nelts || left->nelts == members->nelts);

    /* another parser reads the same values in both */

    answer = cJSON_ParseWithLength((char *) text->data, text->len);
    out = cJSON_ParseWithLength((char *) subset.data, subset.len);

    fuzz_check(answer && out);

    cJSON_ArrayForEach(item, out) {

        last = NULL;

        cJSON_ArrayForEach(member, answer) {
            if (strcmp(member->string, item->string) == 0) {
                last = member;
            }
        }

        fuzz_check(last);
        fuzz_check(last->type == item->type);

        if (cJSON_IsString(last)) {
            fuzz_check(strcmp(last->valuestring, item->valuestring) == 0);
        }
    }

    cJSON_Delete(answer);
    cJSON_Delete(out);
}
