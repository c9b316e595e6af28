
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A module for t/response_headers.t: "response_header NAME VALUE;" adds
 * a header to the response before the content handler is called, as a script
 * in Perl or JavaScript does.  No NUL follows the name: its value does.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static ngx_int_t headers_init(ngx_conf_t *cf);
static void *headers_create_conf(ngx_conf_t *cf);
static ngx_int_t headers_handler(ngx_http_request_t *r);


static ngx_command_t  headers_commands[] = {

    { ngx_string("response_header"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_conf_set_keyval_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    ngx_null_command
};


static ngx_http_module_t  headers_module_ctx = {
    NULL, headers_init, NULL, NULL, NULL, NULL, headers_create_conf, NULL
};


ngx_module_t  headers_module = {
    NGX_MODULE_V1,
    &headers_module_ctx,
    headers_commands,
    NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};


/* what nginx looks for in a file with modules */

ngx_module_t  *ngx_modules[] = { &headers_module, NULL };

char  *ngx_module_names[] = { "headers_module", NULL };

char  *ngx_module_order[] = { NULL };


static void *
headers_create_conf(ngx_conf_t *cf)
{
    ngx_array_t  **headers;

    headers = ngx_palloc(cf->pool, sizeof(ngx_array_t *));

    if (headers) {
        *headers = NGX_CONF_UNSET_PTR;
    }

    return headers;
}


static ngx_int_t
headers_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = headers_handler;

    return NGX_OK;
}


static ngx_int_t
headers_handler(ngx_http_request_t *r)
{
    ngx_uint_t         i;
    ngx_array_t      **headers;
    ngx_keyval_t      *kv;
    ngx_table_elt_t   *h;

    headers = ngx_http_get_module_loc_conf(r, headers_module);

    if (*headers == NGX_CONF_UNSET_PTR) {
        return NGX_DECLINED;
    }

    kv = (*headers)->elts;

    for (i = 0; i < (*headers)->nelts; i++) {

        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));

        h->hash = 1;

        h->key.len = kv[i].key.len;
        h->key.data = ngx_pstrdup(r->pool, &kv[i].key);

        h->value.len = kv[i].value.len;
        h->value.data = ngx_pstrdup(r->pool, &kv[i].value);

        if (h->key.data == NULL || h->value.data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_DECLINED;
}
