
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Paths to the members of an answer, as token_proxy_member names them, and
 * what was found at their ends.  A set of paths is a mask of their numbers.
 */


#include "ngx_http_token_util.h"


ngx_int_t
ngx_http_token_paths_create(ngx_pool_t *pool, ngx_array_t *list,
    ngx_http_token_paths_t *paths)
{
    ngx_memzero(paths, sizeof(ngx_http_token_paths_t));

    if (list == NULL) {
        return NGX_OK;
    }

    paths->list = list;
    paths->all = (list->nelts < NGX_HTTP_TOKEN_MAX_PATHS)
                 ? ((uint32_t) 1 << list->nelts) - 1 : 0xffffffff;

    paths->found = ngx_pcalloc(pool, list->nelts
                                     * sizeof(ngx_http_token_member_t));

    return paths->found ? NGX_OK : NGX_ERROR;
}


uint32_t
ngx_http_token_paths_step(ngx_http_token_paths_t *paths, uint32_t set,
    ngx_uint_t n, ngx_str_t *name)
{
    uint32_t                next;
    ngx_uint_t              i;
    ngx_http_token_path_t  *path;

    next = 0;
    path = paths->list->elts;

    for (i = 0; i < paths->list->nelts; i++) {

        if (!(set & ((uint32_t) 1 << i)) || n >= path[i].nsteps
            || path[i].steps[n].len != name->len
            || ngx_memcmp(path[i].steps[n].data, name->data, name->len) != 0)
        {
            continue;
        }

        next |= (uint32_t) 1 << i;

        /* of two members with one name the last counts */

        ngx_str_null(&paths->found[i].value);
    }

    return next;
}


void
ngx_http_token_paths_end(ngx_http_token_paths_t *paths, uint32_t set,
    ngx_uint_t n, ngx_http_token_member_t *member)
{
    ngx_uint_t              i;
    ngx_http_token_path_t  *path;

    path = paths->list->elts;

    for (i = 0; i < paths->list->nelts; i++) {

        if ((set & ((uint32_t) 1 << i)) && path[i].nsteps == n + 1) {
            paths->found[i] = *member;
            paths->found[i].name = path[i].name;
            paths->found[i].key = path[i].key;
            paths->found[i].is_string = (member->value.data[0] == '"');
        }
    }
}


ngx_uint_t
ngx_http_token_paths_hide(ngx_http_token_paths_t *paths, ngx_str_t *name)
{
    ngx_uint_t              i;
    ngx_http_token_path_t  *path;

    if (paths->list == NULL) {
        return 0;
    }

    path = paths->list->elts;

    for (i = 0; i < paths->list->nelts; i++) {

        if ((path[i].name.len == name->len
             && ngx_memcmp(path[i].name.data, name->data, name->len) == 0)
            || (path[i].steps[0].len == name->len
                && ngx_memcmp(path[i].steps[0].data, name->data, name->len)
                   == 0))
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_token_paths_add(ngx_http_token_paths_t *paths, ngx_array_t *members)
{
    ngx_uint_t                i;
    ngx_http_token_member_t  *m;

    for (i = 0; paths->list && i < paths->list->nelts; i++) {

        if (paths->found[i].value.len == 0) {
            continue;
        }

        m = ngx_array_push(members);
        if (m == NULL) {
            return NGX_ERROR;
        }

        *m = paths->found[i];
    }

    return NGX_OK;
}
