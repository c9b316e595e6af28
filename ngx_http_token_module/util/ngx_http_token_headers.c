
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Headers of the request and of the response that have no place of their own
 * in nginx's structures, as the CORS protocol needs them.
 */


#include "ngx_http_token_util.h"


static ngx_uint_t ngx_http_token_cors_has(ngx_str_t list, char *name);


/*
 * "add_header" may have added some of them.  A browser refuses a response that
 * has one of them twice.
 */

ngx_uint_t
ngx_http_token_cors_clean(ngx_http_request_t *r)
{
    ngx_uint_t        i, vary;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    vary = 0;

    part = &r->headers_out.headers.part;
    i = 0;

    while ((h = ngx_http_token_next_header(&part, &i)) != NULL) {

        if (h->key.len == sizeof("Vary") - 1) {
            vary = 1;
            continue;
        }

        if (h->key.len > sizeof("Access-Control-") - 1
            && ngx_tolower(h->key.data[0]) == 'a'
            && ngx_strncasecmp(h->key.data, (u_char *) "Access-Control-",
                               sizeof("Access-Control-") - 1)
               == 0)
        {
            h->hash = 0;
        }
    }

    return vary;
}


ngx_int_t
ngx_http_token_cors_vary(ngx_http_request_t *r, char *name)
{
    u_char           *p;
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *vary;

    value.data = (u_char *) name;
    value.len = ngx_strlen(name);

    vary = NULL;

    part = &r->headers_out.headers.part;
    i = 0;

    while ((h = ngx_http_token_next_header(&part, &i)) != NULL) {

        if (h->hash == 0 || h->key.len != 4
            || ngx_strncasecmp(h->key.data, (u_char *) "Vary", 4) != 0)
        {
            continue;
        }

        if (ngx_http_token_cors_has(h->value, name)) {
            return NGX_OK;
        }

        vary = h;
    }

    if (vary == NULL || vary->value.len == 0) {
        return ngx_http_token_add_header(r, "Vary", &value) ? NGX_OK
                                                            : NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, vary->value.len + sizeof(", ") - 1 + value.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "%V, %s", &vary->value, name) - p;

    vary->value = value;

    return NGX_OK;
}


/* whether a list of names has the name, or "*" */

static ngx_uint_t
ngx_http_token_cors_has(ngx_str_t list, char *name)
{
    ngx_str_t  part;

    while (ngx_http_token_next_name(&list, &part)) {

        if (ngx_http_token_equals(&part, "*")
            || ngx_http_token_equals_nocase(&part, name))
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_token_next_name(ngx_str_t *list, ngx_str_t *name)
{
    u_char  *p, *last;

    p = list->data;
    last = p + list->len;

    while (p < last && (*p == ' ' || *p == '\t' || *p == ',')) {
        p++;
    }

    name->data = p;

    while (p < last && *p != ' ' && *p != '\t' && *p != ',') {
        p++;
    }

    name->len = p - name->data;

    list->data = p;
    list->len = last - p;

    return (name->len != 0);
}


ngx_table_elt_t *
ngx_http_token_cors_find_header(ngx_http_request_t *r, u_char *name,
    size_t len, ngx_uint_t *n)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *found;

    *n = 0;
    found = NULL;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len != len) {
                continue;
            }

            if ((h[i].lowcase_key
                 ? ngx_memcmp(h[i].lowcase_key, name, len)
                 : ngx_strncasecmp(h[i].key.data, name, len))
                == 0)
            {
                found = &h[i];
                (*n)++;
            }
        }
    }

    return found;
}


ngx_table_elt_t *
ngx_http_token_push_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_http_token_fill_header(h, name, value);

    return h;
}


ngx_table_elt_t *
ngx_http_token_find_header(ngx_list_t *list, char *name)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);

    part = &list->part;
    i = 0;

    while ((h = ngx_http_token_next_header(&part, &i)) != NULL) {

        if (h->key.len == len
            && ngx_strncasecmp(h->key.data, (u_char *) name, len) == 0)
        {
            return h;
        }
    }

    return NULL;
}


ngx_table_elt_t *
ngx_http_token_next_header(ngx_list_part_t **part, ngx_uint_t *i)
{
    ngx_table_elt_t  *h;

    for ( /* void */ ; *part; *part = (*part)->next, *i = 0) {

        if (*i < (*part)->nelts) {
            h = (*part)->elts;
            return &h[(*i)++];
        }
    }

    return NULL;
}
