
/*
 * Members of an answer that are found by paths, as token_proxy_member names
 * them, and errors among them.  Input: a number of paths, each with a NUL
 * behind it, then the answer.
 */


#include "fuzz.h"

#include <cjson/cJSON.h>


#define FUZZ_PATHS  6


static char  *fuzz_names[FUZZ_PATHS] = {
    "access_token", "expires_in", "refresh_token", "error",
    "error_description", "scope"
};


/* a path as configuration has it; 0 for one that nginx would refuse */

static ngx_uint_t
fuzz_path(fuzz_t *fz, ngx_http_token_path_t *path, char *name)
{
    u_char     *p, *last, *dot;
    ngx_str_t  *step;

    path->name.data = (u_char *) name;
    path->name.len = strlen(name);

    path->key.data = ngx_pnalloc(fz->pool, path->name.len + 2);
    fuzz_check(path->key.data);
    path->key.len = ngx_sprintf(path->key.data, "\"%V\"", &path->name)
                    - path->key.data;

    path->text = fuzz_text(fz);
    path->nsteps = 0;
    path->steps = ngx_palloc(fz->pool,
                             NGX_HTTP_TOKEN_MAX_STEPS * sizeof(ngx_str_t));
    fuzz_check(path->steps);

    p = path->text.data;
    last = p + path->text.len;

    do {
        dot = ngx_strlchr(p, last, '.');

        if (path->nsteps == NGX_HTTP_TOKEN_MAX_STEPS) {
            return 0;
        }

        step = &path->steps[path->nsteps++];
        step->data = p;
        step->len = (dot ? dot : last) - p;

        if (step->len == 0) {
            return 0;
        }

        p = dot ? dot + 1 : last;

    } while (dot);

    return 1;
}


/* what another reader finds: of members with one name the last counts */

static cJSON *
fuzz_walk(cJSON *item, ngx_http_token_path_t *path)
{
    cJSON       *member, *last;
    ngx_uint_t   i;

    for (i = 0; i < path->nsteps; i++) {

        if (!cJSON_IsObject(item)) {
            return NULL;
        }

        last = NULL;

        cJSON_ArrayForEach(member, item) {
            if (strlen(member->string) == path->steps[i].len
                && memcmp(member->string, path->steps[i].data,
                          path->steps[i].len)
                   == 0)
            {
                last = member;
            }
        }

        if (last == NULL) {
            return NULL;
        }

        item = last;
    }

    return item;
}


static void
fuzz_compare(ngx_str_t *text, cJSON *item, ngx_http_token_member_t *m)
{
    cJSON  *value;

    fuzz_check((item == NULL) == (m == NULL));

    if (m == NULL) {
        return;
    }

    /* as it was sent */

    fuzz_check(m->value.data >= text->data
               && m->value.data + m->value.len <= text->data + text->len);
    fuzz_check(m->key.len == m->name.len + 2);

    value = cJSON_ParseWithLength((char *) m->value.data, m->value.len);
    fuzz_check(value);
    fuzz_check(value->type == item->type);

    if (cJSON_IsString(item)) {
        fuzz_check(m->is_string);
        fuzz_check(m->string.len == strlen(item->valuestring));
        fuzz_check(memcmp(m->string.data, item->valuestring, m->string.len)
                   == 0);
        fuzz_check(strcmp(value->valuestring, item->valuestring) == 0);

    } else {
        fuzz_check(!m->is_string);
    }

    if (cJSON_IsNumber(item)) {
        fuzz_check(value->valuedouble == item->valuedouble);
        fuzz_check(!ngx_http_token_json_is_success(m)
                   || item->valuedouble == 0 || item->valuedouble == 200);
    }

    if (cJSON_IsBool(item)) {
        fuzz_check(ngx_http_token_json_is_success(m) == !cJSON_IsTrue(item));
    }

    if (cJSON_IsObject(item) || cJSON_IsArray(item)) {
        fuzz_check(ngx_http_token_json_is_success(m)
                   == (cJSON_GetArraySize(item) == 0));
    }

    cJSON_Delete(value);
}


int
fuzz_one(fuzz_t *fz)
{
    cJSON                    *answer;
    ngx_int_t                 rc;
    ngx_str_t                 text;
    ngx_uint_t                i, n;
    ngx_array_t              *list, *members, *plain;
    ngx_http_token_path_t    *path;
    ngx_http_token_member_t  *m;

    list = ngx_array_create(fz->pool, FUZZ_PATHS,
                            sizeof(ngx_http_token_path_t));
    fuzz_check(list);

    n = 1 + fuzz_number(fz, FUZZ_PATHS);

    for (i = 0; i < n; i++) {
        path = ngx_array_push(list);
        fuzz_check(path);

        if (!fuzz_path(fz, path, fuzz_names[i])) {
            return 0;
        }
    }

    text.data = (u_char *) fz->data;
    text.len = fz->size;

    rc = ngx_http_token_json_parse(fz->pool, &text, &plain);

    /* paths change what is found, and not what is taken */

    if (rc != ngx_http_token_json_parse_paths(fz->pool, &text, list,
                                              &members))
    {
        /* but for the number of members that are outermost */

        fuzz_check(rc == NGX_DECLINED && members->nelts > 0);
        return 0;
    }

    if (rc != NGX_OK) {
        return 0;
    }

    fuzz_check(members->nelts <= plain->nelts + n);

    answer = cJSON_ParseWithLength((char *) text.data, text.len);
    fuzz_check(answer);

    path = list->elts;

    for (i = 0; i < n; i++) {
        fuzz_compare(&text, fuzz_walk(answer, &path[i]),
                     ngx_http_token_json_find(members,
                                              (char *) path[i].name.data));
    }

    cJSON_Delete(answer);

    /* no name twice */

    m = members->elts;

    for (i = 0; i < members->nelts; i++) {
        for (n = i + 1; n < members->nelts; n++) {
            fuzz_check(!fuzz_equal(&m[i].name, &m[n].name));
        }
    }

    return 0;
}
