
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of the Basic check, and what is made of them when the
 * configuration has been read.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_basic_set_password(ngx_conf_t *cf,
    ngx_http_token_user_t *user);
static char *ngx_http_token_basic_check_text(ngx_str_t *text);


char *
ngx_http_token_set_auth_basic(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                         *wrong;
    ngx_str_t                    *value;
    ngx_http_token_basic_conf_t  *basic;

    basic = &tlcf->basic;

    if (basic->realm.data || basic->off) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        basic->off = 1;
        return NGX_CONF_OK;
    }

    wrong = ngx_http_token_basic_check_text(&value[1]);

    if (wrong == NULL && ngx_http_script_variables_count(&value[1])) {
        wrong = "cannot have variables";
    }

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the realm of \"%V\" %s", &cmd->name, wrong);
        return NGX_CONF_ERROR;
    }

    basic->realm = value[1];
    basic->set = 1;

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_auth_basic_user(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char                   *wrong;
    ngx_str_t              *value;
    ngx_http_token_user_t  *user;

    value = cf->args->elts;

    wrong = ngx_http_token_basic_check_text(&value[1]);

    if (wrong == NULL && ngx_strchr(value[1].data, ':')) {
        wrong = "contains a colon, which ends a name in a Basic header";
    }

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of \"%V\" %s", &cmd->name, wrong);
        return NGX_CONF_ERROR;
    }

    if (tlcf->basic.users == NULL) {
        tlcf->basic.users = ngx_array_create(cf->pool, 2,
                                             sizeof(ngx_http_token_user_t));
        if (tlcf->basic.users == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_token_is_duplicate(cf, tlcf->basic.users, "user", &value[1])) {
        return NGX_CONF_ERROR;
    }

    user = ngx_array_push(tlcf->basic.users);
    if (user == NULL) {
        return NGX_CONF_ERROR;
    }

    user->name = value[1];

    if (ngx_http_token_basic_digest(&user->name, user->name_digest) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_basic_set_password(cf, user);
}


/* the second argument of the directive */

static char *
ngx_http_token_basic_set_password(ngx_conf_t *cf, ngx_http_token_user_t *user)
{
    char                    *wrong;
    ngx_str_t               *value;
    ngx_http_token_pos_t     pos;
    ngx_http_token_value_t   password;

    value = cf->args->elts;
    pos = ngx_http_token_conf_pos(cf);

    if (ngx_http_token_compile_value(cf, &pos, &value[2], &password)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (password.is_file) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"file:\" in \"%V\" takes no variables",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    user->file = NULL;
    user->password = password.complex;

    if (user->password) {
        return NGX_CONF_OK;
    }

    wrong = ngx_http_token_basic_check_text(&password.text);

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the value of \"%V\" %s", &value[0], wrong);
        return NGX_CONF_ERROR;
    }

    user->file = password.file;

    if (user->file) {
        user->file->check = ngx_http_token_basic_check_text;
        return NGX_CONF_OK;
    }

    if (ngx_http_token_basic_digest(&password.text, user->password_digest)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    ngx_explicit_memzero(password.text.data, password.text.len);

    return NGX_CONF_OK;
}


/* names and passwords are UTF-8 without control characters, RFC 7617 2 */

static char *
ngx_http_token_basic_check_text(ngx_str_t *text)
{
    u_char    *p, *last;
    uint32_t   ch;

    if (text->len == 0) {
        return "is empty";
    }

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {
            ch = *p++;

        } else {
            ch = ngx_utf8_decode(&p, last - p);
        }

        if (ch > 0x10ffff) {
            return "is not UTF-8";
        }

        if (ch < 0x20 || (ch >= 0x7f && ch < 0xa0)) {
            return "contains a control character, such as a newline";
        }
    }

    return NULL;
}


void
ngx_http_token_basic_create(ngx_http_token_basic_conf_t *conf)
{
    ngx_memzero(conf, sizeof(ngx_http_token_basic_conf_t));
}


char *
ngx_http_token_basic_merge(ngx_conf_t *cf, ngx_http_token_basic_conf_t *prev,
    ngx_http_token_basic_conf_t *conf)
{
    (void) cf;

    if (conf->realm.data == NULL && !conf->off) {
        conf->realm = prev->realm;
        conf->off = prev->off;
    }

    if (conf->users == NULL) {
        conf->users = prev->users;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_basic_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    u_char                       *p;
    ngx_http_token_main_conf_t   *tmcf;
    ngx_http_token_basic_conf_t  *basic;

    basic = &tlcf->basic;

    if (basic->off) {
        return NGX_CONF_OK;
    }

    if (basic->realm.data == NULL) {

        if (basic->users == NULL) {
            return NGX_CONF_OK;
        }

        ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->pos, 0,
                           "\"token_proxy_auth_basic_user\" needs "
                           "\"token_proxy_auth_basic\", without it everybody "
                           "may call");
        return NGX_CONF_ERROR;
    }

    if (basic->users == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->pos, 0,
                           "\"token_proxy_auth_basic\" needs "
                           "\"token_proxy_auth_basic_user\", without it nobody "
                           "may call");
        return NGX_CONF_ERROR;
    }

    p = ngx_pnalloc(cf->pool, sizeof("Basic realm=\"\", charset=\"UTF-8\"") - 1
                              + 2 * basic->realm.len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    basic->challenge.data = p;

    p = ngx_sprintf(p, "Basic realm=\"");

    /* without control characters only quotes and backslashes are escaped */

    p = (u_char *) ngx_escape_json(p, basic->realm.data, basic->realm.len);
    p = ngx_sprintf(p, "\", charset=\"UTF-8\"");

    basic->challenge.len = p - basic->challenge.data;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    tmcf->basic = 1;

    return NGX_CONF_OK;
}


void
ngx_http_token_basic_unused(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* an outer level may set it for the token locations inside */

    if (!tlcf->basic.set || clcf->name.len == 0 || clcf->locations) {
        return;
    }

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "\"token_proxy_auth_basic\" does not protect location "
                       "\"%V\", which has no \"token_proxy on\"", &clcf->name);
}
