
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of endpoints that are not as RFC 6749 has them: the form of
 * a request, the members of an answer, the claims of a grant.
 */


#include "ngx_http_token_conf.h"


static ngx_int_t ngx_http_token_split_path(ngx_conf_t *cf,
    ngx_http_token_path_t *path);
static char *ngx_http_token_check_claims(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_check_params(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_check_json_param(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_uint_t n);
static ngx_uint_t ngx_http_token_is_own_param(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *name);


static ngx_conf_enum_t  ngx_http_token_formats[] = {
    { ngx_string("form"), NGX_HTTP_TOKEN_FORMAT_FORM },
    { ngx_string("json"), NGX_HTTP_TOKEN_FORMAT_JSON },
    { ngx_string("query"), NGX_HTTP_TOKEN_FORMAT_QUERY },
    { ngx_null_string, 0 }
};


/* claims that differ for each assertion, and are numbers */

static char  *ngx_http_token_own_claims[] = {
    "iat", "exp", "nbf", "jti", NULL
};


char *
ngx_http_token_set_request(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t        *value;
    ngx_conf_enum_t  *format;

    if (tlcf->format != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (format = ngx_http_token_formats; format->name.len; format++) {
        if (ngx_strcmp(value[1].data, format->name.data) == 0) {
            tlcf->format = format->value;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown form \"%V\" in \"%V\", there are \"form\", "
                       "\"json\" and \"query\"", &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_token_set_member(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    u_char                 *p;
    size_t                  i;
    ngx_str_t              *value;
    ngx_http_token_path_t  *path;

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        if (value[1].data[i] <= 0x20 || value[1].data[i] > 0x7e
            || value[1].data[i] == '"' || value[1].data[i] == '\\')
        {
            break;
        }
    }

    if (value[1].len == 0 || i < value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" in \"%V\" is not the name of a member",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (!ngx_http_token_is_known_field(&value[1])
        && ngx_strncmp(value[1].data, "error", 5) != 0)
    {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"%V\" in \"%V\" is no registered name of "
                           "a member", &value[1], &cmd->name);
    }

    if (tlcf->paths == NGX_CONF_UNSET_PTR) {
        tlcf->paths = ngx_array_create(cf->pool, 4,
                                       sizeof(ngx_http_token_path_t));
        if (tlcf->paths == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_token_is_duplicate(cf, tlcf->paths, "member", &value[1])) {
        return NGX_CONF_ERROR;
    }

    if (tlcf->paths->nelts == NGX_HTTP_TOKEN_MAX_PATHS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than %d members in \"%V\"",
                           NGX_HTTP_TOKEN_MAX_PATHS, &cmd->name);
        return NGX_CONF_ERROR;
    }

    path = ngx_array_push(tlcf->paths);
    p = ngx_pnalloc(cf->pool, value[1].len + 2);

    if (path == NULL || p == NULL) {
        return NGX_CONF_ERROR;
    }

    path->name = value[1];
    path->text = value[2];
    path->pos = ngx_http_token_conf_pos(cf);

    path->key.data = p;
    path->key.len = ngx_sprintf(p, "\"%V\"", &value[1]) - p;

    if (ngx_http_token_split_path(cf, path) == NGX_OK) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "path \"%V\" in \"%V\" is not 1 to %d names joined "
                       "by dots", &value[2], &cmd->name,
                       NGX_HTTP_TOKEN_MAX_STEPS);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_token_split_path(ngx_conf_t *cf, ngx_http_token_path_t *path)
{
    u_char     *p, *last, *dot;
    ngx_str_t  *step;

    path->nsteps = 0;
    path->steps = ngx_palloc(cf->pool,
                             NGX_HTTP_TOKEN_MAX_STEPS * sizeof(ngx_str_t));

    if (path->steps == NULL || !ngx_http_token_is_utf8(&path->text)) {
        return NGX_ERROR;
    }

    p = path->text.data;
    last = p + path->text.len;

    for ( ;; ) {
        dot = ngx_strlchr(p, last, '.');

        if (path->nsteps == NGX_HTTP_TOKEN_MAX_STEPS) {
            return NGX_ERROR;
        }

        step = &path->steps[path->nsteps++];

        step->data = p;
        step->len = (dot ? dot : last) - p;

        if (step->len == 0) {
            return NGX_ERROR;
        }

        if (dot == NULL) {
            return NGX_OK;
        }

        p = dot + 1;
    }
}


char *
ngx_http_token_set_grant_claim(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                    **own;
    ngx_str_t                *value;
    ngx_http_token_pos_t      pos;
    ngx_http_token_param_t   *claim;

    value = cf->args->elts;

    for (own = ngx_http_token_own_claims; *own; own++) {
        if (ngx_strcmp(value[1].data, *own) == 0) {
            break;
        }
    }

    if (*own || value[1].len == 0 || !ngx_http_token_is_utf8(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "claim \"%V\" cannot be set by \"%V\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (tlcf->claims == NGX_CONF_UNSET_PTR) {
        tlcf->claims = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_token_param_t));
        if (tlcf->claims == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_token_is_duplicate(cf, tlcf->claims, "claim", &value[1])) {
        return NGX_CONF_ERROR;
    }

    claim = ngx_array_push(tlcf->claims);
    if (claim == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(claim, sizeof(ngx_http_token_param_t));

    claim->name = value[1];

    pos = ngx_http_token_conf_pos(cf);

    /* as with nginx's headers, "" leaves it out */

    if (value[2].len == 0) {
        claim->value.pos = pos;
        return NGX_CONF_OK;
    }

    if (ngx_http_token_compile_value(cf, &pos, &value[2], &claim->value)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (claim->value.file) {
        claim->value.file->utf8 = 1;
    }

    if (claim->value.complex || ngx_http_token_is_utf8(&claim->value.text)) {
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "the value of claim \"%V\" of \"%V\" is not UTF-8",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_token_request_check(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_path_t     *path;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (tlcf->paths && tlcf->fields->nelts == 0) {
        path = tlcf->paths->elts;

        ngx_http_token_log(NGX_LOG_EMERG, cf, &path->pos, 0,
                           "\"*\" of \"token_proxy_fields\" cannot be used "
                           "with \"token_proxy_member\", name the fields");
        return NGX_CONF_ERROR;
    }

    if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_QUERY
        && tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_POST
        && !clcf->noname)
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->pos, 0,
                           "with \"token_proxy_request query\" and "
                           "\"token_proxy_auth_method client_secret_post\" the "
                           "client secret is in the URL, which the endpoint "
                           "may log");
    }

    if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_QUERY && tlcf->refresh_grant
        && !clcf->noname)
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->pos, 0,
                           "with \"token_proxy_request query\" and "
                           "\"token_proxy_refresh_grant\" refresh tokens are "
                           "in the URL, which the endpoint may log");
    }

    if (ngx_http_token_check_claims(cf, tlcf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_check_params(cf, tlcf);
}


static char *
ngx_http_token_check_claims(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_token_param_t     *claim;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_token_loc_conf_t  *outer;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    outer = tlcf->outer;

    if (tlcf->claims->nelts == 0 || tlcf->auth.grant_alg || clcf->noname
        || tlcf->claims == outer->claims)
    {
        return NGX_CONF_OK;
    }

    claim = tlcf->claims->elts;

    ngx_http_token_log(NGX_LOG_WARN, cf, &claim->value.pos, 0,
                       "\"token_proxy_grant_claim\" is not used without "
                       "\"token_proxy_grant_type " NGX_HTTP_TOKEN_JWT_BEARER
                       "\" and an assertion to sign");

    return NGX_CONF_OK;
}


static char *
ngx_http_token_check_params(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {

        if (ngx_http_token_is_own_param(tlcf, &param[i].name)) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &param[i].value.pos, 0,
                               "parameter \"%V\" cannot be set by "
                               "\"token_proxy_param\"", &param[i].name);
            return NGX_CONF_ERROR;
        }

        if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_JSON
            && ngx_http_token_check_json_param(cf, tlcf, i) != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* whether the module itself sends a parameter */

static ngx_uint_t
ngx_http_token_is_own_param(ngx_http_token_loc_conf_t *tlcf, ngx_str_t *name)
{
    if (ngx_http_token_equals(name, "client_id")) {
        return ngx_http_token_sends_id(tlcf);
    }

    if (ngx_http_token_equals(name, "client_secret")) {
        return (tlcf->auth.method != NGX_HTTP_TOKEN_AUTH_NONE);
    }

    if (ngx_http_token_equals(name, "client_assertion")
        || ngx_http_token_equals(name, "client_assertion_type"))
    {
        return (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_JWT
                || tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_ASSERTION
                || tlcf->auth.method == NGX_HTTP_TOKEN_PRIVATE_KEY_JWT);
    }

    return 0;
}


static char *
ngx_http_token_check_json_param(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_uint_t n)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    param = tlcf->params->elts;

    for (i = 0; i < n && !ngx_http_token_is_list(&param[n].name); i++) {

        if (param[i].name.len == param[n].name.len
            && ngx_strcmp(param[i].name.data, param[n].name.data) == 0)
        {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &param[n].value.pos, 0,
                               "parameter \"%V\" of \"token_proxy_param\" "
                               "stands twice, which \"token_proxy_request "
                               "json\" cannot send: a name that ends with "
                               "\"[]\" is one of an array", &param[n].name);
            return NGX_CONF_ERROR;
        }
    }

    if (param[n].value.file) {
        param[n].value.file->utf8 = 1;
    }

    if (ngx_http_token_is_utf8(&param[n].name)
        && (param[n].value.complex
            || ngx_http_token_is_utf8(&param[n].value.text)))
    {
        return NGX_CONF_OK;
    }

    ngx_http_token_log(NGX_LOG_EMERG, cf, &param[n].value.pos, 0,
                       "parameter \"%V\" of \"token_proxy_param\" is not "
                       "UTF-8, which \"token_proxy_request json\" needs",
                       &param[n].name);

    return NGX_CONF_ERROR;
}
