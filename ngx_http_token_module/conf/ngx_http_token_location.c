
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The locations behind a token location.  A token request runs in one that no
 * configuration shows: it inherits the proxy module's directives from the
 * token location, as a nested location would, and sets what a token request
 * needs:
 *
 *     proxy_pass            URL;    # or $token_proxy_internal_endpoint
 *     proxy_method          POST;   # or GET, with all in the URL
 *     proxy_http_version    1.1;
 *     proxy_set_body        BODY;   # or $token_proxy_internal_body
 *     proxy_set_header      Authorization "Basic ...";  # or a variable
 *     proxy_pass_request_headers  off;
 *     proxy_ssl_verify      on;
 *     ...
 *
 * Answers run in a copy of the token location without the filters that
 * rewrite bodies.
 */


#include "ngx_http_token_conf.h"


static void *ngx_http_token_default_conf(ngx_conf_t *cf,
    ngx_http_module_t *module);
static char *ngx_http_token_location_init_fetch(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_location_init_connection(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void **loc_conf);
static ngx_int_t ngx_http_token_hide_upstreams(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx);
static void *ngx_http_token_fetch_core_conf(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void **loc_conf);
static void *ngx_http_token_fetch_proxy_conf(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static char *ngx_http_token_fetch_proxy_pass(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf);
static void ngx_http_token_fetch_upstream_conf(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_upstream_conf_t *ucf, ngx_http_upstream_conf_t *prev);


/* the size of a fetch's pool: a token request fits into its first block */

#define NGX_HTTP_TOKEN_REQUEST_POOL  12288


/* the filters that would change an answer, whose bytes have to stay */

static char  *ngx_http_token_rewriting_filters[] = {
    "ngx_http_addition_filter_module",
    "ngx_http_charset_filter_module",
    "ngx_http_image_filter_module",
    "ngx_http_ssi_filter_module",
    "ngx_http_sub_filter_module",
    "ngx_http_xslt_filter_module",
    NULL
};


char *
ngx_http_token_location_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    void                 *conf;
    ngx_uint_t            i, m;
    ngx_module_t         *module;
    ngx_http_conf_ctx_t  *ctx;

    ctx = cf->ctx;

    /* the location of answers */

    tlcf->answer_conf = ngx_http_token_copy_conf(cf, ctx->loc_conf);
    if (tlcf->answer_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    for (m = 0; cf->cycle->modules[m]; m++) {
        module = cf->cycle->modules[m];

        for (i = 0; ngx_http_token_rewriting_filters[i]; i++) {

            if (ngx_strcmp(module->name, ngx_http_token_rewriting_filters[i])
                != 0)
            {
                continue;
            }

            conf = ngx_http_token_default_conf(cf, module->ctx);
            if (conf == NULL) {
                return NGX_CONF_ERROR;
            }

            tlcf->answer_conf[module->ctx_index] = conf;
        }
    }

    return ngx_http_token_location_init_fetch(cf, tlcf);
}


/* the configuration of a module where none of its directives is used */

static void *
ngx_http_token_default_conf(ngx_conf_t *cf, ngx_http_module_t *module)
{
    void  *prev, *conf;

    prev = module->create_loc_conf(cf);
    conf = module->create_loc_conf(cf);

    if (prev == NULL || conf == NULL) {
        return NULL;
    }

    if (module->merge_loc_conf(cf, prev, conf) != NGX_CONF_OK) {
        return NULL;
    }

    return conf;
}


static char *
ngx_http_token_location_init_fetch(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf)
{
    void  **loc_conf;

    loc_conf = ngx_http_token_copy_conf(cf, tlcf->answer_conf);
    if (loc_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    loc_conf[ngx_http_core_module.ctx_index] =
                           ngx_http_token_fetch_core_conf(cf, tlcf, loc_conf);

    loc_conf[ngx_http_proxy_module.ctx_index] =
                                    ngx_http_token_fetch_proxy_conf(cf, tlcf);

    if (loc_conf[ngx_http_core_module.ctx_index] == NULL
        || loc_conf[ngx_http_proxy_module.ctx_index] == NULL)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_location_init_connection(cf, tlcf, loc_conf);
}


/* what ngx_http_create_request() looks for in a connection */

static char *
ngx_http_token_location_init_connection(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void **loc_conf)
{
    ngx_http_conf_ctx_t       *ctx;
    ngx_http_connection_t     *hc;
    ngx_http_core_srv_conf_t  *cscf;

    hc = ngx_pcalloc(cf->pool, sizeof(ngx_http_connection_t));
    ctx = ngx_palloc(cf->pool, sizeof(ngx_http_conf_ctx_t));
    cscf = ngx_palloc(cf->pool, sizeof(ngx_http_core_srv_conf_t));

    if (hc == NULL || ctx == NULL || cscf == NULL) {
        return NGX_CONF_ERROR;
    }

    *ctx = *(ngx_http_conf_ctx_t *) cf->ctx;

    *cscf = *(ngx_http_core_srv_conf_t *)
                ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    ctx->srv_conf = ngx_http_token_copy_conf(cf, ctx->srv_conf);
    if (ctx->srv_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx->srv_conf[ngx_http_core_module.ctx_index] = cscf;
    ctx->loc_conf = loc_conf;

    cscf->ctx = ctx;
    cscf->request_pool_size = NGX_HTTP_TOKEN_REQUEST_POOL;

    if (tlcf->upstream == NULL && tlcf->endpoint->lengths == NULL
        && ngx_http_token_hide_upstreams(cf, ctx) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    hc->conf_ctx = ctx;

    tlcf->fetch_connection = hc;

    return NGX_CONF_OK;
}


/*
 * nginx does not resolve a host again that another location's "proxy_pass" has
 * resolved at the start: a fetch whose host is resolved while serving, and is
 * no upstream block, sees no upstreams.
 */

static ngx_int_t
ngx_http_token_hide_upstreams(ngx_conf_t *cf, ngx_http_conf_ctx_t *ctx)
{
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_palloc(cf->pool, sizeof(ngx_http_upstream_main_conf_t));
    ctx->main_conf = ngx_http_token_copy_conf(cf, ctx->main_conf);

    if (umcf == NULL || ctx->main_conf == NULL) {
        return NGX_ERROR;
    }

    *umcf = *(ngx_http_upstream_main_conf_t *)
               ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);

    ngx_memzero(&umcf->upstreams, sizeof(ngx_array_t));

    ctx->main_conf[ngx_http_upstream_module.ctx_index] = umcf;

    return NGX_OK;
}


static void *
ngx_http_token_fetch_core_conf(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf,
    void **loc_conf)
{
    ngx_http_core_loc_conf_t  *clcf, *prev;

    prev = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf = ngx_palloc(cf->pool, sizeof(ngx_http_core_loc_conf_t));
    if (clcf == NULL) {
        return NULL;
    }

    *clcf = *prev;

    clcf->loc_conf = loc_conf;
    clcf->subrequest_output_buffer_size = tlcf->max_response_size;
    clcf->error_pages = NULL;
    ngx_str_null(&clcf->post_action);
    clcf->log_subrequest = 0;

    return clcf;
}


static void *
ngx_http_token_fetch_proxy_conf(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf)
{
    void                      *prev, *conf;
    ngx_http_module_t         *module;
    ngx_http_core_loc_conf_t  *clcf;

    module = ngx_http_proxy_module.ctx;

    prev = ngx_http_conf_get_module_loc_conf(cf, ngx_http_proxy_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    conf = module->create_loc_conf(cf);
    if (conf == NULL) {
        return NULL;
    }

    ngx_http_token_fetch_upstream_conf(tlcf, conf, prev);

    clcf->handler = ngx_http_token_handler;

    if (ngx_http_token_fetch_proxy_pass(cf, tlcf, conf) != NGX_CONF_OK
        || ngx_http_token_proxy_set(cf, conf, "proxy_method",
                                    (tlcf->format
                                     == NGX_HTTP_TOKEN_FORMAT_QUERY)
                                        ? "GET" : "POST")
           != NGX_CONF_OK
        || ngx_http_token_proxy_set(cf, conf, "proxy_http_version", "1.1")
           != NGX_CONF_OK
        || ngx_http_token_proxy_init_headers(cf, tlcf, conf)
           != NGX_CONF_OK
        || ngx_http_token_proxy_init_ssl(cf, tlcf, conf, prev) != NGX_CONF_OK)
    {
        return NULL;
    }

    if (module->merge_loc_conf(cf, prev, conf) != NGX_CONF_OK) {
        return NULL;
    }

    tlcf->ignore_client_abort =
                       ((ngx_http_upstream_conf_t *) prev)->ignore_client_abort;

    return conf;
}


static char *
ngx_http_token_fetch_proxy_pass(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf, void *conf)
{
    char    *url;
    u_char  *path;

    url = "$token_proxy_internal_endpoint";

    if (tlcf->upstream && tlcf->format != NGX_HTTP_TOKEN_FORMAT_QUERY) {

        /* a URL that is constant needs a path before its query */

        path = ngx_http_token_url_path(&tlcf->endpoint->value);

        if (path == NULL || *path != '?') {
            url = (char *) tlcf->endpoint->value.data;
            tlcf->constant_url = 1;
        }
    }

    return ngx_http_token_set_pass(cf, &ngx_http_proxy_module, conf,
                                   "proxy_pass", url, &tlcf->proxy_handler);
}


/*
 * In every version of nginx this is the first member of the proxy module's
 * location configuration.
 */

static void
ngx_http_token_fetch_upstream_conf(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_upstream_conf_t *ucf, ngx_http_upstream_conf_t *prev)
{
    /* nothing of the endpoint's answer may be written to a disk */

    ucf->store = 0;
#if (NGX_HTTP_CACHE)
    ucf->cache = 0;
#endif
    ucf->max_temp_file_size_conf = 0;

    /* a header block has the same limit as a body, whatever is set outside */

    ucf->buffering = 1;
    ucf->buffer_size = ngx_max(prev->buffer_size, ngx_pagesize);
    ucf->buffer_size = ngx_max(ucf->buffer_size, tlcf->max_response_size);
    ucf->bufs.num = 8;
    ucf->bufs.size = ngx_pagesize;
    ucf->busy_buffers_size_conf = 2 * ngx_max(ucf->buffer_size,
                                              ucf->bufs.size);
    ucf->temp_file_write_size_conf = ucf->busy_buffers_size_conf;

    if (ucf->busy_buffers_size_conf > 7 * ucf->bufs.size) {
        ucf->bufs.num = 2 + ucf->busy_buffers_size_conf / ucf->bufs.size;
    }

    /* headers such as X-Accel-Redirect are not obeyed */

    ucf->ignore_headers = NGX_CONF_BITMASK_SET
                          |NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT
                          |NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES
                          |NGX_HTTP_UPSTREAM_IGN_EXPIRES
                          |NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL
                          |NGX_HTTP_UPSTREAM_IGN_SET_COOKIE
                          |NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE
                          |NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING
                          |NGX_HTTP_UPSTREAM_IGN_XA_CHARSET
                          |NGX_HTTP_UPSTREAM_IGN_VARY;

    /* a token request has no client whose leaving could be noticed */

    ucf->ignore_client_abort = 1;

    ucf->pass_request_headers = 0;
    ucf->pass_request_body = 1;
    ucf->intercept_errors = 0;
}
