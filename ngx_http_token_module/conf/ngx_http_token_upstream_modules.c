
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The modules that can pass a token to an API, by their content handlers, and
 * what in a location would keep it from the API.
 */


#include "ngx_http_token_conf.h"


/* in all of them the location configuration begins with the upstream's */

struct ngx_http_token_upstream_module_s {
    char                           *name;
    char                           *pass;
    char                           *add;     /* wins over the client's header */
    ngx_http_token_set_pt           set;     /* its setter */
    char                           *off;     /* passes no headers at all */
    ngx_uint_t                      param;   /* of CGI, not a header */
    ngx_uint_t                      grpc;

    ngx_module_t                   *module;  /* NULL if nginx is without it */
    ngx_http_handler_pt             handler;
};


static char *ngx_http_token_upstream_module_init(ngx_conf_t *cf,
    ngx_http_token_upstream_module_t *um);
static ngx_uint_t ngx_http_token_upstream_module_adds(
    ngx_http_token_upstream_module_t *um, ngx_array_t *array,
    ngx_str_t *header);
static ngx_uint_t ngx_http_token_upstream_module_replaces(
    ngx_http_token_upstream_module_t *um, ngx_str_t *name, ngx_str_t *header);


static ngx_http_token_upstream_module_t  ngx_http_token_upstream_modules[] = {

    { "ngx_http_proxy_module", "proxy_pass",
      "proxy_set_header", ngx_conf_set_keyval_slot,
      "proxy_pass_request_headers off", 0, 0, NULL, NULL },

    { "ngx_http_grpc_module", "grpc_pass",
      "grpc_set_header", ngx_conf_set_keyval_slot,
      "", 0, 1, NULL, NULL },

    { "ngx_http_fastcgi_module", "fastcgi_pass",
      "fastcgi_param", ngx_http_upstream_param_set_slot,
      "fastcgi_pass_request_headers off", 1, 0, NULL, NULL },

    { "ngx_http_uwsgi_module", "uwsgi_pass",
      "uwsgi_param", ngx_http_upstream_param_set_slot,
      "uwsgi_pass_request_headers off", 1, 0, NULL, NULL },

    { "ngx_http_scgi_module", "scgi_pass",
      "scgi_param", ngx_http_upstream_param_set_slot,
      "scgi_pass_request_headers off", 1, 0, NULL, NULL },

    { NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL }
};


char *
ngx_http_token_upstream_modules_init(ngx_conf_t *cf)
{
    ngx_uint_t                         i;
    ngx_module_t                     **modules;
    ngx_http_token_upstream_module_t  *um;

    modules = cf->cycle->modules;

    for (um = ngx_http_token_upstream_modules; um->name; um++) {

        um->module = NULL;
        um->handler = NULL;

        for (i = 0; modules[i]; i++) {
            if (ngx_strcmp(modules[i]->name, um->name) == 0) {
                um->module = modules[i];
                break;
            }
        }

        if (um->module
            && ngx_http_token_upstream_module_init(cf, um) != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_token_upstream_module_init(ngx_conf_t *cf,
    ngx_http_token_upstream_module_t *um)
{
    void               *conf;
    ngx_http_module_t  *module;

    module = um->module->ctx;

    conf = module->create_loc_conf(cf);
    if (conf == NULL) {
        return NGX_CONF_ERROR;
    }

    /* a name would make an upstream block */

    return ngx_http_token_set_pass(cf, um->module, conf, um->pass, "$host",
                                   &um->handler);
}


ngx_http_token_upstream_module_t *
ngx_http_token_upstream_module_find(ngx_http_handler_pt handler)
{
    ngx_http_token_upstream_module_t  *um;

    if (handler == NULL) {
        return NULL;
    }

    for (um = ngx_http_token_upstream_modules; um->name; um++) {
        if (um->handler == handler) {
            return um;
        }
    }

    return NULL;
}


char *
ngx_http_token_upstream_module_check(ngx_conf_t *cf,
    ngx_http_token_location_t *location, ngx_http_token_upstream_module_t *um)
{
    char                       *wrong;
    ngx_array_t               **array;
    ngx_http_upstream_conf_t   *ucf;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = location->tlcf;
    tlcf->bearer.grpc = um->grpc;

    ucf = tlcf->loc_conf[um->module->ctx_index];

    tlcf->ignore_client_abort = ucf->ignore_client_abort;

    array = ngx_http_token_directive_field(cf, um->module, ucf, um->add,
                                           um->set);

    if (array == NULL) {
        return NGX_CONF_ERROR;
    }

    if (!ucf->pass_request_headers) {
        wrong = um->off;

    } else if (ngx_http_token_upstream_module_adds(um, *array,
                                                   &tlcf->bearer.header))
    {
        wrong = um->add;

    } else {
        return NGX_CONF_OK;
    }

    ngx_http_token_log(NGX_LOG_EMERG, cf, &tlcf->bearer.pos, 0,
                       "\"%s\" in location \"%V\" would replace the header "
                       "\"%V\" of \"token_proxy_bearer\"", wrong,
                       &location->clcf->name, &tlcf->bearer.header);

    return NGX_CONF_ERROR;
}


/* whether the directive stands in the location with the name of the header */

static ngx_uint_t
ngx_http_token_upstream_module_adds(ngx_http_token_upstream_module_t *um,
    ngx_array_t *array, ngx_str_t *header)
{
    u_char      *elt;
    ngx_uint_t   i;

    if (array == NULL) {
        return 0;
    }

    /* ngx_keyval_t and ngx_http_upstream_param_t both begin with the name */

    elt = array->elts;

    for (i = 0; i < array->nelts; i++) {

        if (ngx_http_token_upstream_module_replaces(um, (ngx_str_t *) elt,
                                                    header))
        {
            return 1;
        }

        elt += array->size;
    }

    return 0;
}


/* for CGI the header "X-Token" is the parameter HTTP_X_TOKEN */

static ngx_uint_t
ngx_http_token_upstream_module_replaces(ngx_http_token_upstream_module_t *um,
    ngx_str_t *name, ngx_str_t *header)
{
    u_char  ch;
    size_t  i, prefix;

    prefix = um->param ? sizeof("HTTP_") - 1 : 0;

    if (name->len != prefix + header->len
        || ngx_strncmp(name->data, "HTTP_", prefix) != 0)
    {
        return 0;
    }

    for (i = 0; i < header->len; i++) {

        ch = header->data[i];

        if (um->param && ch == '-') {
            ch = '_';
        }

        if (ngx_tolower(ch) != ngx_tolower(name->data[prefix + i])) {
            return 0;
        }
    }

    return 1;
}
