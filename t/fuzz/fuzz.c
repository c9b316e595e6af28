
/*
 * What the fuzzers share: an nginx that is just alive enough for functions
 * that need a pool, a log, or a request's configuration.
 */


#include "fuzz.h"

#include <stdio.h>


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u_char *data, size_t size);


static void fuzz_log(ngx_log_t *log, ngx_uint_t level, u_char *buf,
    size_t len);


static ngx_cycle_t  fuzz_cycle;
static ngx_log_t    fuzz_cycle_log;


static char  *fuzz_field_names[] = {
    "access_token",
    "refresh_token",
    "expires_in",
    "token_type",
    "scope",
    "id_token"
};


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void) argc;
    (void) argv;

    ngx_pid = ngx_getpid();
    ngx_pagesize = getpagesize();
    ngx_cacheline_size = 64;
    ngx_use_stderr = 0;

    ngx_time_init();

    fuzz_cycle.log = &fuzz_cycle_log;
    ngx_cycle = &fuzz_cycle;

    ngx_core_module.index = 0;
    ngx_http_core_module.ctx_index = 0;
    ngx_http_token_module.ctx_index = 1;

    return 0;
}


int
LLVMFuzzerTestOneInput(const u_char *data, size_t size)
{
    fuzz_t  *fz;

    fz = calloc(1, sizeof(fuzz_t));
    fuzz_check(fz);

    fz->data = data;
    fz->size = size;

    fz->log.log_level = NGX_LOG_DEBUG;
    fz->log.writer = fuzz_log;
    fz->log.wdata = fz;

    fz->pool = ngx_create_pool(1024, &fz->log);
    fuzz_check(fz->pool);

    fz->connection.log = &fz->log;
    fz->connection.pool = fz->pool;

    fz->request.signature = NGX_HTTP_MODULE;
    fz->request.connection = &fz->connection;
    fz->request.pool = fz->pool;
    fz->request.main = &fz->request;
    fz->request.loc_conf = fz->conf;

    fz->conf[1] = &fz->tlcf;

    (void) fuzz_one(fz);

    ngx_destroy_pool(fz->pool);
    free(fz->logged.data);
    free(fz);

    return 0;
}


static void
fuzz_log(ngx_log_t *log, ngx_uint_t level, u_char *buf, size_t len)
{
    u_char  *p;
    fuzz_t  *fz;

    fz = log->wdata;

    /* what nginx logs of its pools, and of the parsing itself */

    if (level >= NGX_LOG_DEBUG) {
        return;
    }

    p = realloc(fz->logged.data, fz->logged.len + len);
    fuzz_check(p);

    ngx_memcpy(p + fz->logged.len, buf, len);

    fz->logged.data = p;
    fz->logged.len += len;
}


void
fuzz_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}


ngx_uint_t
fuzz_number(fuzz_t *fz, ngx_uint_t n)
{
    if (fz->size == 0) {
        return 0;
    }

    fz->size--;

    return *fz->data++ % n;
}


ngx_str_t
fuzz_text(fuzz_t *fz)
{
    size_t         len;
    ngx_str_t      text;
    const u_char  *end;

    end = fz->size ? memchr(fz->data, '\0', fz->size) : NULL;
    len = end ? (size_t) (end - fz->data) : fz->size;

    text.len = len;
    text.data = ngx_pnalloc(fz->pool, ngx_max(len, 1));
    fuzz_check(text.data);

    if (len) {
        ngx_memcpy(text.data, fz->data, len);
    }

    len += (end != NULL);

    fz->data += len;
    fz->size -= len;

    return text;
}


ngx_str_t
fuzz_rest(fuzz_t *fz)
{
    ngx_str_t  text;

    text.len = fz->size;
    text.data = ngx_pnalloc(fz->pool, ngx_max(text.len, 1));
    fuzz_check(text.data);

    if (text.len) {
        ngx_memcpy(text.data, fz->data, text.len);
    }

    fz->data += fz->size;
    fz->size = 0;

    return text;
}


ngx_str_t
fuzz_argument(fuzz_t *fz)
{
    u_char     *p;
    ngx_str_t   text;

    text = fuzz_text(fz);

    p = ngx_pnalloc(fz->pool, text.len + 1);
    fuzz_check(p);

    ngx_memcpy(p, text.data, text.len);
    p[text.len] = '\0';

    text.data = p;

    return text;
}


ngx_array_t *
fuzz_fields(fuzz_t *fz)
{
    ngx_str_t    *field;
    ngx_uint_t    i, n, mask;
    ngx_array_t  *fields;

    fields = ngx_array_create(fz->pool, 4, sizeof(ngx_str_t));
    fuzz_check(fields);

    mask = fuzz_number(fz, 256);

    for (i = 0; i < 6; i++) {
        n = (mask & 0x40) ? 5 - i : i;

        if (mask & (1 << n)) {
            field = ngx_array_push(fields);
            fuzz_check(field);

            field->data = (u_char *) fuzz_field_names[n];
            field->len = ngx_strlen(field->data);
        }
    }

    return fields;
}


ngx_uint_t
fuzz_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


ngx_uint_t
fuzz_contains(ngx_str_t *text, ngx_str_t *part)
{
    return part->len == 0
           || (text->len
               && memmem(text->data, text->len, part->data, part->len));
}
