
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Values of directives: a literal, an environment variable, a file, the token
 * of another location, a string with variables; and the encoding of
 * credentials.
 */


#include "ngx_http_token_endpoint.h"


static char *ngx_http_token_value_env(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *name, ngx_str_t *text);
static ngx_int_t ngx_http_token_keep_env(ngx_conf_t *cf, ngx_str_t *name);
static char *ngx_http_token_value_token(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *arg, ngx_http_token_value_t *value);
static char *ngx_http_token_value_complex(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *arg, ngx_http_token_value_t *value);
static void ngx_http_token_warn_capture(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *arg);
static ngx_uint_t ngx_http_token_next_variable(u_char **pos, u_char *last,
    ngx_str_t *name);
static ngx_uint_t ngx_http_token_is_variable(ngx_conf_t *cf, ngx_str_t *name);
static void ngx_http_token_warn_prefix(ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_str_t *arg);


/* what to do about a "$" in a VALUE */

static char  ngx_http_token_literal_hint[] =
    ", write \"literal:\" before a value that is to be taken as it is";


static ngx_uint_t  ngx_http_token_has_env;
static ngx_uint_t  ngx_http_token_environment_debug;


char *
ngx_http_token_compile_value(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, ngx_http_token_value_t *value)
{
    char       *rv;
    ngx_str_t   rest, *text, *directive;

    ngx_memzero(value, sizeof(ngx_http_token_value_t));

    value->pos = *pos;

    if (ngx_strncmp(arg->data, "env:", 4) == 0) {
        rest.len = arg->len - 4;
        rest.data = arg->data + 4;

        rv = ngx_http_token_value_env(cf, pos, &rest, &value->text);

    } else if (ngx_strncmp(arg->data, "file:", 5) == 0) {
        rest.len = arg->len - 5;
        rest.data = arg->data + 5;

        if (ngx_http_script_variables_count(&rest)) {
            value->is_file = 1;
            return ngx_http_token_value_complex(cf, pos, &rest, value);
        }

        rv = ngx_http_token_value_file(cf, pos, &rest, &value->file);

        if (rv == NGX_CONF_OK) {
            value->text = value->file->text;
        }

    } else if (ngx_strncmp(arg->data, "token:", 6) == 0) {
        return ngx_http_token_value_token(cf, pos, arg, value);

    } else if (ngx_strncmp(arg->data, "literal:", 8) == 0) {
        value->text.len = arg->len - 8;
        value->text.data = arg->data + 8;

        rv = NGX_CONF_OK;

    } else {
        ngx_http_token_warn_prefix(cf, pos, arg);

        if (ngx_http_script_variables_count(arg)) {
            return ngx_http_token_value_complex(cf, pos, arg, value);
        }

        value->text = *arg;
        rv = NGX_CONF_OK;
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    text = &value->text;

    if (text->len && !ngx_strlchr(text->data, text->data + text->len, '\0')) {
        return NGX_CONF_OK;
    }

    directive = cf->args->elts;

    ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0, "the value of \"%V\" %s",
                       directive, text->len ? "contains a NUL" : "is empty");

    return NGX_CONF_ERROR;
}


static char *
ngx_http_token_value_env(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *name, ngx_str_t *text)
{
    char       *env;
    ngx_str_t  *directive;

    directive = cf->args->elts;

    if (name->len == 0 || ngx_strlchr(name->data, name->data + name->len, '='))
    {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"%V\" needs the name of a variable after \"env:\"",
                           directive);
        return NGX_CONF_ERROR;
    }

    /* arguments of the configuration end with a NUL */

    env = getenv((char *) name->data);

    if (env == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "environment variable \"%V\" of \"%V\" is not set: "
                           "a command by hand needs it as the service does",
                           name, directive);
        return NGX_CONF_ERROR;
    }

    /* the environment may change while this configuration is in use */

    text->len = ngx_strlen(env);
    text->data = ngx_pnalloc(cf->pool, text->len + 1);
    if (text->data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(text->data, env, text->len + 1);

    return (ngx_http_token_keep_env(cf, name) == NGX_OK) ? NGX_CONF_OK
                                                         : NGX_CONF_ERROR;
}


/*
 * A binary upgrade hands on only the variables that "env" directives name.  The
 * new binary has to find this one as well.
 */

static ngx_int_t
ngx_http_token_keep_env(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_str_t        *var;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);
    var = ccf->env.elts;

    ngx_http_token_has_env = 1;

    for (i = 0; i < ccf->env.nelts; i++) {
        if (ngx_strncmp(var[i].data, name->data, name->len) == 0
            && (var[i].data[name->len] == '\0'
                || var[i].data[name->len] == '='))
        {
            return NGX_OK;
        }
    }

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    *var = *name;

    return NGX_OK;
}


void
ngx_http_token_environment_debug_off(ngx_cycle_t *cycle)
{
    ngx_http_token_environment_debug = 0;

    if (ngx_http_token_has_env) {
        ngx_http_token_environment_debug = cycle->log->log_level
                                           & NGX_LOG_DEBUG_CORE;
        cycle->log->log_level &= ~NGX_LOG_DEBUG_CORE;
    }
}


void
ngx_http_token_environment_debug_restore(ngx_cycle_t *cycle)
{
    cycle->log->log_level |= ngx_http_token_environment_debug;
}


char *
ngx_http_token_value_file(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *path, ngx_http_token_watch_t **watch)
{
    ngx_str_t              name, *directive;
    ngx_http_token_read_t  file;

    directive = cf->args->elts;

    if (path->len == 0) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"%V\" needs a path after \"file:\"", directive);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_conf_file(cf, pos, path, &name, &file) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_file_access(&file.info) & S_IROTH) {
        ngx_http_token_log(NGX_LOG_WARN, cf, pos, 0,
                           "\"%V\" of \"%V\" can be read by every user",
                           &name, directive);
    }

    *watch = ngx_http_token_watch_create(cf, &name, &file);

    return *watch ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_token_conf_file(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *path, ngx_str_t *name, ngx_http_token_read_t *file)
{
    ngx_str_t  *directive;

    directive = cf->args->elts;

    *name = *path;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_read_file(cf->pool, cf->log, name, file) != NGX_OK) {

        if (file->wrong) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, pos, file->err,
                               "%s\"%V\" of \"%V\" %s",
                               file->call, name, directive, file->wrong);
        }

        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* whether there is such a location is checked when all have been read */

static char *
ngx_http_token_value_token(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, ngx_http_token_value_t *value)
{
    ngx_str_t  *directive;

    directive = cf->args->elts;

    if (!ngx_http_token_equals(directive, "token_proxy_param")) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"token:\" can be used in \"token_proxy_param\" "
                           "only, and not in \"%V\"%s", directive,
                           ngx_http_token_literal_hint);
        return NGX_CONF_ERROR;
    }

    if (arg->len == 6) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"%V\" needs the name of a token location after "
                           "\"token:\"", directive);
        return NGX_CONF_ERROR;
    }

    value->is_token = 1;
    value->text = *arg;

    return NGX_CONF_OK;
}


static char *
ngx_http_token_value_complex(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, ngx_http_token_value_t *value)
{
    if (ngx_http_token_value_names(cf, pos, arg, ngx_http_token_literal_hint)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* no secret is in a path, but a "$5" may well be in a secret */

    if (!value->is_file) {
        ngx_http_token_warn_capture(cf, pos, arg);
    }

    value->complex = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));

    if (value->complex == NULL
        || ngx_http_token_compile_complex(cf, arg, value->complex) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * nginx's messages for a variable that is wrong or unknown show a part of the
 * value, which may be a secret with a "$", and tell no line.
 */

char *
ngx_http_token_value_names(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg, char *hint)
{
    u_char                      *p, *last;
    ngx_str_t                    name, *directive;
    ngx_http_token_name_t       *elt;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    directive = cf->args->elts;

    p = arg->data;
    last = p + arg->len;

    while (ngx_http_token_next_variable(&p, last, &name)) {

        if (name.len == 0) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                               "the value of \"%V\" has a \"$\" without "
                               "the name of a variable%s", directive, hint);
            return NGX_CONF_ERROR;
        }

        if (name.data[0] >= '1' && name.data[0] <= '9') {
            continue;
        }

        elt = ngx_array_push(&tmcf->names);
        if (elt == NULL) {
            return NGX_CONF_ERROR;
        }

        elt->name = name;
        elt->directive = *directive;
        elt->hint = hint;
        elt->pos = *pos;
    }

    return NGX_CONF_OK;
}


/* a capture of a regular expression is a part of the request's path */

static void
ngx_http_token_warn_capture(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg)
{
    u_char     *p, *last;
    ngx_str_t   name, *directive;

    directive = cf->args->elts;

    if (!ngx_http_token_equals(directive, "token_proxy_client_secret")) {
        return;
    }

    p = arg->data;
    last = p + arg->len;

    while (ngx_http_token_next_variable(&p, last, &name)) {

        if (name.data[0] >= '1' && name.data[0] <= '9') {
            ngx_http_token_log(NGX_LOG_WARN, cf, pos, 0,
                               "the value of \"%V\" has a \"$\" and a "
                               "digit, which is a part of the request's "
                               "path%s", directive,
                               ngx_http_token_literal_hint);
            return;
        }
    }
}


/* as ngx_http_script_compile() reads it; the name is empty if there is none */

static ngx_uint_t
ngx_http_token_next_variable(u_char **pos, u_char *last, ngx_str_t *name)
{
    u_char      *p, ch;
    ngx_uint_t   bracket;

    p = ngx_strlchr(*pos, last, '$');

    if (p == NULL) {
        return 0;
    }

    p++;

    bracket = (p < last && *p == '{');
    p += bracket;

    name->data = p;

    while (p < last) {
        ch = *p;

        if (!((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z')
              || (ch >= '0' && ch <= '9') || ch == '_'))
        {
            break;
        }

        p++;
    }

    name->len = p - name->data;

    if (bracket && (p == last || *p != '}')) {
        name->len = 0;
    }

    *pos = p;

    return 1;
}


ngx_int_t
ngx_http_token_check_names(ngx_conf_t *cf)
{
    ngx_uint_t                   i;
    ngx_http_token_name_t       *elt;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    elt = tmcf->names.elts;

    for (i = 0; i < tmcf->names.nelts; i++) {

        if (ngx_http_token_is_variable(cf, &elt[i].name)) {
            continue;
        }

        ngx_http_token_log(NGX_LOG_EMERG, cf, &elt[i].pos, 0,
                           "the value of \"%V\" has a \"$\" before a name "
                           "that is no variable's%s", &elt[i].directive,
                           elt[i].hint);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* as ngx_http_variables_init_vars() will find it */

static ngx_uint_t
ngx_http_token_is_variable(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_hash_key_t             *key;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        v = key[i].value;

        if (v->get_handler && key[i].key.len == name->len
            && ngx_strncasecmp(key[i].key.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    v = cmcf->prefix_variables.elts;

    for (i = 0; i < cmcf->prefix_variables.nelts; i++) {

        if (name->len >= v[i].name.len
            && ngx_strncasecmp(name->data, v[i].name.data, v[i].name.len) == 0)
        {
            return 1;
        }
    }

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (v[i].get_handler && v[i].name.len == name->len
            && ngx_strncasecmp(v[i].name.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * "ENV:NAME" would be sent as it stands.  URLs and URNs are usual values; the
 * word is not shown, since it may begin a secret.
 */

static void
ngx_http_token_warn_prefix(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    ngx_str_t *arg)
{
    size_t      n;
    ngx_str_t  *directive;

    for (n = 0; n < arg->len; n++) {
        if ((arg->data[n] | 0x20) < 'a' || (arg->data[n] | 0x20) > 'z') {
            break;
        }
    }

    directive = cf->args->elts;

    /* words of an API's own are usual there */

    if (ngx_http_token_equals(directive, "token_proxy_param")
        && (ngx_http_token_equals(&directive[1], "scope")
            || ngx_http_token_equals(&directive[1], "audience")
            || ngx_http_token_equals(&directive[1], "resource")))
    {
        return;
    }

    if (n == 0 || n == arg->len || arg->data[n] != ':'
        || ngx_strncmp(&arg->data[n], "://", 3) == 0
        || ngx_strncasecmp(arg->data, (u_char *) "urn:", 4) == 0)
    {
        return;
    }

    ngx_http_token_log(NGX_LOG_WARN, cf, pos, 0,
                       "the value of \"%V\" begins with a word and a colon, "
                       "which is neither \"env:\", \"file:\", \"token:\" "
                       "nor \"literal:\", and is taken as it is: write "
                       "\"literal:\" before it if that is meant", directive);
}


ngx_int_t
ngx_http_token_compile_complex(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_complex_value_t *complex)
{
    ngx_http_compile_complex_value_t  ccv;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = complex;

    return ngx_http_compile_complex_value(&ccv);
}


ngx_int_t
ngx_http_token_evaluate_value(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_http_token_value_t *value,
    ngx_str_t *text)
{
    if (value->complex == NULL) {
        *text = value->file ? value->file->name : value->text;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, value->complex, text) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!value->is_file) {
        return NGX_OK;
    }

    return ngx_http_token_file(r, text, tlcf->file_valid, text);
}


ngx_int_t
ngx_http_token_basic_value(ngx_pool_t *pool, ngx_str_t *id, ngx_str_t *secret,
    ngx_uint_t form, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   plain, encoded;

    plain.len = form ? ngx_http_token_form_encode(NULL, id) + 1
                       + ngx_http_token_form_encode(NULL, secret)
                     : id->len + 1 + secret->len;

    plain.data = ngx_pnalloc(pool, plain.len);
    if (plain.data == NULL) {
        return NGX_ERROR;
    }

    if (form) {
        p = (u_char *) ngx_http_token_form_encode(plain.data, id);
        *p++ = ':';
        (void) ngx_http_token_form_encode(p, secret);

    } else {
        p = ngx_cpymem(plain.data, id->data, id->len);
        *p++ = ':';
        ngx_memcpy(p, secret->data, secret->len);
    }

    value->len = sizeof("Basic ") - 1 + ngx_base64_encoded_length(plain.len);
    value->data = ngx_pnalloc(pool, value->len);
    if (value->data == NULL) {
        ngx_explicit_memzero(plain.data, plain.len);
        return NGX_ERROR;
    }

    encoded.data = ngx_cpymem(value->data, "Basic ", sizeof("Basic ") - 1);

    ngx_encode_base64(&encoded, &plain);

    ngx_explicit_memzero(plain.data, plain.len);

    value->len = sizeof("Basic ") - 1 + encoded.len;

    return NGX_OK;
}
