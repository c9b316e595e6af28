
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * A module for t/directives.t: nginx as it would be with another table of
 * directives.  "change_directive MODULE DIRECTIVE WHAT;" changes an entry of
 * another module's table when the directives before it have been read:
 *
 *     name     the directive has another name
 *     conf     its value is kept in the server's configuration
 *     set      its value is something else
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static char *change_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *change_nothing(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


static ngx_command_t  change_commands[] = {

    { ngx_string("change_directive"),
      NGX_HTTP_SRV_CONF|NGX_CONF_TAKE3,
      change_directive,
      0,
      0,
      NULL },

    ngx_null_command
};


static ngx_http_module_t  change_module_ctx = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
};


ngx_module_t  change_module = {
    NGX_MODULE_V1,
    &change_module_ctx,
    change_commands,
    NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};


/* what nginx looks for in a file with modules */

ngx_module_t  *ngx_modules[] = { &change_module, NULL };

char  *ngx_module_names[] = { "change_module", NULL };

char  *ngx_module_order[] = { NULL };


static char *
change_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t      *value;
    ngx_uint_t      i;
    ngx_command_t  *other;

    value = cf->args->elts;

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (ngx_strcmp(cf->cycle->modules[i]->name, value[1].data) == 0) {
            break;
        }
    }

    if (cf->cycle->modules[i] == NULL) {
        return "knows no such module";
    }

    for (other = cf->cycle->modules[i]->commands; other->name.len; other++) {

        if (ngx_strcmp(other->name.data, value[2].data) != 0) {
            continue;
        }

        if (ngx_strcmp(value[3].data, "name") == 0) {
            ngx_str_set(&other->name, "renamed");

        } else if (ngx_strcmp(value[3].data, "conf") == 0) {
            other->conf = NGX_HTTP_SRV_CONF_OFFSET;

        } else if (ngx_strcmp(value[3].data, "set") == 0) {
            other->set = change_nothing;

        } else {
            return "knows no such change";
        }

        return NGX_CONF_OK;
    }

    return "knows no such directive";
}


static char *
change_nothing(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return NGX_CONF_OK;
}
