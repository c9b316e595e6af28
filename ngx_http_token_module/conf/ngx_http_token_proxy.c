
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What a token request needs of the proxy module: its headers, its connection,
 * and the trust in the endpoint's certificate.  Directives of other modules.
 */


#include "ngx_http_token_conf.h"


typedef struct {
    ngx_str_t                       name;
    ngx_str_t                       value;
} ngx_http_token_header_t;


static ngx_command_t *ngx_http_token_command(ngx_conf_t *cf,
    ngx_module_t *module, char *name);
static char *ngx_http_token_user_headers(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_array_t *headers);
static void ngx_http_token_warn_header(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, ngx_keyval_t *header);
static char *ngx_http_token_own_headers(ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *headers, ngx_uint_t keepalive);
static char *ngx_http_token_set_header(ngx_array_t *headers, ngx_str_t *name,
    ngx_str_t *value);
static char *ngx_http_token_proxy_init_body(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf, ngx_array_t *headers);
static ngx_uint_t ngx_http_token_own_header(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *name);
static ngx_uint_t ngx_http_token_request_header(
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *name);
static ngx_uint_t ngx_http_token_keepalive(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


/* the headers that are the module's: proxy_set_header does not change them */

static ngx_http_token_header_t  ngx_http_token_headers[] = {

    { ngx_string("Content-Type"),
      ngx_string("application/x-www-form-urlencoded") },

    { ngx_string("Accept"), ngx_string("application/json") },

    { ngx_string("Accept-Encoding"), ngx_null_string },
    { ngx_string("Transfer-Encoding"), ngx_null_string },
    { ngx_string("Expect"), ngx_null_string },
    { ngx_string("Keep-Alive"), ngx_null_string },
    { ngx_string("Range"), ngx_null_string },
    { ngx_string("TE"), ngx_null_string },
    { ngx_string("Upgrade"), ngx_null_string },
    { ngx_null_string, ngx_null_string }
};


char *
ngx_http_token_proxy_init_headers(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf)
{
    ngx_array_t  **headers;

    if (ngx_http_token_sends_bearer(tlcf)
        && ngx_http_token_request_header(tlcf, &tlcf->bearer.header))
    {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->bearer.pos, 0,
                           "\"token_proxy_bearer\" in a token location sets "
                           "the header \"%V\" of the token request, which is "
                           "set already; for \"Authorization\" use "
                           "\"token_proxy_auth_method none\" or another one "
                           "that does not need it", &tlcf->bearer.header);
        return NGX_CONF_ERROR;
    }

    headers = ngx_http_token_proxy_field(cf, conf, "proxy_set_header",
                                         ngx_conf_set_keyval_slot);
    if (headers == NULL) {
        return NGX_CONF_ERROR;
    }

    *headers = ngx_array_create(cf->pool, 16, sizeof(ngx_keyval_t));

    if (*headers == NULL
        || ngx_http_token_user_headers(cf, tlcf, *headers) != NGX_CONF_OK
        || ngx_http_token_own_headers(tlcf, *headers,
                                      ngx_http_token_keepalive(cf, tlcf))
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_proxy_init_body(cf, tlcf, conf, *headers);
}


/*
 * Only what stands in the token location itself is meant for the endpoint:
 * headers of outer levels tell an application behind nginx of its client.
 */

static char *
ngx_http_token_user_headers(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *headers)
{
    ngx_uint_t     i, user_agent;
    ngx_keyval_t  *own;

    static ngx_str_t  name = ngx_string("User-Agent");
    static ngx_str_t  value = ngx_string("ngx_http_token_module/"
                                         NGX_HTTP_TOKEN_VERSION);

    own = tlcf->headers ? tlcf->headers->elts : NULL;
    user_agent = 0;

    for (i = 0; own && i < tlcf->headers->nelts; i++) {

        if (ngx_http_token_own_header(tlcf, &own[i].key)) {
            continue;
        }

        if (ngx_strcasecmp(own[i].key.data, name.data) == 0) {
            user_agent = 1;
        }

        ngx_http_token_warn_header(cf, tlcf, &own[i]);

        if (ngx_http_token_set_header(headers, &own[i].key, &own[i].value)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    /* firewalls refuse requests without one */

    return user_agent ? NGX_CONF_OK
                      : ngx_http_token_set_header(headers, &name, &value);
}


/* a token request has no caller: endpoints refuse what would be said of it */

static void
ngx_http_token_warn_header(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    ngx_keyval_t *header)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname || ngx_http_script_variables_count(&header->value) == 0) {
        return;
    }

    if (ngx_strncasecmp(header->key.data, (u_char *) "X-Forwarded-", 12) == 0
        || ngx_strcasecmp(header->key.data, (u_char *) "X-Real-IP") == 0)
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->pos, 0,
                           "\"proxy_set_header %V\" in location \"%V\" is sent "
                           "to the token endpoint, though a token request has "
                           "no caller", &header->key, &clcf->name);
    }
}


static char *
ngx_http_token_own_headers(ngx_http_token_loc_conf_t *tlcf,
    ngx_array_t *headers, ngx_uint_t keepalive)
{
    ngx_str_t                *value;
    ngx_http_token_header_t  *h;

    static ngx_str_t  none = ngx_null_string;
    static ngx_str_t  json = ngx_string("application/json");
    static ngx_str_t  authorization = ngx_string("Authorization");
    static ngx_str_t  basic = ngx_string("$token_proxy_internal_authorization");
    static ngx_str_t  bearer = ngx_string("$token_proxy_internal_bearer");
    static ngx_str_t  connection = ngx_string("Connection");
    static ngx_str_t  close = ngx_string("close");

    for (h = ngx_http_token_headers; h->name.len; h++) {

        value = &h->value;

        if (h == ngx_http_token_headers) {

            /* Content-Type */

            if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_QUERY) {
                value = &none;

            } else if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_JSON) {
                value = &json;
            }
        }

        if (ngx_http_token_set_header(headers, &h->name, value)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_token_sends_bearer(tlcf)
        && ngx_http_token_set_header(headers, &tlcf->bearer.header, &bearer)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC) {

        value = (tlcf->request.authorization.data && !tlcf->deferred)
                ? &tlcf->request.authorization : &basic;

        if (ngx_http_token_set_header(headers, &authorization, value)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return ngx_http_token_set_header(headers, &connection,
                                      keepalive ? &none : &close);
}


static char *
ngx_http_token_set_header(ngx_array_t *headers, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_keyval_t  *kv;

    kv = ngx_array_push(headers);
    if (kv == NULL) {
        return NGX_CONF_ERROR;
    }

    kv->key = *name;
    kv->value = *value;

    return NGX_CONF_OK;
}


/*
 * The body of a token request, and its length.  A form that is the same for all
 * callers needs no variable: it is encoded, so that it has no "$".
 */

static char *
ngx_http_token_proxy_init_body(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    void *conf, ngx_array_t *headers)
{
    ngx_str_t  *body, length;

    static ngx_str_t  name = ngx_string("Content-Length");

    body = ngx_http_token_proxy_field(cf, conf, "proxy_set_body",
                                      ngx_conf_set_str_slot);
    if (body == NULL) {
        return NGX_CONF_ERROR;
    }

    if (tlcf->request.body.len && !tlcf->deferred && !tlcf->refresh_grant
        && tlcf->format == NGX_HTTP_TOKEN_FORMAT_FORM
        && tlcf->auth.alg == NULL && tlcf->auth.grant_alg == NULL)
    {
        *body = tlcf->request.body;

        length.data = ngx_pnalloc(cf->pool, NGX_SIZE_T_LEN);
        if (length.data == NULL) {
            return NGX_CONF_ERROR;
        }

        length.len = ngx_sprintf(length.data, "%uz", body->len) - length.data;

    } else {
        ngx_str_set(body, "$token_proxy_internal_body");
        ngx_str_set(&length, "$proxy_internal_body_length");
    }

    if (tlcf->format == NGX_HTTP_TOKEN_FORMAT_QUERY) {
        ngx_str_null(&length);
    }

    return ngx_http_token_set_header(headers, &name, &length);
}


static ngx_uint_t
ngx_http_token_own_header(ngx_http_token_loc_conf_t *tlcf, ngx_str_t *name)
{
    if (ngx_http_token_sends_bearer(tlcf)
        && ngx_strcasecmp(name->data, tlcf->bearer.header.data) == 0)
    {
        return 1;
    }

    return ngx_http_token_request_header(tlcf, name);
}


/* whether a header is a part of every token request of the location */

static ngx_uint_t
ngx_http_token_request_header(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *name)
{
    ngx_http_token_header_t  *h;

    if (ngx_strcasecmp(name->data, (u_char *) "Connection") == 0
        || ngx_strcasecmp(name->data, (u_char *) "Content-Length") == 0)
    {
        return 1;
    }

    if (ngx_strcasecmp(name->data, (u_char *) "Authorization") == 0) {
        return (tlcf->auth.method == NGX_HTTP_TOKEN_CLIENT_SECRET_BASIC);
    }

    for (h = ngx_http_token_headers; h->name.len; h++) {
        if (ngx_strcasecmp(name->data, h->name.data) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * Whether connections to the endpoint are kept: the "keepalive" directive
 * stands in its upstream block, or, where the block depends on a variable,
 * may stand there.
 */

static ngx_uint_t
ngx_http_token_keepalive(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
#if (nginx_version >= 1029007)

    /* nginx keeps connections by default */

    (void) cf;
    (void) tlcf;

    return 1;

#else

    ngx_uint_t  m, *max_cached;

    if (tlcf->endpoint->lengths) {
        return 1;
    }

    if (tlcf->upstream == NULL || tlcf->upstream->srv_conf == NULL) {
        return 0;
    }

    for (m = 0; cf->cycle->modules[m]; m++) {

        if (ngx_strcmp(cf->cycle->modules[m]->name,
                       "ngx_http_upstream_keepalive_module")
            == 0)
        {
            /* the first member of the module's configuration */

            max_cached = tlcf->upstream->srv_conf[
                                            cf->cycle->modules[m]->ctx_index];

            return (*max_cached != 0 && *max_cached != NGX_CONF_UNSET_UINT);
        }
    }

    return 0;

#endif
}


char *
ngx_http_token_proxy_init_ssl(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    void *conf, void *prev)
{
#if (NGX_HTTP_SSL)

    ngx_str_t                 *trusted, *outer;
    ngx_http_upstream_conf_t  *ucf;

    ucf = conf;

    ucf->ssl_server_name = 1;
    ucf->ssl_verify = 0;

    /*
     * nginx shares the sessions of an upstream among all locations: one that
     * a location has verified by other certificates, or that was begun with
     * the client certificate of another location, would count here
     */

    ucf->ssl_session_reuse = 0;

    if (!tlcf->ssl_verify
        || (tlcf->endpoint->lengths == NULL
            && ngx_strncasecmp(tlcf->endpoint->value.data,
                               (u_char *) "https://", 8) != 0))
    {
        return NGX_CONF_OK;
    }

    ucf->ssl_verify = 1;

    trusted = ngx_http_token_proxy_field(cf, conf,
                                         "proxy_ssl_trusted_certificate",
                                         ngx_conf_set_str_slot);
    if (trusted == NULL) {
        return NGX_CONF_ERROR;
    }

    outer = ngx_http_token_proxy_field(cf, prev,
                                       "proxy_ssl_trusted_certificate",
                                       ngx_conf_set_str_slot);
    if (outer == NULL) {
        return NGX_CONF_ERROR;
    }

    if (tlcf->ssl_trusted_certificate.len) {
        *trusted = tlcf->ssl_trusted_certificate;

        return ngx_http_token_check_certificates(cf, &tlcf->pos,
                               "\"token_proxy_ssl_trusted_certificate\"",
                                                 trusted);
    }

    if (outer->len) {
        *trusted = *outer;
        return NGX_CONF_OK;
    }

    return ngx_http_token_system_certificates(cf, &tlcf->pos,
                               "\"token_proxy_ssl_trusted_certificate\"",
                                              trusted);

#else

    return NGX_CONF_OK;

#endif
}


#if (NGX_HTTP_SSL)

/* nginx names neither the directive nor its line */

char *
ngx_http_token_check_certificates(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    char *directive, ngx_str_t *file)
{
    int          ok;
    ngx_str_t    name;
    X509_STORE  *store;

    name = *file;

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    store = X509_STORE_new();
    if (store == NULL) {
        return NGX_CONF_ERROR;
    }

    ok = X509_STORE_load_locations(store, (char *) name.data, NULL);

    X509_STORE_free(store);

    if (ok != 1) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "X509_STORE_load_locations(\"%s\") failed", name.data);

        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "no certificate is read from \"%V\" of %s",
                           &name, directive);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_system_certificates(ngx_conf_t *cf, ngx_http_token_pos_t *pos,
    char *directive, ngx_str_t *file)
{
    ngx_uint_t        i;
    ngx_file_info_t   fi;

    const char       *files[] = {
        X509_get_default_cert_file(),
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    };

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {

        if (ngx_file_info(files[i], &fi) != NGX_FILE_ERROR) {
            file->len = ngx_strlen(files[i]);
            file->data = (u_char *) files[i];

            return NGX_CONF_OK;
        }
    }

    ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                       "no system bundle of CA certificates was found, "
                       "set %s", directive);

    return NGX_CONF_ERROR;
}

#endif


/* other modules' directives are known by name: nginx may have renamed one */

static ngx_command_t *
ngx_http_token_command(ngx_conf_t *cf, ngx_module_t *module, char *name)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd && cmd->name.len; cmd++) {

        if (ngx_strcmp(cmd->name.data, name) == 0
            && cmd->set && cmd->conf == NGX_HTTP_LOC_CONF_OFFSET)
        {
            return cmd;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "nginx has no directive \"%s\" of \"%s\"",
                       name, module->name);

    return NULL;
}


void *
ngx_http_token_directive_field(ngx_conf_t *cf, ngx_module_t *module,
    void *conf, char *name, ngx_http_token_set_pt set)
{
    ngx_command_t  *cmd;

    cmd = ngx_http_token_command(cf, module, name);

    if (cmd == NULL) {
        return NULL;
    }

    if (cmd->set != set) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "nginx has another type of directive \"%s\" of "
                           "\"%s\"", name, module->name);
        return NULL;
    }

    return (u_char *) conf + cmd->offset;
}


void *
ngx_http_token_proxy_field(ngx_conf_t *cf, void *conf, char *name,
    ngx_http_token_set_pt set)
{
    return ngx_http_token_directive_field(cf, &ngx_http_proxy_module, conf,
                                          name, set);
}


char *
ngx_http_token_set_directive(ngx_conf_t *cf, ngx_module_t *module, void *conf,
    char *name, char *value)
{
    char           *rv;
    ngx_str_t       args[2];
    ngx_array_t    *saved, array;
    ngx_command_t  *cmd;

    cmd = ngx_http_token_command(cf, module, name);

    if (cmd == NULL) {
        return NGX_CONF_ERROR;
    }

    args[0].data = (u_char *) name;
    args[0].len = ngx_strlen(name);
    args[1].data = (u_char *) value;
    args[1].len = ngx_strlen(value);

    ngx_memzero(&array, sizeof(ngx_array_t));

    array.elts = args;
    array.nelts = 2;
    array.size = sizeof(ngx_str_t);
    array.nalloc = 2;
    array.pool = cf->pool;

    saved = cf->args;
    cf->args = &array;

    rv = cmd->set(cf, cmd, conf);

    cf->args = saved;

    if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%s\" %s", name, rv);
        return NGX_CONF_ERROR;
    }

    return rv;
}


/*
 * A content handler is a static function of its module, which the setter of its
 * "..._pass" gives to the location: here to one that is thrown away.  The name
 * "/" is the path of a token request, which proxy_pass replaces by the URL's.
 */

char *
ngx_http_token_set_pass(ngx_conf_t *cf, ngx_module_t *module, void *conf,
    char *name, char *value, ngx_http_handler_pt *handler)
{
    char                      *rv;
    ngx_http_conf_ctx_t       *saved, ctx;
    ngx_http_core_loc_conf_t   clcf;

    saved = cf->ctx;
    ctx = *saved;

    ctx.loc_conf = ngx_http_token_copy_conf(cf, saved->loc_conf);
    if (ctx.loc_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&clcf, sizeof(ngx_http_core_loc_conf_t));
    ngx_str_set(&clcf.name, "/");

    ctx.loc_conf[ngx_http_core_module.ctx_index] = &clcf;

    cf->ctx = &ctx;

    rv = ngx_http_token_set_directive(cf, module, conf, name, value);

    cf->ctx = saved;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (clcf.handler == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "nginx has no content handler for \"%s\" of \"%s\"",
                           name, module->name);
        return NGX_CONF_ERROR;
    }

    *handler = clcf.handler;

    return NGX_CONF_OK;
}


char *
ngx_http_token_proxy_set(ngx_conf_t *cf, void *conf, char *name, char *value)
{
    return ngx_http_token_set_directive(cf, &ngx_http_proxy_module, conf, name,
                                        value);
}


void **
ngx_http_token_copy_conf(ngx_conf_t *cf, void **conf)
{
    void  **copy;

    copy = ngx_palloc(cf->pool, sizeof(void *) * ngx_http_max_module);

    if (copy) {
        ngx_memcpy(copy, conf, sizeof(void *) * ngx_http_max_module);
    }

    return copy;
}
