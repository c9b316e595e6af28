
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Files that directives name.  What is in one is read again when the file has
 * changed, by a worker that may read it; if what is found is of no use, what
 * was read before is kept.
 */


#include "ngx_http_token_endpoint.h"


/*
 * A file may be written twice in one second of its time.  One that is so young,
 * in seconds, is read again, and not before it is older if it was there before.
 */

#define NGX_HTTP_TOKEN_YOUNG_FILE  2


static void ngx_http_token_watch_cleanup(void *data);
static void ngx_http_token_watch_forget(ngx_http_token_watch_t *watch);
static ngx_uint_t ngx_http_token_watch_due(ngx_http_token_watch_t *watch,
    ngx_log_t *log);
static void ngx_http_token_watch_note(ngx_http_token_watch_t *watch,
    ngx_file_info_t *fi);
static char *ngx_http_token_watch_check(ngx_http_token_watch_t *watch,
    ngx_str_t *text);


ngx_http_token_watch_t *
ngx_http_token_watch_create(ngx_conf_t *cf, ngx_str_t *name,
    ngx_http_token_read_t *read)
{
    ngx_str_t               *directive;
    ngx_pool_cleanup_t      *cln;
    ngx_http_token_watch_t  *watch;

    watch = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_watch_t));
    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (watch == NULL || cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_token_watch_cleanup;
    cln->data = watch;

    directive = cf->args->elts;

    watch->name = *name;
    watch->directive = *directive;
    watch->text = read->text;

    ngx_http_token_watch_note(watch, &read->info);

    return watch;
}


static void
ngx_http_token_watch_cleanup(void *data)
{
    ngx_http_token_watch_forget(data);
}


static void
ngx_http_token_watch_forget(ngx_http_token_watch_t *watch)
{
    ngx_explicit_memzero(watch->text.data, watch->text.len);

    if (watch->allocated) {
        ngx_free(watch->text.data);
        watch->allocated = 0;
    }

    ngx_str_null(&watch->text);
}


ngx_int_t
ngx_http_token_watch_text(ngx_http_token_watch_t *watch, ngx_http_request_t *r,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_log_t  *log;

    log = r->connection->log;

    if (ngx_http_token_watch_look(watch, r, text) == NGX_OK
        && (text->len != watch->text.len
            || ngx_memcmp(text->data, watch->text.data, text->len) != 0))
    {
        p = ngx_alloc(text->len, log);
        if (p == NULL) {
            watch->unread = 1;
            return NGX_ERROR;
        }

        ngx_memcpy(p, text->data, text->len);

        ngx_http_token_watch_forget(watch);

        watch->text.data = p;
        watch->text.len = text->len;
        watch->allocated = 1;

        ngx_http_token_watch_notice(watch, log);

        return NGX_OK;
    }

    /* a copy: the file may change while the request goes on */

    text->len = watch->text.len;
    text->data = ngx_pstrdup(r->pool, &watch->text);

    return text->data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_token_watch_look(ngx_http_token_watch_t *watch, ngx_http_request_t *r,
    ngx_str_t *text)
{
    char                   *wrong;
    ngx_log_t              *log;
    ngx_http_token_read_t   file;

    log = r->connection->log;

    if (!ngx_http_token_watch_due(watch, log)) {
        return NGX_DECLINED;
    }

    if (ngx_http_token_read_file(r->pool, log, &watch->name, &file) != NGX_OK)
    {
        if (file.wrong) {
            ngx_http_token_watch_warn(watch, log, file.err, file.call,
                                      file.wrong);
        }

        /* what keeps it from being read may end without a trace in the file */

        watch->unread = (file.wrong == NULL || file.err);

        return NGX_DECLINED;
    }

    /* it may be another one than a moment ago */

    ngx_http_token_watch_note(watch, &file.info);

    if (watch->unread) {
        watch->unread = 0;
        watch->changed = 1;
    }

    wrong = ngx_http_token_watch_check(watch, &file.text);

    if (wrong) {
        ngx_http_token_watch_warn(watch, log, 0, "", wrong);
        ngx_explicit_memzero(file.text.data, file.text.len);

        return NGX_DECLINED;
    }

    *text = file.text;

    return NGX_OK;
}


/* whether the file is to be read: it has changed, or may have */

static ngx_uint_t
ngx_http_token_watch_due(ngx_http_token_watch_t *watch, ngx_log_t *log)
{
    time_t           now;
    ngx_err_t        err;
    ngx_file_info_t  fi;

    now = ngx_time();

    if (watch->looked == now) {
        return 0;
    }

    watch->looked = now;

    if (ngx_file_info(watch->name.data, &fi) == NGX_FILE_ERROR) {

        err = ngx_errno;

        /* what only root may look at is what was read at the start */

        if (err == NGX_EACCES) {
            return 0;
        }

        ngx_memzero(&fi, sizeof(ngx_file_info_t));

        watch->changed = 0;

        ngx_http_token_watch_note(watch, &fi);
        ngx_http_token_watch_warn(watch, log, err, ngx_file_info_n " ",
                                  "failed");
        return 0;
    }

    watch->changed = 0;

    if (fi.st_dev == watch->dev && ngx_file_uniq(&fi) == watch->uniq
        && ngx_file_mtime(&fi) <= now
        && now - ngx_file_mtime(&fi) < NGX_HTTP_TOKEN_YOUNG_FILE)
    {
        /* the same file is written to, and may be half written */
        return 0;
    }

    if (!watch->unread
        && watch->read - watch->mtime >= NGX_HTTP_TOKEN_YOUNG_FILE
        && fi.st_dev == watch->dev
        && ngx_file_uniq(&fi) == watch->uniq
        && ngx_file_mtime(&fi) == watch->mtime
        && ngx_file_size(&fi) == watch->size)
    {
        return 0;
    }

    ngx_http_token_watch_note(watch, &fi);

    return 1;
}


static void
ngx_http_token_watch_note(ngx_http_token_watch_t *watch, ngx_file_info_t *fi)
{
    if (fi->st_dev != watch->dev
        || ngx_file_uniq(fi) != watch->uniq
        || ngx_file_mtime(fi) != watch->mtime
        || ngx_file_size(fi) != watch->size)
    {
        watch->changed = 1;
    }

    watch->dev = fi->st_dev;
    watch->uniq = ngx_file_uniq(fi);
    watch->mtime = ngx_file_mtime(fi);
    watch->size = ngx_file_size(fi);
    watch->read = ngx_time();
}


static char *
ngx_http_token_watch_check(ngx_http_token_watch_t *watch, ngx_str_t *text)
{
    u_char  *last;

    last = text->data + text->len;

    if (text->len == 0) {
        return "is empty";
    }

    if (ngx_strlchr(text->data, last, '\0')) {
        return "contains a NUL";
    }

    if (watch->no_colon && ngx_strlchr(text->data, last, ':')) {
        return "contains a colon";
    }

    if (watch->utf8 && !ngx_http_token_is_utf8(text)) {
        return "is not UTF-8";
    }

    return watch->check ? watch->check(text) : NULL;
}


void
ngx_http_token_watch_warn(ngx_http_token_watch_t *watch, ngx_log_t *log,
    ngx_err_t err, char *call, char *wrong)
{
    if (watch->changed) {
        ngx_log_error(NGX_LOG_WARN, log, err,
                      "%s\"%V\" of \"%V\" %s, what was read before is used",
                      call, &watch->name, &watch->directive, wrong);
    }
}


void
ngx_http_token_watch_notice(ngx_http_token_watch_t *watch, ngx_log_t *log)
{
    if (watch->changed) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "\"%V\" of \"%V\" has changed and was read again",
                      &watch->name, &watch->directive);
    }
}
