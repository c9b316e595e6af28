
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Inheritance, and the checks that need the whole configuration.
 */


#include "ngx_http_token_conf.h"


static void ngx_http_token_merge_methods(ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf);
static char *ngx_http_token_merge_fields(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *prev, ngx_http_token_loc_conf_t *conf);
static ngx_int_t ngx_http_token_merge_params(ngx_conf_t *cf,
    ngx_array_t **params);
static void ngx_http_token_merge_enable(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *prev, ngx_http_token_loc_conf_t *conf);
static char *ngx_http_token_merge_headers(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *prev, ngx_http_token_loc_conf_t *conf);
static char *ngx_http_token_finish(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static void ngx_http_token_grant_init(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_check_location(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static ngx_uint_t ngx_http_token_returns(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf);
static char *ngx_http_token_check_client(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static void ngx_http_token_warn_encoding(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf, char *name,
    ngx_http_token_value_t *value);
static char *ngx_http_token_default_credential(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf, char *name, char *variable,
    ngx_http_token_value_t **value);


char *
ngx_http_token_merge(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_token_loc_conf_t *prev = parent;
    ngx_http_token_loc_conf_t *conf = child;

    ngx_conf_merge_str_value(conf->grant_type, prev->grant_type,
                             "client_credentials");
    ngx_conf_merge_uint_value(conf->format, prev->format,
                              NGX_HTTP_TOKEN_FORMAT_FORM);
    ngx_conf_merge_ptr_value(conf->params, prev->params, NULL);
    ngx_conf_merge_ptr_value(conf->claims, prev->claims, NULL);
    ngx_conf_merge_ptr_value(conf->paths, prev->paths, NULL);
    ngx_conf_merge_sec_value(conf->file_valid, prev->file_valid, 10);
    ngx_conf_merge_value(conf->refresh_grant, prev->refresh_grant, 0);
    ngx_conf_merge_size_value(conf->max_response_size,
                              prev->max_response_size, 64 * 1024);
    ngx_conf_merge_value(conf->ssl_verify, prev->ssl_verify, 1);
    ngx_conf_merge_str_value(conf->ssl_trusted_certificate,
                             prev->ssl_trusted_certificate, "");

    ngx_http_token_merge_methods(prev, conf);

    if (ngx_http_token_merge_fields(cf, prev, conf) != NGX_CONF_OK
        || ngx_http_token_auth_merge(cf, &prev->auth, &conf->auth)
           != NGX_CONF_OK
        || ngx_http_token_cache_merge(cf, &prev->cache, &conf->cache)
           != NGX_CONF_OK
        || ngx_http_token_cors_merge(cf, &prev->cors, &conf->cors)
           != NGX_CONF_OK
        || ngx_http_token_basic_merge(cf, &prev->basic, &conf->basic)
           != NGX_CONF_OK
        || ngx_http_token_bearer_merge(cf, &prev->bearer, &conf->bearer)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_merge_params(cf, &conf->params) != NGX_OK
        || ngx_http_token_merge_params(cf, &conf->claims) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    ngx_http_token_merge_enable(cf, prev, conf);

    conf->level_proxy = ngx_http_conf_get_module_loc_conf(cf,
                                                        ngx_http_proxy_module);
    conf->outer = prev;

    if (ngx_http_token_bearer_init(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (!conf->enable) {
        ngx_http_token_basic_unused(cf, conf);
        ngx_http_token_cache_unused(cf, &conf->cache);
        return NGX_CONF_OK;
    }

    if (ngx_http_token_merge_headers(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_finish(cf, conf);
}


static void
ngx_http_token_merge_methods(ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf)
{
    ngx_conf_merge_bitmask_value(conf->methods, prev->methods,
                                 (NGX_HTTP_GET|NGX_HTTP_POST));

    if (!(conf->methods & NGX_HTTP_GET)) {
        ngx_str_set(&conf->allow, "POST, OPTIONS");

    } else if (!(conf->methods & NGX_HTTP_POST)) {
        ngx_str_set(&conf->allow, "GET, HEAD, OPTIONS");

    } else {
        ngx_str_set(&conf->allow, "GET, HEAD, POST, OPTIONS");
    }
}


static char *
ngx_http_token_merge_fields(ngx_conf_t *cf, ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf)
{
    ngx_conf_merge_ptr_value(conf->fields, prev->fields, NULL);

    if (conf->fields == NULL) {
        conf->fields = ngx_http_token_two_names(cf, "access_token",
                                                "refresh_token");
    }

    return conf->fields ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* an empty list in the place of none */

static ngx_int_t
ngx_http_token_merge_params(ngx_conf_t *cf, ngx_array_t **params)
{
    if (*params == NULL) {
        *params = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_http_token_param_t));
    }

    return *params ? NGX_OK : NGX_ERROR;
}


/*
 * A token location is not inherited, but by the "if" and "limit_except" blocks
 * inside it that have no handler of their own.
 */

static void
ngx_http_token_merge_enable(ngx_conf_t *cf, ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* outer levels are merged first: a difference was set at this level */

    conf->level_error_pages = clcf->error_pages;

    if (clcf->error_pages != prev->level_error_pages) {
        conf->error_pages = clcf->error_pages;

    } else if (clcf->noname) {
        conf->error_pages = prev->error_pages;
    }

    if (clcf->noname && clcf->handler == NULL && prev->enable == 1) {
        conf->enable = 1;
        conf->endpoint = prev->endpoint;
        conf->endpoint_pos = prev->endpoint_pos;
        conf->pos = prev->pos;
        return;
    }

    if (conf->endpoint && conf->enable == NGX_CONF_UNSET) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"token_proxy_endpoint\" in location \"%V\" is "
                           "not used without \"token_proxy on\"",
                           &clcf->name);
    }

    if (conf->enable == NGX_CONF_UNSET) {
        conf->enable = 0;
    }
}


/*
 * Finds the "proxy_set_header" of the location itself; its "if" blocks are a
 * part of it.
 */

static char *
ngx_http_token_merge_headers(ngx_conf_t *cf, ngx_http_token_loc_conf_t *prev,
    ngx_http_token_loc_conf_t *conf)
{
    ngx_array_t               **headers, **outer;
    ngx_http_core_loc_conf_t   *clcf;

    headers = ngx_http_token_proxy_field(cf, conf->level_proxy,
                                         "proxy_set_header",
                                         ngx_conf_set_keyval_slot);
    if (headers == NULL) {
        return NGX_CONF_ERROR;
    }

    outer = ngx_http_token_proxy_field(cf, prev->level_proxy,
                                       "proxy_set_header",
                                       ngx_conf_set_keyval_slot);

    if (outer == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (*headers != *outer) {
        conf->headers = *headers;

    } else if (clcf->noname) {
        conf->headers = prev->headers;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_finish(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_http_token_grant_init(cf, conf);
    ngx_http_token_cache_check(cf, &conf->cache);

    if (ngx_http_token_check_location(cf, conf) != NGX_CONF_OK
        || ngx_http_token_auth_init_grant(cf, conf) != NGX_CONF_OK
        || ngx_http_token_check_client(cf, conf) != NGX_CONF_OK
        || ngx_http_token_store_check(cf, conf) != NGX_CONF_OK
        || ngx_http_token_request_check(cf, conf) != NGX_CONF_OK
        || ngx_http_token_endpoint_init(cf, conf) != NGX_CONF_OK
        || ngx_http_token_auth_init(cf, conf) != NGX_CONF_OK
        || ngx_http_token_cors_init(cf, conf) != NGX_CONF_OK
        || ngx_http_token_basic_init(cf, conf) != NGX_CONF_OK
        || ngx_http_token_request_init(cf, conf) != NGX_CONF_OK
        || ngx_http_token_key_init(cf, conf) != NGX_CONF_OK
        || (!conf->chained
            && ngx_http_token_cache_init_warm(cf, conf) != NGX_CONF_OK)
        || ngx_http_token_location_init(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_check_location(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (conf->endpoint == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->pos, 0,
                           "\"token_proxy\" needs \"token_proxy_endpoint\"");
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->pos, 0,
                           "\"token_proxy\" cannot share location \"%V\" with "
                           "another content handler, such as \"proxy_pass\"",
                           &clcf->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_returns(cf, clcf)) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &conf->pos, 0,
                           "\"return\" in location \"%V\" answers before "
                           "\"token_proxy\"", &clcf->name);
    }

    return NGX_CONF_OK;
}


/*
 * Whether a location has a "return" that is always reached: not in an "if", and
 * after nothing but "set" with constant values.  The configuration of the
 * rewrite module begins with its codes.
 */

static ngx_uint_t
ngx_http_token_returns(ngx_conf_t *cf, ngx_http_core_loc_conf_t *clcf)
{
    u_char                   *p, *last;
    ngx_uint_t                i;
    ngx_array_t             **codes;
    ngx_module_t            **modules;
    ngx_http_script_code_pt   code;

    if (clcf->noname) {
        /* an "if" block shares the codes of its location */
        return 0;
    }

    modules = cf->cycle->modules;

    for (i = 0; modules[i]; i++) {
        if (ngx_strcmp(modules[i]->name, "ngx_http_rewrite_module") == 0) {
            break;
        }
    }

    if (modules[i] == NULL) {
        return 0;
    }

    codes = ngx_http_conf_get_module_loc_conf(cf, (*modules[i]));

    if (*codes == NULL || *codes == NGX_CONF_UNSET_PTR) {
        return 0;
    }

    p = (*codes)->elts;
    last = p + (*codes)->nelts;

    while (p < last) {
        code = *(ngx_http_script_code_pt *) p;

        if (code == ngx_http_script_return_code) {
            return 1;
        }

        if (code == ngx_http_script_value_code) {
            p += sizeof(ngx_http_script_value_code_t);

        } else if (code == ngx_http_script_set_var_code) {
            p += sizeof(ngx_http_script_var_code_t);

        } else {
            break;
        }
    }

    return 0;
}


static char *
ngx_http_token_check_client(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_uint_t               needed;
    ngx_http_token_value_t  *id;

    /*
     * a public client may have no id, metadata services know none, and
     * an assertion names the client
     */

    needed = ((conf->auth.method != NGX_HTTP_TOKEN_AUTH_NONE
               && conf->auth.method != NGX_HTTP_TOKEN_CLIENT_ASSERTION)
              || (conf->auth.grant_alg && ngx_http_token_claims_need_id(conf)));

    if (conf->auth.client_id == NULL
        && needed
        && ngx_http_token_default_credential(cf, conf, "token_proxy_client_id",
                                             "env:CONSUMER_KEY",
                                             &conf->auth.client_id)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->auth.client_secret == NULL
        && ngx_http_token_uses_secret(conf)
        && ngx_http_token_default_credential(cf, conf,
                                             "token_proxy_client_secret",
                                             "env:CONSUMER_SECRET",
                                             &conf->auth.client_secret)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (!ngx_http_token_uses_secret(conf)) {
        conf->auth.second_secret = NULL;
    }

    id = conf->auth.client_id;

    if (id == NULL || conf->auth.method != NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC) {
        return NGX_CONF_OK;
    }

    if (id->file && !conf->auth.form) {
        id->file->no_colon = 1;
    }

    if (id->complex == NULL && !conf->auth.form
        && ngx_strlchr(id->text.data, id->text.data + id->text.len, ':'))
    {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &id->pos, 0,
                           "the value of \"token_proxy_client_id\" contains "
                           "a colon, which needs \"token_proxy_auth_method "
                           "client_secret_basic encoding=form\"");
        return NGX_CONF_ERROR;
    }

    ngx_http_token_warn_encoding(cf, conf, "token_proxy_client_id", id);
    ngx_http_token_warn_encoding(cf, conf, "token_proxy_client_secret",
                                 conf->auth.client_secret);

    if (conf->auth.second_secret) {
        ngx_http_token_warn_encoding(cf, conf, "token_proxy_client_secret",
                                     conf->auth.second_secret);
    }

    return NGX_CONF_OK;
}


/*
 * RFC 6749 2.3.1 has form-encoded credentials in a Basic header, but many
 * endpoints do not decode them.
 */

static void
ngx_http_token_warn_encoding(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf,
    char *name, ngx_http_token_value_t *value)
{
    ngx_str_t                  encoded;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->auth.encoding || value->complex || clcf->noname) {
        return;
    }

    encoded.len = ngx_http_token_form_encode(NULL, &value->text);
    encoded.data = ngx_pnalloc(cf->temp_pool, encoded.len);
    if (encoded.data == NULL) {
        return;
    }

    (void) ngx_http_token_form_encode(encoded.data, &value->text);

    if (encoded.len != value->text.len
        || ngx_memcmp(encoded.data, value->text.data, encoded.len) != 0)
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &value->pos, 0,
                           "the value of \"%s\" has a character that "
                           "endpoints may want form-encoded, set \"encoding=\" "
                           "of \"token_proxy_auth_method\" to \"raw\", as it "
                           "is sent now, or to \"form\"", name);
    }
}


static char *
ngx_http_token_default_credential(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf, char *name, char *variable,
    ngx_http_token_value_t **value)
{
    char         *rv;
    ngx_str_t     args[2];
    ngx_array_t   array, *saved;

    args[0].data = (u_char *) name;
    args[0].len = ngx_strlen(name);
    args[1].data = (u_char *) variable;
    args[1].len = ngx_strlen(variable);

    ngx_memzero(&array, sizeof(ngx_array_t));

    array.elts = args;
    array.nelts = 2;

    saved = cf->args;
    cf->args = &array;

    rv = ngx_http_token_compile_credential(cf, &conf->pos, &args[1], value);

    cf->args = saved;

    return rv;
}


static void
ngx_http_token_grant_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (!tlcf->refresh_grant) {
        return;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* no refresh token is written to a temporary file */

    clcf->client_body_buffer_size = ngx_max(clcf->client_body_buffer_size,
                                            NGX_HTTP_TOKEN_MAX_FORM);
    clcf->client_body_in_file_only = 0;

    if (!(tlcf->methods & NGX_HTTP_POST) && !clcf->noname) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->pos, 0,
                           "\"token_proxy_refresh_grant\" is of no use without "
                           "POST in \"token_proxy_methods\"");
    }
}
