
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Files whose paths have variables, such as the secrets of many tenants.  Their
 * contents are kept in the worker for a while; if there are too many of them,
 * those that were used least recently are dropped.
 */


#include "ngx_http_token_endpoint.h"


#define NGX_HTTP_TOKEN_FILES  1024


typedef struct {
    ngx_str_node_t                  sn;     /* by path */
    ngx_queue_t                     queue;  /* by last use */
    time_t                          read;   /* when it was read */
    size_t                          len;
    u_char                         *text;   /* behind the path */
} ngx_http_token_file_t;


static ngx_int_t ngx_http_token_file_name(ngx_http_request_t *r,
    ngx_str_t *path);
static ngx_int_t ngx_http_token_file_load(ngx_http_request_t *r,
    ngx_str_t *path, uint32_t hash, ngx_str_t *text);
static ngx_http_token_file_t *ngx_http_token_file_copy(ngx_log_t *log,
    ngx_str_t *path, ngx_str_t *text);
static void ngx_http_token_file_keep(ngx_http_token_file_t *file,
    uint32_t hash);
static void ngx_http_token_file_drop(ngx_http_token_file_t *file);


static ngx_rbtree_t       ngx_http_token_files;
static ngx_rbtree_node_t  ngx_http_token_files_sentinel;
static ngx_queue_t        ngx_http_token_files_queue;
static ngx_uint_t         ngx_http_token_nfiles;


ngx_int_t
ngx_http_token_file(ngx_http_request_t *r, ngx_str_t *path, time_t valid,
    ngx_str_t *text)
{
    time_t                  now;
    uint32_t                hash;
    ngx_http_token_file_t  *file;

    if (ngx_http_token_file_name(r, path) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_token_files.root == NULL) {
        ngx_rbtree_init(&ngx_http_token_files, &ngx_http_token_files_sentinel,
                        ngx_str_rbtree_insert_value);
        ngx_queue_init(&ngx_http_token_files_queue);
    }

    hash = ngx_crc32_long(path->data, path->len);

    /* the node is the first member */

    file = (ngx_http_token_file_t *)
               ngx_str_rbtree_lookup(&ngx_http_token_files, path, hash);

    now = ngx_time();

    /* or the clock has been set back since */

    if (file && (now - file->read >= valid || now < file->read)) {
        ngx_http_token_file_drop(file);
        file = NULL;
    }

    if (file == NULL) {
        return ngx_http_token_file_load(r, path, hash, text);
    }

    ngx_queue_remove(&file->queue);
    ngx_queue_insert_head(&ngx_http_token_files_queue, &file->queue);

    /* a copy: the file may be dropped while the request goes on */

    text->len = file->len;
    text->data = ngx_pnalloc(r->pool, file->len + 1);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(text->data, file->text, file->len);

    return NGX_OK;
}


void
ngx_http_token_files_done(ngx_cycle_t *cycle)
{
    ngx_queue_t  *q;

    while (ngx_http_token_nfiles) {
        q = ngx_queue_last(&ngx_http_token_files_queue);

        ngx_http_token_file_drop(ngx_queue_data(q, ngx_http_token_file_t,
                                                queue));
    }
}


/* a variable may be what a caller sent: it chooses a name, not a directory */

static ngx_int_t
ngx_http_token_file_name(ngx_http_request_t *r, ngx_str_t *path)
{
    u_char  *p;
    size_t   i;

    for (i = 0; i < path->len; i++) {

        if (path->data[i] == '\0'
            || (path->data[i] == '.' && i + 1 < path->len
                && path->data[i + 1] == '.'
                && (i == 0 || path->data[i - 1] == '/')
                && (i + 2 == path->len || path->data[i + 2] == '/')))
        {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "path of a \"file:\" value leaves its directory");
            return NGX_ERROR;
        }
    }

    p = ngx_pnalloc(r->pool, path->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(p, path->data, path->len) = '\0';
    path->data = p;

    return ngx_get_full_name(r->pool, (ngx_str_t *) &ngx_cycle->conf_prefix,
                             path);
}


static ngx_int_t
ngx_http_token_file_load(ngx_http_request_t *r, ngx_str_t *path, uint32_t hash,
    ngx_str_t *text)
{
    ngx_log_t              *log;
    ngx_http_token_read_t   read;
    ngx_http_token_file_t  *file;

    log = r->connection->log;

    if (ngx_http_token_read_file(r->pool, log, path, &read) != NGX_OK) {

        if (read.wrong) {
            ngx_log_error(NGX_LOG_ERR, log, read.err, "%s\"%V\" %s",
                          read.call, path, read.wrong);
        }

        return NGX_ERROR;
    }

    if (read.text.len == 0) {

        /* it may be about to be written, so this is not kept */

        ngx_log_error(NGX_LOG_ERR, log, 0, "\"%V\" is empty", path);
        return NGX_ERROR;
    }

    file = ngx_http_token_file_copy(log, path, &read.text);
    if (file == NULL) {
        return NGX_ERROR;
    }

    ngx_http_token_file_keep(file, hash);

    *text = read.text;

    return NGX_OK;
}


static ngx_http_token_file_t *
ngx_http_token_file_copy(ngx_log_t *log, ngx_str_t *path, ngx_str_t *text)
{
    u_char                 *p;
    ngx_http_token_file_t  *file;

    file = ngx_alloc(sizeof(ngx_http_token_file_t) + path->len + text->len,
                     log);
    if (file == NULL) {
        return NULL;
    }

    p = (u_char *) file + sizeof(ngx_http_token_file_t);

    file->sn.str.len = path->len;
    file->sn.str.data = p;
    file->text = ngx_cpymem(p, path->data, path->len);
    file->len = text->len;
    file->read = ngx_time();

    ngx_memcpy(file->text, text->data, text->len);

    return file;
}


static void
ngx_http_token_file_keep(ngx_http_token_file_t *file, uint32_t hash)
{
    ngx_queue_t  *q;

    if (ngx_http_token_nfiles == NGX_HTTP_TOKEN_FILES) {
        q = ngx_queue_last(&ngx_http_token_files_queue);

        ngx_http_token_file_drop(ngx_queue_data(q, ngx_http_token_file_t,
                                                queue));
    }

    file->sn.node.key = hash;

    ngx_rbtree_insert(&ngx_http_token_files, &file->sn.node);
    ngx_queue_insert_head(&ngx_http_token_files_queue, &file->queue);

    ngx_http_token_nfiles++;
}


static void
ngx_http_token_file_drop(ngx_http_token_file_t *file)
{
    ngx_rbtree_delete(&ngx_http_token_files, &file->sn.node);
    ngx_queue_remove(&file->queue);

    ngx_http_token_nfiles--;

    ngx_explicit_memzero(file->text, file->len);

    ngx_free(file);
}
