
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The directives of the cache and of its zones.
 */


#include "ngx_http_token_conf.h"


/* the smallest size of a zone */

#define NGX_HTTP_TOKEN_MIN_PAGES  8

/* the largest: places in it are numbers of 32 bits, one for 8 bytes */

#define NGX_HTTP_TOKEN_MAX_ZONE   ((int64_t) 8 << 32)


static char *ngx_http_token_check_not_zero(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_token_check_not_zero_time(ngx_conf_t *cf, void *post,
    void *data);
static ssize_t ngx_http_token_zone_size(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *name);
static ssize_t ngx_http_token_parse_zone(ngx_str_t *value, ngx_str_t *name);


ngx_conf_post_t  ngx_http_token_not_zero = {
    ngx_http_token_check_not_zero
};


ngx_conf_post_t  ngx_http_token_not_zero_time = {
    ngx_http_token_check_not_zero_time
};


char *
ngx_http_token_set_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_str_t  *value;

    if (tlcf->cache.zone != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        tlcf->cache.zone = NULL;
        tlcf->cache.off = 1;
        return NGX_CONF_OK;
    }

    tlcf->cache.pos = ngx_http_token_conf_pos(cf);

    /* whether there is such a zone is checked when all has been read */

    tlcf->cache.zone = ngx_shared_memory_add(cf, &value[1], 0,
                                             &ngx_http_token_module);
    if (tlcf->cache.zone == NULL) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_cache_bypass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    tlcf->cache.bypass_pos = ngx_http_token_conf_pos(cf);

    return ngx_http_set_predicate_slot(cf, cmd, conf);
}


char *
ngx_http_token_set_cache_warm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    tlcf->cache.warm_pos = ngx_http_token_conf_pos(cf);

    return ngx_conf_set_flag_slot(cf, cmd, conf);
}


char *
ngx_http_token_set_refresh_before(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_int_t   n;
    ngx_str_t  *value;

    if (tlcf->cache.refresh_before != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len > 1 && value[1].data[value[1].len - 1] == '%') {

        n = ngx_atoi(value[1].data, value[1].len - 1);

        if (n == NGX_ERROR || n > 100) {
            return "takes a time, or a percentage up to 100%";
        }

        tlcf->cache.refresh_percent = n;
        tlcf->cache.refresh_before = 0;

        return NGX_CONF_OK;
    }

    n = ngx_parse_time(&value[1], 0);

    if (n == NGX_ERROR) {
        return "takes a time, or a percentage up to 100%";
    }

    tlcf->cache.refresh_percent = 0;
    tlcf->cache.refresh_before = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_token_check_not_zero(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t *timeout = data;

    /* a request would never wait for a token that has to be fetched */

    return (*timeout == 0) ? "takes a time that is not zero" : NGX_CONF_OK;
}


static char *
ngx_http_token_check_not_zero_time(ngx_conf_t *cf, void *post, void *data)
{
    time_t *seconds = data;

    return (*seconds == 0) ? "takes a time that is not zero" : NGX_CONF_OK;
}


char *
ngx_http_token_set_retry_backoff(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_token_loc_conf_t *tlcf = conf;

    ngx_int_t   min, max;
    ngx_str_t  *value;

    if (tlcf->cache.backoff_min != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    min = ngx_parse_time(&value[1], 0);
    max = ngx_parse_time(&value[2], 0);

    if (min == NGX_ERROR || max == NGX_ERROR || min == 0 || min > max) {
        return "takes two times, the first one not longer, and not zero";
    }

    tlcf->cache.backoff_min = min;
    tlcf->cache.backoff_max = max;

    return NGX_CONF_OK;
}


void
ngx_http_token_cache_create(ngx_http_token_cache_conf_t *conf)
{
    conf->zone = NGX_CONF_UNSET_PTR;
    conf->bypass = NGX_CONF_UNSET_PTR;
    conf->default_ttl = NGX_CONF_UNSET;
    conf->max_ttl = NGX_CONF_UNSET;
    conf->refresh_before = NGX_CONF_UNSET_MSEC;
    conf->lock_timeout = NGX_CONF_UNSET_MSEC;
    conf->backoff_min = NGX_CONF_UNSET_MSEC;
    conf->backoff_max = NGX_CONF_UNSET_MSEC;
    conf->warm = NGX_CONF_UNSET;
}


char *
ngx_http_token_cache_merge(ngx_conf_t *cf, ngx_http_token_cache_conf_t *prev,
    ngx_http_token_cache_conf_t *conf)
{
    if (conf->zone == NGX_CONF_UNSET_PTR) {
        conf->pos = prev->pos;
        conf->off = prev->off;
    }

    ngx_conf_merge_ptr_value(conf->zone, prev->zone, NULL);

    if (conf->bypass == NGX_CONF_UNSET_PTR) {
        conf->bypass_pos = prev->bypass_pos;
    }

    ngx_conf_merge_ptr_value(conf->bypass, prev->bypass, NULL);

    if (conf->key == NULL) {
        conf->key = prev->key;
    }

    ngx_conf_merge_sec_value(conf->default_ttl, prev->default_ttl, 0);
    ngx_conf_merge_sec_value(conf->max_ttl, prev->max_ttl, 0);

    if (conf->refresh_before == NGX_CONF_UNSET_MSEC) {
        conf->refresh_before = prev->refresh_before;
        conf->refresh_percent = prev->refresh_percent;
    }

    if (conf->refresh_before == NGX_CONF_UNSET_MSEC) {
        conf->refresh_before = 0;
        conf->refresh_percent = 50;
    }

    ngx_conf_merge_msec_value(conf->lock_timeout, prev->lock_timeout, 60000);
    ngx_conf_merge_msec_value(conf->backoff_min, prev->backoff_min, 1000);
    ngx_conf_merge_msec_value(conf->backoff_max, prev->backoff_max, 30000);

    /* like "token_proxy", it is of its location, and not of those inside */

    ngx_conf_init_value(conf->warm, 0);

    if (conf->zone && conf->zone->data == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->pos, 0,
                           "zone \"%V\" of \"token_proxy_cache\" is unknown",
                           &conf->zone->shm.name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* called for a token location */

void
ngx_http_token_cache_check(ngx_conf_t *cf, ngx_http_token_cache_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->bypass && conf->zone == NULL && !conf->off && !clcf->noname) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &conf->bypass_pos, 0,
                           "\"token_proxy_cache_bypass\" is of no use in "
                           "location \"%V\", which has no "
                           "\"token_proxy_cache\"", &clcf->name);
    }
}


/* called for a location that is no token location */

void
ngx_http_token_cache_unused(ngx_conf_t *cf, ngx_http_token_cache_conf_t *conf)
{
    if (conf->warm) {
        ngx_http_token_log(NGX_LOG_WARN, cf, &conf->warm_pos, 0,
                           "\"token_proxy_cache_warm\" is not used without "
                           "\"token_proxy on\"");
    }
}


/* called for a token location whose request is known */

char *
ngx_http_token_cache_init_warm(ngx_conf_t *cf, ngx_http_token_loc_conf_t *conf)
{
    char                         *wrong;
    ngx_http_token_loc_conf_t   **warm;
    ngx_http_token_main_conf_t   *tmcf;

    if (!conf->cache.warm) {
        return NGX_CONF_OK;
    }

    wrong = NULL;

    if (conf->cache.zone == NULL) {
        wrong = "needs \"token_proxy_cache\"";

    } else if (conf->digest == NULL) {
        wrong = "needs a token request without variables, also in "
                "\"token_proxy_cache_key\", since no caller is there to "
                "evaluate them for";
    }

    if (wrong) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, &conf->cache.warm_pos, 0,
                           "\"token_proxy_cache_warm\" %s", wrong);
        return NGX_CONF_ERROR;
    }

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    warm = ngx_array_push(&tmcf->warm);
    if (warm == NULL) {
        return NGX_CONF_ERROR;
    }

    *warm = conf;

    return NGX_CONF_OK;
}


char *
ngx_http_token_set_cache_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_token_main_conf_t *tmcf = conf;

    ssize_t                 size;
    ngx_str_t              *value, name;
    ngx_shm_zone_t         *shm_zone, **zones;
    ngx_pool_cleanup_t     *cln;
    ngx_http_token_zone_t  *zone;

    value = cf->args->elts;

    if (cf->args->nelts == 3 && ngx_strcmp(value[2].data, "store=off") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"%V\", "
                           "it takes store=off", &value[2], &cmd->name);
        return NGX_CONF_ERROR;
    }

    size = ngx_http_token_zone_size(cf, cmd, &name);
    if (size == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->cycle->pool, sizeof(ngx_http_token_zone_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_token_local_done;

    zone = cln->data;

    ngx_memzero(zone, sizeof(ngx_http_token_zone_t));

    shm_zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_token_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate zone \"%V\" in \"%V\"",
                           &name, &cmd->name);
        return NGX_CONF_ERROR;
    }

    zone->cycle = cf->cycle;
    zone->store_off = (cf->args->nelts == 3);

    shm_zone->init = ngx_http_token_zone_init;
    shm_zone->data = zone;

    zones = ngx_array_push(&tmcf->zones);
    if (zones == NULL) {
        return NGX_CONF_ERROR;
    }

    *zones = shm_zone;

    ngx_http_token_has_zones = 1;

    return NGX_CONF_OK;
}


static ssize_t
ngx_http_token_zone_size(ngx_conf_t *cf, ngx_command_t *cmd, ngx_str_t *name)
{
    ssize_t     size, min;
    ngx_str_t  *value;

    value = cf->args->elts;

    size = ngx_http_token_parse_zone(&value[1], name);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"%V\", "
                           "it takes zone=name:size", &value[1], &cmd->name);
        return NGX_ERROR;
    }

    min = NGX_HTTP_TOKEN_MIN_PAGES * ngx_pagesize;

    if (size < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" of \"%V\" is too small, "
                           "the minimum is %zk", name, &cmd->name,
                           min / 1024);
        return NGX_ERROR;
    }

    if ((int64_t) size > NGX_HTTP_TOKEN_MAX_ZONE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" of \"%V\" is too large, "
                           "the maximum is 32768m", name, &cmd->name);
        return NGX_ERROR;
    }

    return size;
}


/* reads zone=name:size; returns the size, or NGX_ERROR */

static ssize_t
ngx_http_token_parse_zone(ngx_str_t *value, ngx_str_t *name)
{
    u_char     *p;
    ngx_str_t   size;

    if (ngx_strncmp(value->data, "zone=", 5) != 0) {
        return NGX_ERROR;
    }

    name->data = value->data + 5;

    p = (u_char *) ngx_strchr(name->data, ':');

    if (p == NULL || p == name->data) {
        return NGX_ERROR;
    }

    name->len = p - name->data;

    size.data = p + 1;
    size.len = value->data + value->len - size.data;

    return ngx_parse_size(&size);
}
