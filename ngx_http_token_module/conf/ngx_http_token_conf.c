
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of a token location and of its token request, and what several
 * setters of directives share.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_check_not_empty(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_token_check_not_zero_size(ngx_conf_t *cf, void *post,
    void *data);


ngx_conf_post_t  ngx_http_token_not_empty = {
    ngx_http_token_check_not_empty
};


ngx_conf_post_t  ngx_http_token_not_zero_size = {
    ngx_http_token_check_not_zero_size
};


static ngx_conf_enum_t  ngx_http_token_methods[] = {
    { ngx_string("GET"), NGX_HTTP_GET },
    { ngx_string("POST"), NGX_HTTP_POST },
    { ngx_null_string, 0 }
};


/*
 * The members of token answers that IANA's registry of OAuth parameters names,
 * and the ones that large providers add.  A field that is mistyped would be
 * left out without a word, so nginx warns of others.
 */

static char  *ngx_http_token_known_fields[] = {
    "access_token", "token_type", "expires_in", "refresh_token", "scope",
    "id_token", "issued_token_type", "authorization_details",

    "api_domain", "audience", "client_id", "created_at", "expires_at",
    "ext_expires_in", "instance_url", "issued_at", "not-before-policy",
    "refresh_expires_in", "refresh_token_expires_in", "resource",
    "session_state", "signature", "token_format",

    NULL
};


static ngx_uint_t
ngx_http_token_list_contains(char **list, ngx_str_t *name)
{
    for ( /* void */ ; *list; list++) {
        if (ngx_strcmp(name->data, *list) == 0) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_token_is_known_field(ngx_str_t *name)
{
    return ngx_http_token_list_contains(ngx_http_token_known_fields, name);
}


char *
ngx_http_token_set_enable(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    tlcf->pos = ngx_http_token_conf_pos(cf);

    return ngx_conf_set_flag_slot(cf, cmd, conf);
}


char *
ngx_http_token_set_complex(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t             *value;
    ngx_http_token_pos_t   pos;

    value = cf->args->elts;
    pos = ngx_http_token_conf_pos(cf);

    if (ngx_http_token_value_names(cf, &pos, &value[1], "") != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}


char *
ngx_http_token_set_client_id(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t             *value;
    ngx_http_token_pos_t   pos;

    if (tlcf->auth.client_id != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    pos = ngx_http_token_conf_pos(cf);

    return ngx_http_token_compile_credential(cf, &pos, &value[1],
                                             &tlcf->auth.client_id);
}


char *
ngx_http_token_set_client_secret(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t             *value;
    ngx_http_token_pos_t   pos;

    if (tlcf->auth.client_secret != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    pos = ngx_http_token_conf_pos(cf);

    if (ngx_http_token_compile_credential(cf, &pos, &value[1],
                                          &tlcf->auth.client_secret)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    return ngx_http_token_compile_credential(cf, &pos, &value[2],
                                             &tlcf->auth.second_secret);
}


char *
ngx_http_token_set_client_assertion(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t             *value;
    ngx_http_token_pos_t   pos;

    if (tlcf->auth.assertion != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    pos = ngx_http_token_conf_pos(cf);

    ngx_str_set(&tlcf->auth.assertion_type, NGX_HTTP_TOKEN_JWT_ASSERTION);

    if (cf->args->nelts == 3) {

        if (ngx_strncmp(value[2].data, "type=", 5) != 0 || value[2].len == 5) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"%V\"",
                               &value[2], &cmd->name);
            return NGX_CONF_ERROR;
        }

        tlcf->auth.assertion_type.data = value[2].data + 5;
        tlcf->auth.assertion_type.len = value[2].len - 5;
    }

    return ngx_http_token_compile_credential(cf, &pos, &value[1],
                                             &tlcf->auth.assertion);
}


char *
ngx_http_token_compile_credential(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, ngx_http_token_value_t **field)
{
    ngx_http_token_value_t  *v;

    v = ngx_palloc(cf->pool, sizeof(ngx_http_token_value_t));
    if (v == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_compile_value(cf, pos, arg, v) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (v->complex == NULL
        && ngx_http_token_conf_credential(cf, pos, &v->text) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (v->file) {
        v->file->check = ngx_http_token_check_credential;
    }

    *field = v;

    return NGX_CONF_OK;
}


char *
ngx_http_token_conf_credential(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *text)
{
    char       *wrong;
    ngx_str_t  *directive;

    wrong = ngx_http_token_check_credential(text);

    if (wrong == NULL) {
        return NGX_CONF_OK;
    }

    directive = cf->args->elts;

    ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0, "the value of \"%V\" %s",
                       directive, wrong);

    return NGX_CONF_ERROR;
}


ngx_uint_t
ngx_http_token_is_duplicate(ngx_conf_t *cf, ngx_array_t *list, char *what,
    ngx_str_t *name)
{
    u_char      *elt;
    ngx_str_t   *directive;
    ngx_uint_t   i;

    elt = list->elts;

    for (i = 0; i < list->nelts; i++) {

        /* each element begins with its name */

        if (ngx_strcmp(((ngx_str_t *) elt)->data, name->data) == 0) {
            directive = cf->args->elts;

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate %s \"%V\" in \"%V\"",
                               what, name, directive);
            return 1;
        }

        elt += list->size;
    }

    return 0;
}


ngx_array_t *
ngx_http_token_two_names(ngx_conf_t *cf, char *first, char *second)
{
    ngx_str_t    *name;
    ngx_array_t  *list;

    list = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
    if (list == NULL) {
        return NULL;
    }

    /* there is room for both */

    name = ngx_array_push_n(list, 2);

    name[0].data = (u_char *) first;
    name[0].len = ngx_strlen(first);
    name[1].data = (u_char *) second;
    name[1].len = ngx_strlen(second);

    return list;
}


char *
ngx_http_token_set_param(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t               *value;
    ngx_http_token_pos_t     pos;
    ngx_http_token_param_t  *param;

    value = cf->args->elts;

    if (value[1].len == 0 || ngx_strcmp(value[1].data, "grant_type") == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%V\" cannot be set by \"%V\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (tlcf->params == NGX_CONF_UNSET_PTR) {
        tlcf->params = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_token_param_t));
        if (tlcf->params == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    /* RFC 8693 and RFC 8707 allow these two more than once */

    if (ngx_strcmp(value[1].data, "audience") != 0
        && ngx_strcmp(value[1].data, "resource") != 0
        && !ngx_http_token_is_list(&value[1])
        && ngx_http_token_is_duplicate(cf, tlcf->params, "parameter",
                                       &value[1]))
    {
        return NGX_CONF_ERROR;
    }

    param = ngx_array_push(tlcf->params);
    if (param == NULL) {
        return NGX_CONF_ERROR;
    }

    param->name = value[1];

    pos = ngx_http_token_conf_pos(cf);

    return ngx_http_token_compile_value(cf, &pos, &value[2], &param->value);
}


char *
ngx_http_token_set_fields(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t   *value, *field;
    ngx_uint_t   i;

    if (tlcf->fields != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    tlcf->fields = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
    if (tlcf->fields == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "*") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0 || ngx_strcmp(value[i].data, "*") == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid field \"%V\" in \"%V\", use \"*\" "
                               "alone for every member of an answer",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }

        if (!ngx_http_token_list_contains(ngx_http_token_known_fields,
                                          &value[i]))
        {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "field \"%V\" in \"%V\" is no registered name "
                               "of a token answer", &value[i], &cmd->name);
        }

        if (ngx_http_token_is_duplicate(cf, tlcf->fields, "field", &value[i])) {
            return NGX_CONF_ERROR;
        }

        field = ngx_array_push(tlcf->fields);
        if (field == NULL) {
            return NGX_CONF_ERROR;
        }

        *field = value[i];
    }

    return NGX_CONF_OK;
}


/*
 * ngx_conf_set_bitmask_slot() takes the directive twice, and sets a bit that
 * is NGX_HTTP_UNKNOWN.
 */

char *
ngx_http_token_set_methods(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_conf_enum_t  *method;

    if (tlcf->methods) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        method = ngx_http_token_find_method(cf, ngx_http_token_methods,
                                            &value[i]);
        if (method == NULL) {
            return NGX_CONF_ERROR;
        }

        if (tlcf->methods & method->value) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate method \"%V\" in \"%V\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }

        tlcf->methods |= method->value;
    }

    return NGX_CONF_OK;
}


ngx_conf_enum_t *
ngx_http_token_find_method(ngx_conf_t *cf, ngx_conf_enum_t *methods,
    ngx_str_t *name)
{
    ngx_str_t        *directive;
    ngx_conf_enum_t  *method;

    for (method = methods; method->name.len; method++) {
        if (ngx_strcmp(name->data, method->name.data) == 0) {
            return method;
        }
    }

    directive = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown method \"%V\" in \"%V\"", name, directive);

    return NULL;
}


static char *
ngx_http_token_check_not_zero_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    return *size ? NGX_CONF_OK : "must not be zero";
}


static char *
ngx_http_token_check_not_empty(ngx_conf_t *cf, void *post, void *data)
{
    ngx_str_t  *s = data;

    return s->len ? NGX_CONF_OK : "must not be empty";
}
