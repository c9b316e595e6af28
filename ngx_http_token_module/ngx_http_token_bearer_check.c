
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * What in a location with token_proxy_bearer would keep the token from the API.
 */


#include "ngx_http_token_conf.h"


/*
 * Modules whose location configuration begins with that of the upstream code,
 * and the directive that has precedence over headers of the request.
 */

typedef struct {
    char                           *module;
    char                           *directive;
    char                           *off;     /* passes no headers at all */
    ngx_uint_t                      param;   /* of CGI, not a header */
} ngx_http_token_rival_t;


static char *ngx_http_token_rival_wins(ngx_conf_t *cf,
    ngx_http_token_place_t *place, ngx_http_token_rival_t *rival);
static ngx_module_t *ngx_http_token_rival_module(ngx_conf_t *cf,
    ngx_http_token_rival_t *rival);
static ngx_array_t *ngx_http_token_rival_field(ngx_module_t *module,
    char *directive, void *conf);
static ngx_uint_t ngx_http_token_rival_is(ngx_http_token_rival_t *rival,
    ngx_str_t *name, ngx_str_t *header);


static ngx_http_token_rival_t  ngx_http_token_rivals[] = {

    { "ngx_http_proxy_module", "proxy_set_header",
      "proxy_pass_request_headers off", 0 },

    { "ngx_http_grpc_module", "grpc_set_header", "", 0 },

    { "ngx_http_fastcgi_module", "fastcgi_param",
      "fastcgi_pass_request_headers off", 1 },

    { "ngx_http_uwsgi_module", "uwsgi_param",
      "uwsgi_pass_request_headers off", 1 },

    { "ngx_http_scgi_module", "scgi_param",
      "scgi_pass_request_headers off", 1 },

    { NULL, NULL, NULL, 0 }
};


char *
ngx_http_token_bearer_check(ngx_conf_t *cf, ngx_http_token_place_t *place)
{
    char                       *wrong;
    ngx_http_token_rival_t     *rival;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = place->tlcf;

    for (rival = ngx_http_token_rivals; rival->module; rival++) {

        wrong = ngx_http_token_rival_wins(cf, place, rival);

        if (wrong) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"%s\" in location \"%V\" would replace the header "
                          "\"%V\" of \"token_proxy_bearer\" in %s:%ui",
                          wrong, &place->location->name, &tlcf->bearer_header,
                          tlcf->bearer_file, tlcf->bearer_line);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* what does it, or NULL */

static char *
ngx_http_token_rival_wins(ngx_conf_t *cf, ngx_http_token_place_t *place,
    ngx_http_token_rival_t *rival)
{
    u_char                     *elt;
    ngx_uint_t                  i;
    ngx_array_t                *array;
    ngx_module_t               *module;
    ngx_http_upstream_conf_t   *ucf;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = place->tlcf;

    module = ngx_http_token_rival_module(cf, rival);
    if (module == NULL) {
        return NULL;
    }

    ucf = tlcf->loc_conf[module->ctx_index];

    /* of the proxy module the content handler is known, of others it is not */

    if ((module->ctx_index == ngx_http_proxy_module.ctx_index)
        ? tlcf->bearer_handler != tlcf->bearer_location->proxy_handler
        : ucf->upstream == NULL)
    {
        return NULL;
    }

    if (!ucf->pass_request_headers) {
        return rival->off;
    }

    array = ngx_http_token_rival_field(module, rival->directive, ucf);

    if (array == NULL) {
        return NULL;
    }

    /* each element begins with a name */

    elt = array->elts;

    for (i = 0; i < array->nelts; i++) {

        if (ngx_http_token_rival_is(rival, (ngx_str_t *) elt,
                                    &tlcf->bearer_header))
        {
            return rival->directive;
        }

        elt += array->size;
    }

    return NULL;
}


static ngx_module_t *
ngx_http_token_rival_module(ngx_conf_t *cf, ngx_http_token_rival_t *rival)
{
    ngx_uint_t      i;
    ngx_module_t  **modules;

    modules = cf->cycle->modules;

    for (i = 0; modules[i]; i++) {
        if (ngx_strcmp(modules[i]->name, rival->module) == 0) {
            return modules[i];
        }
    }

    /* nginx was built without it */

    return NULL;
}


static ngx_array_t *
ngx_http_token_rival_field(ngx_module_t *module, char *directive, void *conf)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, directive) == 0) {
            return *(ngx_array_t **) ((u_char *) conf + cmd->offset);
        }
    }

    return NULL;
}


/* "X-Token" and the parameter HTTP_X_TOKEN are one */

static ngx_uint_t
ngx_http_token_rival_is(ngx_http_token_rival_t *rival, ngx_str_t *name,
    ngx_str_t *header)
{
    u_char  ch;
    size_t  i, prefix;

    prefix = rival->param ? sizeof("HTTP_") - 1 : 0;

    if (name->len != prefix + header->len
        || ngx_strncmp(name->data, "HTTP_", prefix) != 0)
    {
        return 0;
    }

    for (i = 0; i < header->len; i++) {

        ch = header->data[i];

        if (rival->param && ch == '-') {
            ch = '_';
        }

        if (ngx_tolower(ch) != ngx_tolower(name->data[prefix + i])) {
            return 0;
        }
    }

    return 1;
}
