
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The endpoint of a token location: when its host is resolved, and what is
 * wrong with it.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_endpoint_upstream(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static ngx_uint_t ngx_http_token_has_resolver(ngx_conf_t *cf);
static ngx_uint_t ngx_http_token_is_block(ngx_conf_t *cf, ngx_str_t *host);
static void ngx_http_token_warn_host(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static void ngx_http_token_warn_constant_host(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf, ngx_str_t *host);
static char *ngx_http_token_check_endpoint(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf);
static ngx_uint_t ngx_http_token_is_local(
    ngx_http_upstream_srv_conf_t *uscf);


char *
ngx_http_token_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    char       *rv, *wrong;
    ngx_str_t  *value, url, host;
    ngx_url_t   u;

    tlcf->endpoint_pos = ngx_http_token_conf_pos(cf);

    rv = ngx_http_token_set_complex(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    value = cf->args->elts;

    host = ngx_http_token_url_host(&value[1]);

    /* with variables, it is a host if a scheme is before it */

    if ((tlcf->endpoint->lengths == NULL
         || (host.data - value[1].data >= 3 && host.data[-3] == ':'))
        && ngx_strlchr(host.data, host.data + host.len, '@'))
    {
        /* the URL is not shown: it may have a password */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a user name in \"%V\" is not allowed", &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (tlcf->endpoint->lengths) {
        return NGX_CONF_OK;
    }

    wrong = ngx_http_token_prepare_url(&value[1], &u);

    if (wrong == NULL && ngx_parse_url(cf->temp_pool, &u) != NGX_OK) {
        wrong = u.err ? u.err : "out of memory";
    }

    if (wrong && ngx_strlchr(value[1].data, value[1].data + value[1].len, '@'))
    {
        /* it may be meant as a password, with a "/" in it */

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\", whose \"@\" "
                           "may stand in a path or a query only", wrong,
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (wrong) {
        url = ngx_http_token_log_url(&value[1]);

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\" \"%V\"",
                           wrong, &cmd->name, &url);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_endpoint_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    if (conf->endpoint->lengths) {
        ngx_http_token_warn_host(cf, conf);

    } else if (ngx_http_token_endpoint_upstream(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_check_endpoint(cf, conf);
}


/*
 * Finds the upstream of a constant URL.  There is none, and the host is
 * resolved while serving, if a resolver is in scope, as for a URL with
 * variables; an address, an upstream block, and "localhost", which resolvers
 * need not know (RFC 6761 6.3), stay as they are.
 */

static char *
ngx_http_token_endpoint_upstream(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf)
{
    ngx_url_t  u;

    /* the setter has checked it */

    (void) ngx_http_token_prepare_url(&conf->endpoint->value, &u);

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_token_is_block(cf, &u.host)) {

        if (!u.no_port) {
            ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->endpoint_pos, 0,
                               "upstream \"%V\" may not have port %d",
                               &u.host, u.port);
            return NGX_CONF_ERROR;
        }

    } else if (u.naddrs == 0
               && !ngx_http_token_equals_nocase(&u.host, "localhost")
               && ngx_http_token_has_resolver(cf))
    {
        conf->upstream = NULL;
        return NGX_CONF_OK;
    }

    (void) ngx_http_token_prepare_url(&conf->endpoint->value, &u);

    conf->upstream = ngx_http_upstream_add(cf, &u, 0);
    if (conf->upstream == NULL) {
        return NGX_CONF_ERROR;
    }

    if (conf->upstream->peer.init) {
        return NGX_CONF_OK;
    }

    /*
     * nginx has initialized its upstreams before it merges the locations of
     * this module: one that is new is initialized here, which resolves its host
     */

    conf->upstream->file_name = conf->endpoint_pos.file;
    conf->upstream->line = conf->endpoint_pos.line;

    return (ngx_http_upstream_init_round_robin(cf, conf->upstream) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* without one at any level, nginx has one that has no servers */

static ngx_uint_t
ngx_http_token_has_resolver(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    return (clcf->resolver && clcf->resolver->connections.nelts);
}


/* whether there is an upstream block of that name */

static ngx_uint_t
ngx_http_token_is_block(ngx_conf_t *cf, ngx_str_t *host)
{
    ngx_uint_t                      i;
    ngx_http_upstream_srv_conf_t  **uscfp;
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if ((uscfp[i]->flags & NGX_HTTP_UPSTREAM_CREATE)
            && uscfp[i]->host.len == host->len
            && ngx_strncasecmp(uscfp[i]->host.data, host->data, host->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* a URL with variables needs a resolver for each name but that of a block */

static void
ngx_http_token_warn_host(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    u_char                    *p;
    ngx_str_t                  host, url;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname || ngx_http_token_has_resolver(cf)) {
        return;
    }

    url = conf->endpoint->value;

    p = ngx_strlchr(url.data, url.data + url.len, '/');

    if (p && p > url.data && p[-1] == ':') {
        host = ngx_http_token_url_host(&url);

    } else {

        /* the URL begins in a variable, as in "$url/token" */

        host = url;
    }

    if (ngx_strlchr(host.data, host.data + host.len, '$') == NULL) {
        ngx_http_token_warn_constant_host(cf, conf, &host);
        return;
    }

    url = ngx_http_token_log_url(&url);

    ngx_http_token_log(NGX_LOG_WARN, cf, &conf->endpoint_pos, 0,
                       "the host of \"token_proxy_endpoint\" \"%V\" depends on "
                       "a variable, and without a \"resolver\" it can be an "
                       "address or the name of an upstream block only", &url);
}


/* nginx resolves the host of such a URL while serving, even a constant one */

static void
ngx_http_token_warn_constant_host(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *conf, ngx_str_t *host)
{
    ngx_url_t  u;
    ngx_str_t  url;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *host;
    u.default_port = 80;
    u.no_resolve = 1;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK || u.naddrs
        || ngx_http_token_is_block(cf, &u.host))
    {
        return;
    }

    url = ngx_http_token_log_url(&conf->endpoint->value);

    ngx_http_token_log(NGX_LOG_WARN, cf, &conf->endpoint_pos, 0,
                       "\"token_proxy_endpoint\" \"%V\" has variables, and "
                       "without a \"resolver\" its host \"%V\" cannot be "
                       "resolved", &url, &u.host);
}


static char *
ngx_http_token_check_endpoint(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    ngx_str_t                      url;
    ngx_uint_t                     ssl;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_upstream_srv_conf_t  *uscf;
#if (NGX_HTTP_SSL)
    ngx_http_upstream_conf_t      *ucf;
#endif

    uscf = conf->upstream;
    url = ngx_http_token_log_url(&conf->endpoint->value);
    ssl = (ngx_strncasecmp(url.data, (u_char *) "http://", 7) != 0);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!ssl && conf->endpoint->lengths == NULL && !clcf->noname
        && (uscf == NULL || !ngx_http_token_is_local(uscf)))
    {
        ngx_http_token_log(NGX_LOG_WARN, cf, &conf->pos, 0,
                           "the %s in clear %s "
                           "\"token_proxy_endpoint\" \"%V\"",
                           ngx_http_token_uses_secret(conf)
                               ? "client secret travels" : "token travels",
                           ngx_http_token_uses_secret(conf) ? "to" : "from",
                           &url);
    }

    if (ssl && !conf->ssl_verify && !clcf->noname) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &conf->pos, 0,
                           "the certificate of \"token_proxy_endpoint\" \"%V\" "
                           "is not verified, \"token_proxy_ssl_verify\" is off",
                           &url);
    }

#if (NGX_HTTP_SSL)

    /* nginx compares certificates with names only */

    ucf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);

    if (ssl && conf->ssl_verify && uscf && uscf->servers
        && !(uscf->flags & NGX_HTTP_UPSTREAM_CREATE)
        && ucf->ssl_name == NULL)
    {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->pos, 0,
                           "\"token_proxy_endpoint\" \"%V\" has no host name "
                           "to verify its certificate by, use a name or set "
                           "\"proxy_ssl_name\"", &url);
        return NGX_CONF_ERROR;
    }

#endif

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_token_is_local(ngx_http_upstream_srv_conf_t *uscf)
{
    in_addr_t                    address;
    ngx_uint_t                   i, n;
    struct sockaddr_in          *sin;
    ngx_http_upstream_server_t  *server;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6         *sin6;
#endif

    if (uscf->servers == NULL) {
        return (uscf->host.len == sizeof("localhost") - 1
                && ngx_strncasecmp(uscf->host.data, (u_char *) "localhost",
                                   uscf->host.len)
                   == 0);
    }

    server = uscf->servers->elts;

    for (i = 0; i < uscf->servers->nelts; i++) {
        for (n = 0; n < server[i].naddrs; n++) {

            switch (server[i].addrs[n].sockaddr->sa_family) {

#if (NGX_HAVE_INET6)
            case AF_INET6:
                sin6 = (struct sockaddr_in6 *) server[i].addrs[n].sockaddr;

                if (!IN6_IS_ADDR_LOOPBACK(&sin6->sin6_addr)
                    && !IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr))
                {
                    return 0;
                }

                break;
#endif

            case AF_INET:
                sin = (struct sockaddr_in *) server[i].addrs[n].sockaddr;

                address = ntohl(sin->sin_addr.s_addr);

                /* link-local, RFC 3927: the metadata service of a machine */

                if ((address >> 24) != 127 && (address >> 16) != 0xa9fe) {
                    return 0;
                }

                break;
            }
        }
    }

    return 1;
}
