
/*
 * VALUE.  Input: a byte for what it is, then the argument, the value of the
 * environment variable, or the content of the file.
 */


#include "fuzz.h"


static char  fuzz_file[] = "/tmp/fuzz-value-XXXXXX";


static void
fuzz_remove(void)
{
    (void) unlink(fuzz_file);
}


static void
fuzz_write(ngx_str_t *content)
{
    static int  fd = -1;

    if (fd == -1) {
        fd = mkstemp(fuzz_file);
        fuzz_check(fd != -1);
        (void) atexit(fuzz_remove);
    }

    fuzz_check(ftruncate(fd, 0) == 0);
    fuzz_check(pwrite(fd, content->data, content->len, 0)
               == (ssize_t) content->len);
}


static void
fuzz_value(fuzz_t *fz, ngx_conf_t *cf, ngx_uint_t kind)
{
    char                    *rv, *wrong;
    size_t                   i;
    ngx_str_t                arg, content;
    ngx_http_token_pos_t     pos;
    ngx_http_token_value_t   value;

    ngx_str_null(&content);

    switch (kind) {

    case 1:
        content = fuzz_argument(fz);
        fuzz_check(setenv("FUZZ", (char *) content.data, 1) == 0);
        ngx_str_set(&arg, "env:FUZZ");
        break;

    case 2:
        content = fuzz_rest(fz);
        fuzz_write(&content);

        arg.len = sizeof("file:") - 1 + ngx_strlen(fuzz_file);
        arg.data = ngx_pnalloc(fz->pool, arg.len + 1);
        fuzz_check(arg.data);

        ngx_sprintf(arg.data, "file:%s%Z", fuzz_file);
        break;

    default:
        arg = fuzz_argument(fz);

        if (ngx_strncmp(arg.data, "file:", 5) == 0) {
            return;
        }
    }

    pos.file = (u_char *) "fuzz";
    pos.line = 1;

    rv = ngx_http_token_compile_value(cf, &pos, &arg, &value);

    fuzz_check(rv == NGX_CONF_OK || rv == NGX_CONF_ERROR);

    if (rv == NGX_CONF_ERROR) {

        /* it is said why, in other words than the value's */

        fuzz_check(fz->logged.len);
        fuzz_check(content.len < 16 || !fuzz_contains(&fz->logged, &content));
        return;
    }

    /* nginx warns about files that all may read, words and captures */

    fuzz_check(fz->logged.len == 0 || kind != 1);

    if (value.complex) {
        fuzz_check(kind == 0);
        return;
    }

    fuzz_check(value.text.len);

    for (i = 0; i < value.text.len; i++) {
        fuzz_check(value.text.data[i]);
    }

    /* it ends with a NUL, as arguments do */

    fuzz_check(value.text.data[value.text.len] == '\0');

    if (kind) {
        fuzz_check(value.text.len <= content.len);
        fuzz_check(content.len - value.text.len <= (kind == 2 ? 2 : 0));
        fuzz_check(ngx_memcmp(value.text.data, content.data, value.text.len)
                   == 0);
    }

    wrong = ngx_http_token_check_credential(&value.text);

    for (i = 0; i < value.text.len; i++) {
        if (value.text.data[i] < 0x20 || value.text.data[i] > 0x7e) {
            fuzz_check(wrong);
            return;
        }
    }

    fuzz_check(wrong == NULL);
}


int
fuzz_one(fuzz_t *fz)
{
    void                       *main_conf[2], **core_conf[1];
    ngx_str_t                  *directive;
    ngx_conf_t                  cf;
    ngx_uint_t                  kind;
    ngx_cycle_t                 cycle;
    ngx_core_conf_t             ccf;
    ngx_conf_file_t             conf_file;
    ngx_http_conf_ctx_t         ctx;
    ngx_http_core_main_conf_t   cmcf;
    ngx_http_token_main_conf_t  tmcf;

    ngx_memzero(&cf, sizeof(ngx_conf_t));
    ngx_memzero(&cycle, sizeof(ngx_cycle_t));
    ngx_memzero(&ccf, sizeof(ngx_core_conf_t));
    ngx_memzero(&conf_file, sizeof(ngx_conf_file_t));
    ngx_memzero(&ctx, sizeof(ngx_http_conf_ctx_t));
    ngx_memzero(&cmcf, sizeof(ngx_http_core_main_conf_t));
    ngx_memzero(&tmcf, sizeof(ngx_http_token_main_conf_t));

    fuzz_check(ngx_array_init(&tmcf.names, fz->pool, 1,
                              sizeof(ngx_http_token_name_t))
               == NGX_OK);

    kind = fuzz_number(fz, 3);

    fuzz_check(ngx_array_init(&ccf.env, fz->pool, 1, sizeof(ngx_str_t))
               == NGX_OK);

    core_conf[0] = (void **) &ccf;
    cycle.conf_ctx = (void ****) core_conf;
    cycle.pool = fz->pool;
    cycle.log = &fz->log;
    ngx_str_set(&cycle.prefix, "/");
    ngx_str_set(&cycle.conf_prefix, "/");

    main_conf[0] = &cmcf;
    main_conf[1] = &tmcf;
    ctx.main_conf = main_conf;

    conf_file.file.fd = NGX_INVALID_FILE;
    ngx_str_set(&conf_file.file.name, "nginx.conf");
    conf_file.line = 1;

    cf.args = ngx_array_create(fz->pool, 1, sizeof(ngx_str_t));
    fuzz_check(cf.args);

    directive = ngx_array_push(cf.args);
    ngx_str_set(directive, "token_proxy_client_secret");

    cf.pool = fz->pool;
    cf.temp_pool = fz->pool;
    cf.log = &fz->log;
    cf.cycle = &cycle;
    cf.conf_file = &conf_file;
    cf.ctx = &ctx;

    fuzz_value(fz, &cf, kind);

    return 0;
}
