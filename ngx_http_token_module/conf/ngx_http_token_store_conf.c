
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_cache_store: where the store that machines share is, and by what
 * its entries are sealed.
 */


#include "ngx_http_token_conf.h"


#define NGX_HTTP_TOKEN_SHORT_KEY  16


/* a parameter, without its name */

typedef char *(*ngx_http_token_store_param_pt)(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);

typedef struct {
    ngx_str_t                       name;
    ngx_uint_t                      max;      /* how often it may stand there */
    ngx_http_token_store_param_pt   set;
} ngx_http_token_store_param_t;


static ngx_http_token_store_t *ngx_http_token_store_create(ngx_conf_t *cf);
static char *ngx_http_token_store_params(ngx_conf_t *cf,
    ngx_http_token_store_t *store);
static char *ngx_http_token_store_value(ngx_conf_t *cf, ngx_str_t *arg,
    ngx_str_t *text);
static char *ngx_http_token_store_password(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_key(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_prefix(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_connect_timeout(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_timeout(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_time(ngx_str_t *value, ngx_msec_t *msec);
static char *ngx_http_token_store_trusted(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_name(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value);
static char *ngx_http_token_store_resolve(ngx_conf_t *cf,
    ngx_http_token_store_t *store);
static char *ngx_http_token_store_ssl(ngx_conf_t *cf,
    ngx_http_token_store_t *store);
#if (NGX_HTTP_SSL)
static char *ngx_http_token_store_ssl_name(ngx_conf_t *cf,
    ngx_http_token_store_t *store);
#endif


static ngx_http_token_store_param_t  ngx_http_token_store_all_params[] = {
    { ngx_string("password="), 1, ngx_http_token_store_password },
    { ngx_string("key="), 2, ngx_http_token_store_key },
    { ngx_string("prefix="), 1, ngx_http_token_store_prefix },
    { ngx_string("connect_timeout="), 1, ngx_http_token_store_connect_timeout },
    { ngx_string("timeout="), 1, ngx_http_token_store_timeout },
    { ngx_string("trusted_certificate="), 1, ngx_http_token_store_trusted },
    { ngx_string("name="), 1, ngx_http_token_store_name },
    { ngx_null_string, 0, NULL }
};


char *
ngx_http_token_set_cache_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_main_conf_t *tmcf = conf;

    char                    *wrong;
    ngx_str_t               *value;
    ngx_http_token_store_t  *store;

    if (tmcf->store) {
        return "is duplicate";
    }

    store = ngx_http_token_store_create(cf);
    if (store == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    wrong = ngx_http_token_store_url(cf, store, &value[1]);

    if (wrong == NGX_CONF_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (wrong) {

        /* the URL is not shown: somebody may have put a password into it */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in the URL of \"%V\"",
                           wrong, &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_store_params(cf, store) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    wrong = NULL;

    if (store->user.len && store->password.len == 0) {
        wrong = "has a user, and needs \"password=\"";

    } else if (store->trusted.len && !store->tls) {
        wrong = "needs rediss:// for \"trusted_certificate=\"";

    } else if (store->ssl_name.len && !store->tls) {
        wrong = "needs rediss:// for \"name=\"";
    }

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s", &cmd->name,
                           wrong);
        return NGX_CONF_ERROR;
    }

    tmcf->store = store;

    return NGX_CONF_OK;
}


static ngx_http_token_store_t *
ngx_http_token_store_create(ngx_conf_t *cf)
{
    ngx_http_token_store_t  *store;

    store = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_store_t));
    if (store == NULL) {
        return NULL;
    }

    if (ngx_array_init(&store->hosts, cf->pool, 1,
                       sizeof(ngx_http_token_host_t))
        != NGX_OK
        || ngx_array_init(&store->zones, cf->pool, 1,
                          sizeof(ngx_http_token_zone_t *))
           != NGX_OK)
    {
        return NULL;
    }

    store->pos = ngx_http_token_conf_pos(cf);
    store->connect_timeout = 200;
    store->timeout = 200;

    ngx_str_set(&store->prefix, "token_proxy");

    return store;
}


static char *
ngx_http_token_store_params(ngx_conf_t *cf, ngx_http_token_store_t *store)
{
    char                          *wrong;
    ngx_str_t                     *value, rest, name;
    ngx_uint_t                     i, n, seen[8];
    ngx_http_token_store_param_t  *param;

    ngx_memzero(seen, sizeof(seen));

    value = cf->args->elts;

    for (i = 2; i < cf->args->nelts; i++) {

        param = ngx_http_token_store_all_params;

        for (n = 0; param[n].set; n++) {
            if (ngx_strncmp(value[i].data, param[n].name.data,
                            param[n].name.len)
                == 0)
            {
                break;
            }
        }

        if (param[n].set == NULL) {

            /* not with its value, which may be a secret */

            name = value[i];

            rest.data = ngx_strlchr(name.data, name.data + name.len, '=');
            name.len = rest.data ? (size_t) (rest.data - name.data) : 0;

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"%V\"",
                               &name, &value[0]);
            return NGX_CONF_ERROR;
        }

        name = param[n].name;
        name.len--;

        if (seen[n]++ == param[n].max) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" in \"%V\"",
                               &name, &value[0]);
            return NGX_CONF_ERROR;
        }

        rest.data = value[i].data + name.len + 1;
        rest.len = value[i].len - name.len - 1;

        wrong = rest.len ? param[n].set(cf, store, &rest) : "is empty";

        if (wrong == NGX_CONF_ERROR) {
            return NGX_CONF_ERROR;
        }

        if (wrong) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" of \"%V\" %s",
                               &name, &value[0], wrong);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* a VALUE without variables: there is no request to evaluate them for */

static char *
ngx_http_token_store_value(ngx_conf_t *cf, ngx_str_t *arg, ngx_str_t *text)
{
    ngx_http_token_pos_t    pos;
    ngx_http_token_value_t  value;

    pos = ngx_http_token_conf_pos(cf);

    if (ngx_http_token_compile_value(cf, &pos, arg, &value) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (value.complex) {
        return "takes no variables";
    }

    *text = value.text;

    return NULL;
}


static char *
ngx_http_token_store_password(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    return ngx_http_token_store_value(cf, value, &store->password);
}


/* the first one seals, both open */

static char *
ngx_http_token_store_key(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    char       *wrong;
    ngx_str_t   text, *directive;

    wrong = ngx_http_token_store_value(cf, value, &text);

    if (wrong) {
        return wrong;
    }

    if (text.len < NGX_HTTP_TOKEN_SHORT_KEY) {
        directive = cf->args->elts;

        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "parameter \"key\" of \"%V\" is so short that it "
                           "can be guessed from what it has sealed", directive);
    }

    if (ngx_http_token_seal_keys(&text, &store->keys[store->nkeys]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    store->nkeys++;

    return NULL;
}


static char *
ngx_http_token_store_prefix(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    size_t  i;

    if (value->len > NGX_HTTP_TOKEN_MAX_PREFIX) {
        return "has more than 64 characters";
    }

    for (i = 0; i < value->len; i++) {

        /* braces would be the hash tag of a cluster */

        if (value->data[i] <= 0x20 || value->data[i] >= 0x7f
            || value->data[i] == '{' || value->data[i] == '}')
        {
            return "has a character that a key may not have";
        }
    }

    store->prefix = *value;

    return NULL;
}


static char *
ngx_http_token_store_connect_timeout(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *value)
{
    return ngx_http_token_store_time(value, &store->connect_timeout);
}


static char *
ngx_http_token_store_timeout(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    return ngx_http_token_store_time(value, &store->timeout);
}


static char *
ngx_http_token_store_time(ngx_str_t *value, ngx_msec_t *msec)
{
    ngx_int_t  ms;

    ms = ngx_parse_time(value, 0);

    if (ms == NGX_ERROR || ms == 0) {
        return "takes a time that is not zero";
    }

    *msec = ms;

    return NULL;
}


static char *
ngx_http_token_store_trusted(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    store->trusted = *value;

    return NULL;
}


static char *
ngx_http_token_store_name(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *value)
{
    store->ssl_name = *value;

    return NULL;
}


/* called for a token location that has been merged */

char *
ngx_http_token_store_check(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_http_token_zone_t       *zone;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    if (tmcf->store == NULL || tmcf->store->nkeys || conf->cache.zone == NULL
        || ngx_http_token_uses_secret(conf))
    {
        return NGX_CONF_OK;
    }

    zone = conf->cache.zone->data;

    if (zone->store_off) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    ngx_http_token_log(NGX_LOG_EMERG, cf, &tmcf->store->pos, 0,
                       "\"token_proxy_cache_store\" needs \"key=\": there is "
                       "no client secret in location \"%V\" to seal its "
                       "tokens with", &clcf->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_token_store_init(ngx_conf_t *cf, ngx_http_token_main_conf_t *tmcf)
{
    ngx_uint_t                i;
    ngx_shm_zone_t          **shm_zone;
    ngx_http_token_zone_t    *zone, **zp;
    ngx_http_token_store_t   *store;

    store = tmcf->store;

    if (store == NULL) {
        return NGX_CONF_OK;
    }

    shm_zone = tmcf->zones.elts;

    for (i = 0; i < tmcf->zones.nelts; i++) {

        zone = shm_zone[i]->data;

        if (zone->store_off) {
            continue;
        }

        zp = ngx_array_push(&store->zones);
        if (zp == NULL) {
            return NGX_CONF_ERROR;
        }

        *zp = zone;
        zone->store = store;
    }

    if (store->zones.nelts == 0) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &store->pos, 0,
                           "\"token_proxy_cache_store\" is of no use without "
                           "a \"token_proxy_cache_zone\" that has it");
        return NGX_CONF_OK;
    }

    if (ngx_http_token_store_resolve(cf, store) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_store_ssl(cf, store);
}


/* by the resolver of the http level while serving, or else now */

static char *
ngx_http_token_store_resolve(ngx_conf_t *cf, ngx_http_token_store_t *store)
{
    ngx_url_t                  u;
    ngx_uint_t                 i;
    ngx_http_token_host_t     *host;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->resolver && clcf->resolver->connections.nelts) {
        store->resolver = clcf->resolver;
    }

    host = store->hosts.elts;

    for (i = 0; i < store->hosts.nelts; i++) {

        /* resolvers need not know "localhost", RFC 6761 6.3 */

        if (host[i].naddrs
            || (store->resolver
                && !ngx_http_token_equals_nocase(&host[i].host, "localhost")))
        {
            continue;
        }

        ngx_memzero(&u, sizeof(ngx_url_t));

        u.host = host[i].host;
        u.port = host[i].port;

        if (ngx_inet_resolve_host(cf->pool, &u) != NGX_OK) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &store->pos, 0,
                               "%s in \"token_proxy_cache_store\" \"%V\"",
                               u.err ? u.err : "host not found",
                               &store->shown);
            return NGX_CONF_ERROR;
        }

        host[i].addrs = u.addrs;
        host[i].naddrs = u.naddrs;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_store_ssl(ngx_conf_t *cf, ngx_http_token_store_t *store)
{
#if (NGX_HTTP_SSL)

    char                *rv;
    ngx_str_t            trusted;
    ngx_pool_cleanup_t  *cln;

    if (!store->tls) {
        return NGX_CONF_OK;
    }

    if (ngx_http_token_store_ssl_name(cf, store) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    trusted = store->trusted;

    rv = trusted.len
         ? ngx_http_token_check_certificates(cf, &store->pos,
                                             "\"trusted_certificate=\"",
                                             &trusted)
         : ngx_http_token_system_certificates(cf, &store->pos,
                                              "\"trusted_certificate=\"",
                                              &trusted);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    store->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (store->ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    store->ssl->log = cf->log;

    if (ngx_ssl_create(store->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(store->ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = store->ssl;

    if (ngx_ssl_trusted_certificate(cf, store->ssl, &trusted, 4) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

#endif

    return NGX_CONF_OK;
}


#if (NGX_HTTP_SSL)

/* the name that the certificate must have, with a NUL behind it */

static char *
ngx_http_token_store_ssl_name(ngx_conf_t *cf, ngx_http_token_store_t *store)
{
    u_char                 *p;
    ngx_http_token_host_t  *host;

    if (store->ssl_name.len == 0) {

        /* nginx compares certificates with names only */

        host = store->hosts.elts;

        if (host[0].host.data[0] == '['
            || ngx_inet_addr(host[0].host.data, host[0].host.len)
               != INADDR_NONE)
        {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &store->pos, 0,
                               "\"token_proxy_cache_store\" \"%V\" has no host "
                               "name to verify its certificate by, use a name "
                               "or \"name=\"", &store->shown);
            return NGX_CONF_ERROR;
        }

        store->ssl_name = host[0].host;
    }

    p = ngx_pnalloc(cf->pool, store->ssl_name.len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    *ngx_cpymem(p, store->ssl_name.data, store->ssl_name.len) = '\0';
    store->ssl_name.data = p;

    return NGX_CONF_OK;
}

#endif
