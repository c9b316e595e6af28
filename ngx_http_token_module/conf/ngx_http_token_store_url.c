
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The URL of token_proxy_cache_store: a server, or the sentinels that know it.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_store_user(ngx_http_token_store_t *store,
    ngx_str_t *text);
static char *ngx_http_token_store_tail(ngx_http_token_store_t *store,
    ngx_str_t *text, ngx_uint_t sentinel);
static char *ngx_http_token_store_hosts(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *text, in_port_t port);
static char *ngx_http_token_store_host(ngx_conf_t *cf,
    ngx_http_token_store_t *store, ngx_str_t *text, in_port_t port);


char *
ngx_http_token_store_url(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *url)
{
    char        *wrong, *scheme;
    size_t       len;
    ngx_str_t    rest;
    in_port_t    port;
    ngx_uint_t   sentinel;

    if (ngx_strlchr(url->data, url->data + url->len, '$')) {
        return "a variable";
    }

    sentinel = 0;
    port = 6379;

    if (ngx_strncmp(url->data, "redis://", 8) == 0) {
        scheme = "redis://";

    } else if (ngx_strncmp(url->data, "rediss://", 9) == 0) {
#if (NGX_HTTP_SSL)
        scheme = "rediss://";
        store->tls = 1;
#else
        return "rediss:// requires SSL support, which nginx lacks:";
#endif

    } else if (ngx_strncmp(url->data, "sentinel://", 11) == 0) {
        scheme = "sentinel://";
        sentinel = 1;
        port = 26379;

    } else if (ngx_strncmp(url->data, "unix:", 5) == 0) {
        store->shown = *url;
        return ngx_http_token_store_host(cf, store, url, 0);

    } else {
        return "no \"redis://\", \"rediss://\", \"unix:\" or "
               "\"sentinel://\"";
    }

    len = ngx_strlen(scheme);

    rest.data = url->data + len;
    rest.len = url->len - len;

    wrong = ngx_http_token_store_user(store, &rest);

    if (wrong) {
        return wrong;
    }

    store->shown.data = ngx_pnalloc(cf->pool, len + rest.len);
    if (store->shown.data == NULL) {
        return NGX_CONF_ERROR;
    }

    store->shown.len = ngx_sprintf(store->shown.data, "%s%V", scheme, &rest)
                       - store->shown.data;

    wrong = ngx_http_token_store_tail(store, &rest, sentinel);

    if (wrong) {
        return wrong;
    }

    if (!sentinel && ngx_strlchr(rest.data, rest.data + rest.len, ',')) {
        return "more than one server";
    }

    return ngx_http_token_store_hosts(cf, store, &rest, port);
}


/* takes USER@ off the text */

static char *
ngx_http_token_store_user(ngx_http_token_store_t *store, ngx_str_t *text)
{
    u_char  *p, *last;

    last = text->data + text->len;

    p = ngx_strlchr(text->data, last, '@');

    if (p == NULL) {
        return NULL;
    }

    store->user.data = text->data;
    store->user.len = p - text->data;

    if (store->user.len == 0) {
        return "an empty user";
    }

    if (ngx_strlchr(text->data, p, ':')) {
        return "a password, for which there is \"password=\",";
    }

    text->data = p + 1;
    text->len = last - text->data;

    return ngx_strlchr(text->data, last, '@') ? "two \"@\"" : NULL;
}


/* takes the number of a database, or the name of a master, off the text */

static char *
ngx_http_token_store_tail(ngx_http_token_store_t *store, ngx_str_t *text,
    ngx_uint_t sentinel)
{
    u_char     *p, *last;
    ngx_int_t   n;
    ngx_str_t   tail;

    last = text->data + text->len;

    p = ngx_strlchr(text->data, last, '/');

    if (p == NULL) {
        return sentinel ? "no name of a master" : NULL;
    }

    tail.data = p + 1;
    tail.len = last - tail.data;

    text->len = p - text->data;

    if (sentinel) {
        store->master = tail;

        return (tail.len == 0 || ngx_strlchr(tail.data, last, '/'))
               ? "a wrong name of a master" : NULL;
    }

    if (tail.len == 0) {
        return NULL;
    }

    n = ngx_atoi(tail.data, tail.len);

    if (n == NGX_ERROR || n > 65535) {
        return "a wrong number of a database";
    }

    store->db = n;

    return NULL;
}


static char *
ngx_http_token_store_hosts(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *text, in_port_t port)
{
    char       *wrong;
    u_char     *p, *last;
    ngx_str_t   host;

    host.data = text->data;
    last = text->data + text->len;

    for ( ;; ) {
        p = ngx_strlchr(host.data, last, ',');

        host.len = (p ? p : last) - host.data;

        wrong = ngx_http_token_store_host(cf, store, &host, port);

        if (wrong || p == NULL) {
            return wrong;
        }

        host.data = p + 1;
    }
}


static char *
ngx_http_token_store_host(ngx_conf_t *cf, ngx_http_token_store_t *store,
    ngx_str_t *text, in_port_t port)
{
    ngx_url_t               u;
    ngx_http_token_host_t  *host;

    ngx_memzero(&u, sizeof(ngx_url_t));

    /* as ngx_parse_url() wants it, with a NUL behind it */

    u.url.len = text->len;
    u.url.data = ngx_pnalloc(cf->pool, text->len + 1);

    host = ngx_array_push(&store->hosts);

    if (u.url.data == NULL || host == NULL) {
        return NGX_CONF_ERROR;
    }

    *ngx_cpymem(u.url.data, text->data, text->len) = '\0';

    u.default_port = port;
    u.no_resolve = 1;

    if (text->len == 0) {
        return "no host";
    }

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        return u.err ? u.err : NGX_CONF_ERROR;
    }

    ngx_memzero(host, sizeof(ngx_http_token_host_t));

    host->name = u.url;
    host->host = u.host;
    host->port = u.port;
    host->addrs = u.addrs;
    host->naddrs = u.naddrs;

    return NULL;
}
