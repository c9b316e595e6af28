
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The module: its directives, its configuration, its handlers and filters.
 */


#include "ngx_http_token_conf.h"


static ngx_int_t ngx_http_token_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_token_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_token_module_init(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_token_process_init(ngx_cycle_t *cycle);
static void ngx_http_token_process_exit(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_token_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_token_add_handler(ngx_conf_t *cf, ngx_uint_t phase,
    ngx_http_handler_pt handler);
static void *ngx_http_token_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_token_create_loc_conf(ngx_conf_t *cf);


static ngx_command_t  ngx_http_token_commands[] = {

    { ngx_string("token_proxy"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_token_set_enable,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, enable),
      NULL },

    { ngx_string("token_proxy_endpoint"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_endpoint,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, endpoint),
      NULL },

    { ngx_string("token_proxy_client_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_client_id,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_client_secret"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_token_set_client_secret,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_auth_method"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_token_set_auth_method,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_client_assertion"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_token_set_client_assertion,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_private_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_private_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_certificate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_key_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_key_id,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, auth.key_id),
      NULL },

    { ngx_string("token_proxy_assertion_audience"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_audience,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, auth.audience),
      NULL },

    { ngx_string("token_proxy_request"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_request,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_grant_type"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, grant_type),
      &ngx_http_token_not_empty },

    { ngx_string("token_proxy_grant_claim"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_token_set_grant_claim,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_param"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_token_set_param,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_file_valid"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, file_valid),
      NULL },

    { ngx_string("token_proxy_refresh_grant"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, refresh_grant),
      NULL },

    { ngx_string("token_proxy_member"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_token_set_member,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_fields"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_fields,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_methods"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_methods,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_max_response_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, max_response_size),
      &ngx_http_token_not_zero_size },

    { ngx_string("token_proxy_ssl_verify"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, ssl_verify),
      NULL },

    { ngx_string("token_proxy_ssl_trusted_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, ssl_trusted_certificate),
      &ngx_http_token_not_empty },

    { ngx_string("token_proxy_bearer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF
                        |NGX_HTTP_LMT_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_bearer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_bearer_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_token_set_bearer_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_bearer_retry"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_bearer_retry,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_token_set_status,
      0,
      0,
      NULL },

    { ngx_string("token_proxy_cache_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_token_set_cache_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_cache_store"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cache_store,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_cache_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_complex,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.key),
      NULL },

    { ngx_string("token_proxy_cache_bypass"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cache_bypass,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.bypass),
      NULL },

    { ngx_string("token_proxy_cache_warm"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_token_set_cache_warm,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.warm),
      NULL },

    { ngx_string("token_proxy_cache_default_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.default_ttl),
      NULL },

    { ngx_string("token_proxy_cache_max_ttl"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.max_ttl),
      &ngx_http_token_not_zero_time },

    { ngx_string("token_proxy_refresh_before"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_refresh_before,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_lock_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cache.lock_timeout),
      &ngx_http_token_not_zero },

    { ngx_string("token_proxy_retry_backoff"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_token_set_retry_backoff,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_cors_origin"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cors_origin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_cors_self"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_cors_self,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.self),
      NULL },

    { ngx_string("token_proxy_cors_methods"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.methods),
      NULL },

    { ngx_string("token_proxy_cors_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.headers),
      NULL },

    { ngx_string("token_proxy_cors_expose_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_token_set_cors_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.expose_headers),
      NULL },

    { ngx_string("token_proxy_cors_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.credentials),
      NULL },

    { ngx_string("token_proxy_cors_max_age"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_token_loc_conf_t, cors.max_age),
      NULL },

    { ngx_string("token_proxy_auth_basic"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_token_set_auth_basic,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("token_proxy_auth_basic_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_token_set_auth_basic_user,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_token_module_ctx = {
    ngx_http_token_add_variables,          /* preconfiguration */
    ngx_http_token_init,                   /* postconfiguration */

    ngx_http_token_create_main_conf,       /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_token_create_loc_conf,        /* create location configuration */
    ngx_http_token_merge                   /* merge location configuration */
};


ngx_module_t  ngx_http_token_module = {
    NGX_MODULE_V1,
    &ngx_http_token_module_ctx,            /* module context */
    ngx_http_token_commands,               /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_token_module_init,            /* init module */
    ngx_http_token_process_init,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_token_process_exit,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


/*
 * Each request of a server gets to the handlers of phases, and most requests no
 * further than here.
 */

static ngx_int_t
ngx_http_token_preaccess(ngx_http_request_t *r)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    if (tlcf->enable != 1 || r != r->main
        || (tlcf->cors.origins == NULL && r->method != NGX_HTTP_OPTIONS
            && !ngx_http_token_has_header_of_length(r,
                                               sizeof("Sec-Fetch-Site") - 1)))
    {
        return NGX_DECLINED;
    }

    return ngx_http_token_cors_handler(r, tlcf);
}


static ngx_int_t
ngx_http_token_precontent(ngx_http_request_t *r)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_token_module);

    return tlcf->bearer.location ? ngx_http_token_bearer_handler(r, tlcf)
                                 : NGX_DECLINED;
}


static ngx_int_t
ngx_http_token_filter(ngx_http_request_t *r)
{
    ngx_http_token_basic_header_filter(r);

    if (ngx_http_token_header_filter(r) != NGX_OK
        || ngx_http_token_cors_header_filter(r) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_token_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    if (ngx_http_token_basic_body_filter(r, &in) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_next_body_filter(r, in);
}


static ngx_int_t
ngx_http_token_init(ngx_conf_t *cf)
{
    ngx_uint_t                   bearers;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    if (ngx_http_token_check_names(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_token_store_init(cf, tmcf) != NGX_CONF_OK) {
        return NGX_ERROR;
    }

    if (!tmcf->used) {

        /* the module is loaded, but not used: nothing changes */

        return NGX_OK;
    }

    if (ngx_http_token_chain_init_locations(cf) != NGX_CONF_OK
        || ngx_http_token_bearer_init_locations(cf, &bearers) != NGX_CONF_OK)
    {
        return NGX_ERROR;
    }

    /*
     * The handlers of a phase are called from the last to the first.  Each
     * costs every request something: those of no use are left out.
     */

    if (ngx_http_token_add_handler(cf, NGX_HTTP_PREACCESS_PHASE,
                                   ngx_http_token_preaccess)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (bearers
        && ngx_http_token_add_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                      ngx_http_token_precontent)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_token_filter;

    if (tmcf->basic) {

        if (ngx_http_token_add_handler(cf, NGX_HTTP_ACCESS_PHASE,
                                       ngx_http_token_basic_handler)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        ngx_http_next_body_filter = ngx_http_top_body_filter;
        ngx_http_top_body_filter = ngx_http_token_body_filter;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_add_handler(ngx_conf_t *cf, ngx_uint_t phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}


static void *
ngx_http_token_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_main_conf_t));
    if (tmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&tmcf->locations, cf->pool, 4,
                       sizeof(ngx_http_token_location_t))
        != NGX_OK
        || ngx_array_init(&tmcf->checks, cf->pool, 4,
                          sizeof(ngx_http_token_check_t))
           != NGX_OK
        || ngx_array_init(&tmcf->zones, cf->pool, 2, sizeof(ngx_shm_zone_t *))
           != NGX_OK
        || ngx_array_init(&tmcf->warm, cf->pool, 2,
                          sizeof(ngx_http_token_loc_conf_t *))
           != NGX_OK
        || ngx_array_init(&tmcf->names, cf->pool, 4,
                          sizeof(ngx_http_token_name_t))
           != NGX_OK)
    {
        return NULL;
    }

    return tmcf;
}


static ngx_int_t
ngx_http_token_module_init(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_INFO, cycle->log, 0,
                  "ngx_http_token_module " NGX_HTTP_TOKEN_VERSION);

    ngx_http_token_environment_debug_off(cycle);

    ngx_http_token_configured = ngx_http_token_now();

    ngx_http_token_warm_init_module();

    ngx_http_token_store_init_scripts();

    return ngx_http_token_wait_init_module(cycle);
}


static ngx_int_t
ngx_http_token_process_init(ngx_cycle_t *cycle)
{
    ngx_http_token_environment_debug_restore(cycle);

    if (ngx_http_token_wait_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_token_store_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_token_warm_init_process(cycle);
}


static void
ngx_http_token_process_exit(ngx_cycle_t *cycle)
{
    ngx_http_token_store_exit_process(cycle);
    ngx_http_token_files_done(cycle);
}


static void *
ngx_http_token_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_token_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->pos = { NULL, 0 };
     *     conf->endpoint = NULL;
     *     conf->endpoint_pos = { NULL, 0 };
     *     conf->upstream = NULL;
     *     conf->grant_type = { 0, NULL };
     *     conf->methods = 0;
     *     conf->ssl_trusted_certificate = { 0, NULL };
     *
     * and all that is made when the configuration has been read
     */

    conf->enable = NGX_CONF_UNSET;
    conf->format = NGX_CONF_UNSET_UINT;
    conf->params = NGX_CONF_UNSET_PTR;
    conf->claims = NGX_CONF_UNSET_PTR;
    conf->paths = NGX_CONF_UNSET_PTR;
    conf->file_valid = NGX_CONF_UNSET;
    conf->refresh_grant = NGX_CONF_UNSET;
    conf->fields = NGX_CONF_UNSET_PTR;
    conf->max_response_size = NGX_CONF_UNSET_SIZE;
    conf->ssl_verify = NGX_CONF_UNSET;

    ngx_http_token_auth_create(&conf->auth);
    ngx_http_token_cache_create(&conf->cache);
    ngx_http_token_cors_create(&conf->cors);
    ngx_http_token_basic_create(&conf->basic);
    ngx_http_token_bearer_create(&conf->bearer);

    return conf;
}
