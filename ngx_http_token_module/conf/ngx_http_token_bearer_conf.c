
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of token_proxy_bearer, and which token location is meant.
 */


#include "ngx_http_token_conf.h"


static ngx_int_t ngx_http_token_bearer_add_check(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf);
static void ngx_http_token_bearer_content(ngx_http_token_location_t *location);
static ngx_uint_t ngx_http_token_bearer_wanted(
    ngx_http_token_location_t *location);
static char *ngx_http_token_bearer_init_location(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf, ngx_http_token_location_t *location,
    ngx_uint_t *used);
static void ngx_http_token_bearer_warn(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf, ngx_http_token_location_t *location);
static char *ngx_http_token_bearer_find(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf, ngx_http_token_location_t *location);
static char *ngx_http_token_bearer_variable(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);


/* headers that upstream modules write themselves */

static ngx_str_t  ngx_http_token_connection_headers[] = {
    ngx_string("Host"),
    ngx_string("Connection"),
    ngx_string("Content-Length"),
    ngx_string("Transfer-Encoding"),
    ngx_string("Keep-Alive"),
    ngx_string("Expect"),
    ngx_string("Upgrade"),
    ngx_string("TE"),
    ngx_null_string
};


char *
ngx_http_token_set_bearer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t  *value;

    if (tlcf->bearer.name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        ngx_str_set(&tlcf->bearer.name, "");
        return NGX_CONF_OK;
    }

    if (value[1].len == 0) {
        return "needs the name of a token location";
    }

    tlcf->bearer.name = value[1];
    tlcf->bearer.own = 1;
    tlcf->bearer.pos = ngx_http_token_conf_pos(cf);

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_bearer_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    size_t      i;
    u_char      ch, *p;
    ngx_str_t  *value, *name;

    if (tlcf->bearer.header.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        ch = value[1].data[i] | 0x20;

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && value[1].data[i] != '-' && value[1].data[i] != '_')
        {
            break;
        }
    }

    if (i == 0 || i < value[1].len) {
        return "needs the name of a header";
    }

    for (name = ngx_http_token_connection_headers; name->len; name++) {

        if (value[1].len == name->len
            && ngx_strncasecmp(value[1].data, name->data, name->len) == 0)
        {
            return "cannot be used, as this header is the connection's";
        }
    }

    tlcf->bearer.header = value[1];
    ngx_str_set(&tlcf->bearer.scheme, "");

    if (cf->args->nelts == 3) {

        for (i = 0; i < value[2].len; i++) {
            if (value[2].data[i] <= 0x20 || value[2].data[i] > 0x7e) {
                return "needs a scheme without spaces";
            }
        }

        if (value[2].len == 0) {
            return NGX_CONF_OK;
        }

        tlcf->bearer.scheme.len = value[2].len + 1;
        tlcf->bearer.scheme.data = ngx_pnalloc(cf->pool, value[2].len + 1);

        if (tlcf->bearer.scheme.data == NULL) {
            return NGX_CONF_ERROR;
        }

        p = ngx_cpymem(tlcf->bearer.scheme.data, value[2].data, value[2].len);
        *p = ' ';
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_bearer_retry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value;
    ngx_uint_t   i, k, nelts, *status;

    if (tlcf->bearer.retry != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    nelts = cf->args->nelts;

    if (nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        tlcf->bearer.retry = NULL;
        return NGX_CONF_OK;
    }

    if (nelts > 2 && ngx_strcmp(value[nelts - 1].data, "non_idempotent") == 0) {
        tlcf->bearer.non_idempotent = 1;
        nelts--;
    }

    tlcf->bearer.retry = ngx_array_create(cf->pool, 2, sizeof(ngx_uint_t));
    if (tlcf->bearer.retry == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < nelts; i++) {

        if (nelts == 2 && ngx_strcmp(value[1].data, "on") == 0) {
            n = NGX_HTTP_UNAUTHORIZED;

        } else {
            n = ngx_atoi(value[i].data, value[i].len);
        }

        if (n < 400 || n > 499) {
            return "takes on, off, or statuses from 400 to 499, "
                   "and then perhaps non_idempotent";
        }

        status = tlcf->bearer.retry->elts;

        for (k = 0; k < tlcf->bearer.retry->nelts; k++) {
            if (status[k] == (ngx_uint_t) n) {
                return "has a status twice";
            }
        }

        status = ngx_array_push(tlcf->bearer.retry);
        if (status == NULL) {
            return NGX_CONF_ERROR;
        }

        *status = n;
    }

    return NGX_CONF_OK;
}


void
ngx_http_token_bearer_create(ngx_http_token_bearer_conf_t *conf)
{
    conf->retry = NGX_CONF_UNSET_PTR;
}


char *
ngx_http_token_bearer_merge(ngx_conf_t *cf, ngx_http_token_bearer_conf_t *prev,
    ngx_http_token_bearer_conf_t *conf)
{
    ngx_uint_t                *status;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->name.data == NULL) {

        /* "if" and "limit_except" are of the location that they stand in */

        conf->own = clcf->noname ? prev->own : 0;

        conf->name = prev->name;
        conf->pos = prev->pos;
    }

    if (conf->header.data == NULL) {
        conf->header = prev->header;
        conf->scheme = prev->scheme;
    }

    if (conf->header.data == NULL) {
        ngx_str_set(&conf->header, "Authorization");
        ngx_str_set(&conf->scheme, "Bearer ");
    }

    conf->lowcase = ngx_pnalloc(cf->pool, conf->header.len);
    if (conf->lowcase == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_strlow(conf->lowcase, conf->header.data, conf->header.len);

    if (conf->retry == NGX_CONF_UNSET_PTR) {
        conf->non_idempotent = prev->non_idempotent;
    }

    ngx_conf_merge_ptr_value(conf->retry, prev->retry, NGX_CONF_UNSET_PTR);

    if (conf->retry == NGX_CONF_UNSET_PTR) {

        conf->retry = ngx_array_create(cf->pool, 1, sizeof(ngx_uint_t));
        if (conf->retry == NULL) {
            return NGX_CONF_ERROR;
        }

        status = ngx_array_push(conf->retry);
        if (status == NULL) {
            return NGX_CONF_ERROR;
        }

        *status = NGX_HTTP_UNAUTHORIZED;
    }

    return NGX_CONF_OK;
}


/* notes a location for ngx_http_token_bearer_init_locations() */

char *
ngx_http_token_bearer_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_http_conf_ctx_t         *ctx;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_token_location_t   *location;
    ngx_http_token_main_conf_t  *tmcf;

    ctx = cf->ctx;

    conf->loc_conf = ctx->loc_conf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->name.len && ngx_http_token_bearer_add_check(cf, tmcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->enable || conf->bearer.name.len) {
        tmcf->used = 1;

    } else if (!clcf->noname) {
        return NGX_CONF_OK;
    }

    location = ngx_array_push(&tmcf->locations);
    if (location == NULL) {
        return NGX_CONF_ERROR;
    }

    location->cscf = ngx_http_conf_get_module_srv_conf(cf,
                                                      ngx_http_core_module);
    location->clcf = clcf;
    location->tlcf = conf;

    return NGX_CONF_OK;
}


/* notes what "auth_request" of the location asks */

static ngx_int_t
ngx_http_token_bearer_add_check(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf)
{
    ngx_str_t               *uri;
    ngx_uint_t               i;
    ngx_module_t           **modules;
    ngx_http_conf_ctx_t     *ctx;
    ngx_http_token_check_t  *check;

    ctx = cf->ctx;
    modules = cf->cycle->modules;

    for (i = 0; modules[i]; i++) {

        if (ngx_strcmp(modules[i]->name, "ngx_http_auth_request_module") != 0) {
            continue;
        }

        /* the first member of the module's configuration, empty for "off" */

        uri = ctx->loc_conf[modules[i]->ctx_index];

        if (uri == NULL || uri->len == 0) {
            return NGX_OK;
        }

        check = ngx_array_push(&tmcf->checks);
        if (check == NULL) {
            return NGX_ERROR;
        }

        check->cscf = ngx_http_conf_get_module_srv_conf(cf,
                                                         ngx_http_core_module);
        check->uri = *uri;

        return NGX_OK;
    }

    return NGX_OK;
}


char *
ngx_http_token_bearer_init_locations(ngx_conf_t *cf, ngx_uint_t *used)
{
    ngx_uint_t                   i, wanted;
    ngx_http_token_location_t   *location;
    ngx_http_token_main_conf_t  *tmcf;

    *used = 0;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    location = tmcf->locations.elts;
    wanted = 0;

    for (i = 0; i < tmcf->locations.nelts; i++) {
        ngx_http_token_bearer_content(&location[i]);
        wanted += ngx_http_token_bearer_wanted(&location[i]);
    }

    if (wanted == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_http_token_upstream_modules_init(cf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < tmcf->locations.nelts; i++) {

        if (ngx_http_token_bearer_wanted(&location[i])
            && ngx_http_token_bearer_init_location(cf, tmcf, &location[i], used)
               != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* finds the location's content handler, of whatever module */

static void
ngx_http_token_bearer_content(ngx_http_token_location_t *location)
{
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_token_loc_conf_t  *tlcf, *outer;

    tlcf = location->tlcf;
    tlcf->bearer.handler = location->clcf->handler;

    if (tlcf->bearer.handler || !location->clcf->noname) {
        return;
    }

    /* an "if" without a handler of its own has that of its location */

    outer = tlcf->outer;
    tlcf->bearer.handler = outer->bearer.handler;

    if (tlcf->bearer.handler == NULL && outer->loc_conf) {
        clcf = outer->loc_conf[ngx_http_core_module.ctx_index];
        tlcf->bearer.handler = clcf->handler;
    }
}


/* a location of this module that inherits the directive has no use of it */

static ngx_uint_t
ngx_http_token_bearer_wanted(ngx_http_token_location_t *location)
{
    return location->tlcf->bearer.name.len
           && !location->tlcf->enable
           && location->clcf->handler != ngx_http_token_status_handler;
}


static char *
ngx_http_token_bearer_init_location(ngx_conf_t *cf,
    ngx_http_token_main_conf_t *tmcf, ngx_http_token_location_t *location,
    ngx_uint_t *used)
{
    ngx_http_token_loc_conf_t         *tlcf;
    ngx_http_token_upstream_module_t  *um;

    tlcf = location->tlcf;

    um = ngx_http_token_upstream_module_find(tlcf->bearer.handler);

    if (um == NULL && (tlcf->bearer.handler == NULL || !tlcf->bearer.own)) {

        /* a location with files, or one that inherits the directive */

        return NGX_CONF_OK;
    }

    if (ngx_http_token_bearer_find(cf, tmcf, location) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    *used = 1;

    if (um == NULL) {

        /* of another module, which may use $token_proxy_access_token */

        return NGX_CONF_OK;
    }

    if (ngx_http_token_bearer_variable(cf, tlcf) != NGX_CONF_OK
        || ngx_http_token_upstream_module_check(cf, location, um)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (location->clcf->handler) {
        location->clcf->handler = ngx_http_token_bearer_content_handler;
    }

    ngx_http_token_bearer_warn(cf, tmcf, location);

    return NGX_CONF_OK;
}


/*
 * warns if "auth_request" asks this location: the service behind it would see
 * the token in place of the client's credentials
 */

static void
ngx_http_token_bearer_warn(ngx_conf_t *cf, ngx_http_token_main_conf_t *tmcf,
    ngx_http_token_location_t *location)
{
    u_char                     *p, *last;
    ngx_str_t                   uri, *name;
    ngx_uint_t                  i;
    ngx_http_token_check_t     *check;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = location->tlcf;
    name = &location->clcf->name;

    if (!tlcf->bearer.own || location->clcf->noname) {
        return;
    }

    check = tmcf->checks.elts;

    for (i = 0; i < tmcf->checks.nelts; i++) {

        uri = check[i].uri;
        last = uri.data + uri.len;

        p = ngx_strlchr(uri.data, last, '?');
        uri.len = (p ? p : last) - uri.data;

        if (check[i].cscf == location->cscf
            && uri.len == name->len
            && ngx_strncmp(uri.data, name->data, name->len) == 0)
        {
            ngx_http_token_log(NGX_LOG_WARN, cf, &tlcf->bearer.pos, 0,
                               "\"token_proxy_bearer\" in location \"%V\", "
                               "which \"auth_request\" asks, replaces the "
                               "header \"%V\" of the client that is checked",
                               name, &tlcf->bearer.header);
            return;
        }
    }
}


/* finds the token location that the directive names */

static char *
ngx_http_token_bearer_find(ngx_conf_t *cf, ngx_http_token_main_conf_t *tmcf,
    ngx_http_token_location_t *location)
{
    ngx_str_t                  *name;
    ngx_http_token_zone_t      *zone;
    ngx_http_token_location_t  *token;

    name = &location->tlcf->bearer.name;

    token = ngx_http_token_find_location(cf, location->cscf, name);

    if (token == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &location->tlcf->bearer.pos, 0,
                           "\"token_proxy_bearer\" names \"%V\", but the "
                           "server has no such location with "
                           "\"token_proxy on\"", name);
        return NGX_CONF_ERROR;
    }

    location->tlcf->bearer.location = token->tlcf;

    if (location->tlcf->bearer.retry && token->tlcf->cache.zone) {
        zone = token->tlcf->cache.zone->data;
        zone->keep_other = 1;
    }

    return NGX_CONF_OK;
}


ngx_http_token_location_t *
ngx_http_token_find_location(ngx_conf_t *cf, ngx_http_core_srv_conf_t *cscf,
    ngx_str_t *name)
{
    ngx_uint_t                   i;
    ngx_http_token_location_t   *p;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    p = tmcf->locations.elts;

    for (i = 0; i < tmcf->locations.nelts; i++) {

        if (p[i].tlcf->enable && p[i].cscf == cscf
            && !p[i].clcf->noname
            && p[i].clcf->name.len == name->len
            && ngx_strncmp(p[i].clcf->name.data, name->data, name->len) == 0)
        {
            return &p[i];
        }
    }

    return NULL;
}


/*
 * The variable $http_... of the header.  All that the configuration names is
 * known by now.
 */

static char *
ngx_http_token_bearer_variable(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    u_char                     *p;
    size_t                      len;
    ngx_str_t                   name;
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    name.len = sizeof("http_") - 1 + tlcf->bearer.header.len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_cpymem(name.data, "http_", sizeof("http_") - 1);

    for (i = 0; i < tlcf->bearer.header.len; i++) {
        p[i] = (tlcf->bearer.lowcase[i] == '-') ? '_'
                                                : tlcf->bearer.lowcase[i];
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    v = cmcf->variables.elts;
    len = name.len;

    tlcf->bearer.variable = NGX_HTTP_TOKEN_NO_VARIABLE;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == len
            && ngx_strncasecmp(v[i].name.data, name.data, len) == 0)
        {
            tlcf->bearer.variable = i;
            break;
        }
    }

    return NGX_CONF_OK;
}
