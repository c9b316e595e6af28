
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of cross-origin requests, and what is made of them when the
 * configuration has been read.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_cors_check_name(ngx_str_t *name,
    ngx_uint_t method);
static char *ngx_http_token_cors_join(ngx_conf_t *cf, ngx_array_t *list,
    ngx_str_t *text);
static char *ngx_http_token_cors_init_error_pages(ngx_conf_t *cf);


char *
ngx_http_token_set_cors_origin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                        *rv;
    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_token_cors_conf_t  *cors;

    cors = &tlcf->cors;
    value = cf->args->elts;

    if (cors->origins == NULL) {
        return "is duplicate";
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "off") != 0) {
            continue;
        }

        if (cf->args->nelts > 2 || cors->origins != NGX_CONF_UNSET_PTR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"off\" of \"%V\" must stand alone",
                               &cmd->name);
            return NGX_CONF_ERROR;
        }

        cors->origins = NULL;

        return NGX_CONF_OK;
    }

    if (cors->origins == NGX_CONF_UNSET_PTR) {
        cors->origins = ngx_http_token_origins_create(cf);
        if (cors->origins == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {
        rv = ngx_http_token_origins_add(cf, cors->origins, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_cors_self(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                      *rv, *wrong;
    ngx_str_t                  origin;
    ngx_http_complex_value_t  *self;

    rv = ngx_http_token_set_complex(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    self = tlcf->cors.self;

    if (self->lengths) {
        return NGX_CONF_OK;
    }

    origin.data = ngx_pnalloc(cf->temp_pool, self->value.len + 1);
    if (origin.data == NULL) {
        return NGX_CONF_ERROR;
    }

    wrong = ngx_http_token_origin_normalize(&self->value, &origin);

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "origin \"%V\" of \"%V\" %s",
                           &self->value, &cmd->name, wrong);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_cors_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char          *wrong;
    ngx_str_t     *value, *name;
    ngx_uint_t     i, methods;
    ngx_array_t  **list;

    /* the names of methods, or else of headers */

    methods = (cmd->offset == offsetof(ngx_http_token_loc_conf_t,
                                       cors.methods));

    list = (ngx_array_t **) (p + cmd->offset);

    if (*list != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    *list = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && !methods
        && ngx_strcmp(value[1].data, "*") == 0)
    {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        wrong = ngx_http_token_cors_check_name(&value[i], methods);

        if (wrong) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" in \"%V\" %s",
                               &value[i], &cmd->name, wrong);
            return NGX_CONF_ERROR;
        }

        name = ngx_array_push(*list);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        *name = value[i];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_cors_check_name(ngx_str_t *name, ngx_uint_t method)
{
    size_t  i;
    u_char  ch;

    if (name->len == 0) {
        return "is empty";
    }

    if (ngx_strcmp(name->data, "*") == 0) {
        return method ? "cannot be used, name the methods"
                      : "must stand alone";
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (ch == ',') {
            return "has a comma, separate names by spaces";
        }

        if (ch <= 0x20 || ch >= 0x7f
            || ngx_strchr("\"(),/:;<=>?@[\\]{}", ch))
        {
            return "has a character that a name cannot have";
        }

        /* methods are compared by case, RFC 9110 9.1 */

        if (method && ch >= 'a' && ch <= 'z') {
            return "is no method, their names are in capitals";
        }
    }

    return NULL;
}


void
ngx_http_token_cors_create(ngx_http_token_cors_conf_t *conf)
{
    conf->origins = NGX_CONF_UNSET_PTR;
    conf->self = NGX_CONF_UNSET_PTR;
    conf->methods = NGX_CONF_UNSET_PTR;
    conf->headers = NGX_CONF_UNSET_PTR;
    conf->expose_headers = NGX_CONF_UNSET_PTR;
    conf->credentials = NGX_CONF_UNSET;
    conf->max_age = NGX_CONF_UNSET;
}


char *
ngx_http_token_cors_merge(ngx_conf_t *cf, ngx_http_token_cors_conf_t *prev,
    ngx_http_token_cors_conf_t *conf)
{
    ngx_conf_merge_ptr_value(conf->origins, prev->origins, NULL);
    ngx_conf_merge_ptr_value(conf->self, prev->self, NULL);
    ngx_conf_merge_ptr_value(conf->methods, prev->methods, NULL);
    ngx_conf_merge_ptr_value(conf->headers, prev->headers, NULL);
    ngx_conf_merge_ptr_value(conf->expose_headers, prev->expose_headers, NULL);
    ngx_conf_merge_value(conf->credentials, prev->credentials, 0);
    ngx_conf_merge_sec_value(conf->max_age, prev->max_age, 600);

    if (conf->origins == NULL) {
        return NGX_CONF_OK;
    }

    if (conf->origins->any && conf->credentials) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"token_proxy_cors_credentials on\" cannot be used "
                           "with \"token_proxy_cors_origin *\": name the "
                           "origins that may send credentials");
        return NGX_CONF_ERROR;
    }

    if (conf->expose_headers && conf->expose_headers->nelts == 0
        && conf->credentials)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"token_proxy_cors_credentials on\" cannot be used "
                           "with \"token_proxy_cors_expose_headers *\": name "
                           "the headers");
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_origins_init(cf, conf->origins);
}


char *
ngx_http_token_cors_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    u_char                      *p;
    ngx_http_token_cors_conf_t  *conf;

    conf = &tlcf->cors;

    if (conf->origins == NULL) {
        return NGX_CONF_OK;
    }

    if (conf->headers == NULL) {
        conf->headers = ngx_http_token_two_names(cf, "Content-Type",
                                                 "Authorization");
        if (conf->headers == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    conf->allow_methods = tlcf->allow;

    if (ngx_http_token_cors_join(cf, conf->methods, &conf->allow_methods)
        != NGX_CONF_OK
        || ngx_http_token_cors_join(cf, conf->headers, &conf->allow_headers)
           != NGX_CONF_OK
        || ngx_http_token_cors_join(cf, conf->expose_headers, &conf->expose)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    p = ngx_pnalloc(cf->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->age.data = p;
    conf->age.len = ngx_sprintf(p, "%T", conf->max_age) - p;

    return ngx_http_token_cors_init_error_pages(cf);
}


static char *
ngx_http_token_cors_join(ngx_conf_t *cf, ngx_array_t *list, ngx_str_t *text)
{
    u_char      *p;
    size_t       len;
    ngx_str_t   *name;
    ngx_uint_t   i;

    if (list == NULL) {
        return NGX_CONF_OK;
    }

    if (list->nelts == 0) {
        ngx_str_set(text, "*");
        return NGX_CONF_OK;
    }

    name = list->elts;
    len = 0;

    for (i = 0; i < list->nelts; i++) {
        len += name[i].len + sizeof(", ") - 1;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    text->data = p;

    for (i = 0; i < list->nelts; i++) {
        p = ngx_sprintf(p, "%s%V", i ? ", " : "", &name[i]);
    }

    text->len = p - text->data;

    return NGX_CONF_OK;
}


/*
 * An error page has a location of its own, and the redirect to it clears the
 * request's contexts: nothing tells then that the request came from a token
 * location.  So a variable stands at the end of the URIs of a token location's
 * error pages: it is empty, and its evaluation marks the request.
 */

static char *
ngx_http_token_cors_init_error_pages(ngx_conf_t *cf)
{
    u_char                    *p;
    ngx_str_t                  uri;
    ngx_uint_t                 i;
    ngx_array_t               *pages;
    ngx_http_err_page_t       *page, *prev;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->error_pages == NULL) {
        return NGX_CONF_OK;
    }

    /* the array may be shared with other locations */

    pages = ngx_array_create(cf->pool, clcf->error_pages->nelts,
                             sizeof(ngx_http_err_page_t));
    if (pages == NULL) {
        return NGX_CONF_ERROR;
    }

    prev = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        page = ngx_array_push(pages);
        if (page == NULL) {
            return NGX_CONF_ERROR;
        }

        *page = prev[i];
        ngx_str_null(&page->args);

        uri.len = prev[i].value.value.len + prev[i].args.len
                  + sizeof("?$" NGX_HTTP_TOKEN_CORS_VARIABLE) - 1;

        uri.data = ngx_pnalloc(cf->pool, uri.len + 1);
        if (uri.data == NULL) {
            return NGX_CONF_ERROR;
        }

        p = ngx_sprintf(uri.data, "%V%s%V$" NGX_HTTP_TOKEN_CORS_VARIABLE "%Z",
                        &prev[i].value.value,
                        prev[i].args.len ? "?" : "", &prev[i].args);

        uri.len = p - uri.data - 1;

        if (ngx_http_token_compile_complex(cf, &uri, &page->value) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    clcf->error_pages = pages;

    return NGX_CONF_OK;
}
