
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Which token locations need the tokens of others: "token:" of
 * token_proxy_param, and token_proxy_bearer in a token location.
 */


#include "ngx_http_token_conf.h"


static char *ngx_http_token_chain_visit(ngx_conf_t *cf,
    ngx_http_token_location_t *location);
static char *ngx_http_token_chain_params(ngx_conf_t *cf,
    ngx_http_token_location_t *location);
static char *ngx_http_token_chain_bearer(ngx_conf_t *cf,
    ngx_http_token_location_t *location);
static char *ngx_http_token_chain_find(ngx_conf_t *cf,
    ngx_http_token_location_t *location, ngx_str_t *name, char *directive,
    ngx_http_token_pos_t *pos, ngx_http_token_loc_conf_t **token);


/* the states of a location, while circles are looked for */

#define NGX_HTTP_TOKEN_CHAIN_VISITING  1
#define NGX_HTTP_TOKEN_CHAIN_VISITED   2


char *
ngx_http_token_chain_init_locations(ngx_conf_t *cf)
{
    ngx_uint_t                   i;
    ngx_http_token_location_t   *location;
    ngx_http_token_main_conf_t  *tmcf;

    tmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_token_module);

    location = tmcf->locations.elts;

    for (i = 0; i < tmcf->locations.nelts; i++) {
        if (ngx_http_token_chain_visit(cf, &location[i]) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* the locations whose tokens one needs are prepared before it */

static char *
ngx_http_token_chain_visit(ngx_conf_t *cf, ngx_http_token_location_t *location)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = location->tlcf;

    if (!tlcf->enable || !tlcf->chained
        || tlcf->chain_state == NGX_HTTP_TOKEN_CHAIN_VISITED)
    {
        return NGX_CONF_OK;
    }

    tlcf->chain_state = NGX_HTTP_TOKEN_CHAIN_VISITING;

    if (ngx_http_token_chain_params(cf, location) != NGX_CONF_OK
        || ngx_http_token_chain_bearer(cf, location) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    tlcf->chain_state = NGX_HTTP_TOKEN_CHAIN_VISITED;

    ngx_http_token_request_init_tokens(tlcf);

    if (ngx_http_token_key_init_digest(cf, tlcf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_token_cache_init_warm(cf, tlcf);
}


static char *
ngx_http_token_chain_params(ngx_conf_t *cf,
    ngx_http_token_location_t *location)
{
    ngx_str_t                   name;
    ngx_uint_t                  i;
    ngx_http_token_param_t     *param;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = location->tlcf;

    tlcf->tokens = ngx_pcalloc(cf->pool, (tlcf->params->nelts + 1)
                                         * sizeof(ngx_http_token_loc_conf_t *));
    if (tlcf->tokens == NULL) {
        return NGX_CONF_ERROR;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {

        if (!param[i].value.is_token) {
            continue;
        }

        name.data = param[i].value.text.data + sizeof("token:") - 1;
        name.len = param[i].value.text.len - (sizeof("token:") - 1);

        if (ngx_http_token_chain_find(cf, location, &name, "token_proxy_param",
                                      &param[i].value.pos, &tlcf->tokens[i])
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_chain_bearer(ngx_conf_t *cf,
    ngx_http_token_location_t *location)
{
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = location->tlcf;

    if (!ngx_http_token_sends_bearer(tlcf)) {
        return NGX_CONF_OK;
    }

    return ngx_http_token_chain_find(cf, location, &tlcf->bearer.name,
                                     "token_proxy_bearer", &tlcf->bearer.pos,
                                     &tlcf->bearer_token);
}


static char *
ngx_http_token_chain_find(ngx_conf_t *cf, ngx_http_token_location_t *location,
    ngx_str_t *name, char *directive, ngx_http_token_pos_t *pos,
    ngx_http_token_loc_conf_t **token)
{
    ngx_http_token_location_t  *inner;

    inner = ngx_http_token_find_location(cf, location->cscf, name);

    if (inner == NULL) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"%s\" names \"%V\", but the server has no such "
                           "location with \"token_proxy on\"", directive,
                           name);
        return NGX_CONF_ERROR;
    }

    if (inner->tlcf->chain_state == NGX_HTTP_TOKEN_CHAIN_VISITING) {
        ngx_http_token_log(NGX_LOG_EMERG, cf, pos, 0,
                           "\"%s\" names \"%V\", which needs the token of "
                           "location \"%V\" itself: this is a circle",
                           directive, name, &location->clcf->name);
        return NGX_CONF_ERROR;
    }

    *token = inner->tlcf;

    return ngx_http_token_chain_visit(cf, inner);
}
