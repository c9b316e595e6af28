
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * JSON, origins, headers, forms, and other helpers that know no token request.
 */


#ifndef _NGX_HTTP_TOKEN_UTIL_H_INCLUDED_
#define _NGX_HTTP_TOKEN_UTIL_H_INCLUDED_


#include "ngx_http_token.h"


/* ngx_http_token_json.c */

/*
 * Reads a JSON object (RFC 8259) into its members, in order; of two with one
 * name the last counts.  Returns NGX_OK, NGX_DECLINED if it is none, or
 * NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_token_json_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t **members);

/*
 * The same, with the members that these paths lead to (ngx_http_token_path_t)
 * under the names that the paths give them, in the place of outermost members
 * that have such a name or begin a path.
 */
ngx_int_t ngx_http_token_json_parse_paths(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t *list, ngx_array_t **members);

ngx_uint_t ngx_http_token_is_utf8(ngx_str_t *text);


/* ngx_http_token_paths.c */

typedef struct {
    ngx_array_t                    *list;     /* ngx_http_token_path_t */
    uint32_t                        all;      /* the set of them */
    ngx_http_token_member_t        *found;    /* one a path */
} ngx_http_token_paths_t;

/* Returns NGX_OK or NGX_ERROR; the list may be NULL. */
ngx_int_t ngx_http_token_paths_create(ngx_pool_t *pool, ngx_array_t *list,
    ngx_http_token_paths_t *paths);

/* Those of a set whose step n, from 0, is this name; nothing is found yet. */
uint32_t ngx_http_token_paths_step(ngx_http_token_paths_t *paths, uint32_t set,
    ngx_uint_t n, ngx_str_t *name);

/* Notes the member for those of a set whose last step is step n. */
void ngx_http_token_paths_end(ngx_http_token_paths_t *paths, uint32_t set,
    ngx_uint_t n, ngx_http_token_member_t *member);

/* Whether a path begins with an outermost member, or takes its name. */
ngx_uint_t ngx_http_token_paths_hide(ngx_http_token_paths_t *paths,
    ngx_str_t *name);

/* Adds what was found.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_paths_add(ngx_http_token_paths_t *paths,
    ngx_array_t *members);


/* ngx_http_token_json_text.c */

/*
 * Writes a name and a string, of UTF-8, as in an object.  Returns the end of
 * what was written, or with dst == NULL the length.
 */
uintptr_t ngx_http_token_json_pair(u_char *dst, ngx_str_t *name,
    ngx_str_t *value);

/* Whether a parameter is one of an array in JSON: its name ends with "[]". */
ngx_uint_t ngx_http_token_is_list(ngx_str_t *name);

/* Makes an object of a form's parameters.  Returns NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_token_form_json(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *json);


/* ngx_http_token_members.c */

/* Whether the value of a member "error" says that there is none. */
ngx_uint_t ngx_http_token_json_is_success(ngx_http_token_member_t *m);

ngx_http_token_member_t *ngx_http_token_json_find(ngx_array_t *members,
    char *name);

/*
 * Writes the object of the named fields in their order (all members if there
 * are no names).  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_json_subset(ngx_pool_t *pool, ngx_array_t *members,
    ngx_array_t *fields, ngx_str_t *text);

/* the place of a member in a text that has been written */

typedef struct {
    uint32_t                        key;      /* offsets in the text */
    uint32_t                        key_len;
    uint32_t                        value;
    uint32_t                        value_len;
} ngx_http_token_span_t;

/* The length of all members as an object; no field is named twice. */
size_t ngx_http_token_json_size(ngx_array_t *members);

/*
 * Writes the same object to p, where there is room for it, and the places of
 * the members that it has to spans, unless that is NULL.  Returns the end of
 * what was written.
 */
u_char *ngx_http_token_json_write(u_char *p, ngx_array_t *members,
    ngx_array_t *fields, ngx_http_token_span_t *spans);
u_char *ngx_http_token_json_write_member(u_char *p, u_char *text,
    ngx_http_token_member_t *member, ngx_http_token_span_t *span);


/* ngx_http_token_origin.c */

/*
 * Writes "scheme://host[:port]" in its normal form, in which equal origins
 * are equal strings, to origin->data, which has room for text->len bytes.
 * Returns NULL, or what is wrong in words.
 */
char *ngx_http_token_origin_normalize(ngx_str_t *text, ngx_str_t *origin);

ngx_http_token_origins_t *ngx_http_token_origins_create(ngx_conf_t *cf);

/* Adds an argument of the directive that is being parsed. */
char *ngx_http_token_origins_add(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text);

/* Makes a list ready once its last origin has been added. */
char *ngx_http_token_origins_init(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins);

/* Whether a list has just this string. */
ngx_uint_t ngx_http_token_origins_exact(ngx_http_token_origins_t *origins,
    ngx_str_t *name);

/* Whether a list allows an origin in its normal form, apart from "*". */
ngx_uint_t ngx_http_token_origins_match(ngx_http_token_origins_t *origins,
    ngx_str_t *origin, ngx_log_t *log);


/* ngx_http_token_headers.c */

/* Removes the CORS headers of the response.  Returns 0 if it has no Vary. */
ngx_uint_t ngx_http_token_cors_clean(ngx_http_request_t *r);

/* Adds a name to the response's Vary, if it is not there. */
ngx_int_t ngx_http_token_cors_vary(ngx_http_request_t *r, char *name);

/* Finds the last of n headers of the request by a name in small letters. */
#define ngx_http_token_cors_find(r, name, n)                                  \
    ngx_http_token_cors_find_header(r, (u_char *) name, sizeof(name) - 1, n)

ngx_table_elt_t *ngx_http_token_cors_find_header(ngx_http_request_t *r,
    u_char *name, size_t len, ngx_uint_t *n);

/*
 * Whether a header of the request has a name of that length.  For a header that
 * most requests do not have, this costs less than to look for it.
 */
static ngx_inline ngx_uint_t
ngx_http_token_has_header_of_length(ngx_http_request_t *r, size_t len)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == len) {
                return 1;
            }
        }
    }

    return 0;
}

/*
 * Takes the next name off a list of names with commas.  Returns 0 if there is
 * none.
 */
ngx_uint_t ngx_http_token_next_name(ngx_str_t *list, ngx_str_t *name);

/* Fills a header of the response that is new in its list. */
static ngx_inline void
ngx_http_token_fill_header(ngx_table_elt_t *h, ngx_str_t *name,
    ngx_str_t *value)
{
    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->key = *name;
    h->value = *value;
    h->lowcase_key = NULL;
}

/* Adds a header to the response.  Returns NULL if memory is out. */
ngx_table_elt_t *ngx_http_token_push_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);

/* The same, for a name that is a literal: the compiler knows its length. */
static ngx_inline ngx_table_elt_t *
ngx_http_token_add_header(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    ngx_str_t  key;

    key.len = ngx_strlen(name);
    key.data = (u_char *) name;

    return ngx_http_token_push_header(r, &key, value);
}

/* The first header with that name in any case, or NULL. */
ngx_table_elt_t *ngx_http_token_find_header(ngx_list_t *list, char *name);

/*
 * Walks through a list of headers: *part begins as its first part, *i as 0.
 * Returns the next header, or NULL at the end.
 */
ngx_table_elt_t *ngx_http_token_next_header(ngx_list_part_t **part,
    ngx_uint_t *i);


/* ngx_http_token_form.c */

/*
 * Encodes as application/x-www-form-urlencoded (RFC 6749 appendix B).
 * Returns the end of what was written, or with dst == NULL the length.
 */
uintptr_t ngx_http_token_form_encode(u_char *dst, ngx_str_t *src);

/* The reverse; dst has room for src.  Returns the end of what was written. */
u_char *ngx_http_token_form_decode(u_char *dst, ngx_str_t *src);

/*
 * Takes the next parameter off a form, as it is encoded.  Returns 0 if there is
 * none.
 */
ngx_uint_t ngx_http_token_form_next(ngx_str_t *form, ngx_str_t *name,
    ngx_str_t *value);

/* a caller's refresh grant, RFC 6749 6; decoded */

typedef struct {
    ngx_str_t                       type;
    ngx_str_t                       token;
    ngx_str_t                       scope;
    ngx_uint_t                      malformed;
} ngx_http_token_grant_t;

/*
 * Reads a form into a grant; other parameters are ignored.  Sets "malformed"
 * where it is none, or has a parameter twice.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_form_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_token_grant_t *grant);


/* ngx_http_token_resp.c */

/*
 * Bounds of a reply: how many values it has with those in arrays, how deep
 * these are, and the length of a line, of an error's code, and of a string.
 */

#define NGX_HTTP_TOKEN_RESP_VALUES  32
#define NGX_HTTP_TOKEN_RESP_DEPTH   4
#define NGX_HTTP_TOKEN_RESP_LINE    512
#define NGX_HTTP_TOKEN_RESP_CODE    20
#define NGX_HTTP_TOKEN_RESP_BULK    1048576

/* the largest of them: one string, and some room for what is around it */

#define NGX_HTTP_TOKEN_RESP_SIZE    (NGX_HTTP_TOKEN_RESP_BULK + 16384)

typedef struct {
    u_char                          type;     /* one of "+-:$*" */
    ngx_uint_t                      null;
    int64_t                         integer;  /* or how many values follow */
    ngx_str_t                       text;     /* a slice of the reply */
} ngx_http_token_resp_value_t;

/* a reply: its values in the order in which they came, arrays before theirs */

typedef struct {
    size_t                          size;     /* of its text */
    ngx_uint_t                      nvalues;
    ngx_http_token_resp_value_t     values[NGX_HTTP_TOKEN_RESP_VALUES];
} ngx_http_token_resp_t;

/*
 * Reads the first reply of a text.  Returns NGX_OK, NGX_AGAIN if the text ends
 * before it does, or NGX_ERROR if it is none, or exceeds a bound.
 */
ngx_int_t ngx_http_token_resp_parse(ngx_str_t *text,
    ngx_http_token_resp_t *resp);

/*
 * The code of a reply that is an error, and no other word of it; empty if it is
 * none.
 */
ngx_str_t ngx_http_token_resp_error(ngx_http_token_resp_t *resp);

/*
 * Writes a word of a command, of at most this length more than its own.
 * Returns the end of what was written.
 */

#define NGX_HTTP_TOKEN_RESP_WORD    (1 + NGX_SIZE_T_LEN + 2 + 2)

u_char *ngx_http_token_resp_word(u_char *p, ngx_str_t *word);


/* ngx_http_token_util.c */

/* The place of the directive that is being parsed. */
ngx_http_token_pos_t ngx_http_token_conf_pos(ngx_conf_t *cf);

/* As ngx_conf_log_error() does, for another place. */
void ngx_cdecl ngx_http_token_log(ngx_uint_t level, ngx_conf_t *cf,
    ngx_http_token_pos_t *pos, ngx_err_t err, const char *fmt, ...);

/*
 * A URL as a log shows it, without its query, which may hold secrets.  If it
 * has a user name, nothing but its scheme is shown.
 */
ngx_str_t ngx_http_token_log_url(ngx_str_t *url);

/*
 * Prepares u for ngx_parse_url().  Returns NULL, or what is wrong with the URL
 * in words.
 */
char *ngx_http_token_prepare_url(ngx_str_t *url, ngx_url_t *u);

/* Whether a URL has a user name, and so perhaps a password. */
ngx_uint_t ngx_http_token_url_has_user(ngx_str_t *url);

/*
 * Where the path of a URL begins.  Returns NULL if the URL has a Unix socket,
 * and no ":" behind that.
 */
u_char *ngx_http_token_url_path(ngx_str_t *url);

/* The host of a URL, with its port if there is one. */
ngx_str_t ngx_http_token_url_host(ngx_str_t *url);

/* Writes base64url without padding.  Returns the end of what was written. */
u_char *ngx_http_token_base64url(u_char *p, u_char *data, size_t len);

ngx_uint_t ngx_http_token_equals(ngx_str_t *s, char *text);
ngx_uint_t ngx_http_token_equals_nocase(ngx_str_t *s, char *text);

/*
 * nginx writes request headers and the values of variables to a debug log.
 * Where these are secrets, HTTP debugging is switched off in the log.  Returns
 * the level that has to be restored.
 */
ngx_uint_t ngx_http_token_debug_off(ngx_log_t *log);

/* Evaluates a value without a trace of it in the debug log. */
ngx_int_t ngx_http_token_secret_value(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *text);

/*
 * Checks a client id, a secret or a token: RFC 6749 appendix A.1, A.2 and A.12,
 * not empty.  Returns NULL, or what is wrong in words.
 */
char *ngx_http_token_check_credential(ngx_str_t *text);

/* a small file that has been read, or why not */

#define NGX_HTTP_TOKEN_MAX_FILE_SIZE  65536

typedef struct {
    ngx_str_t                       text;   /* and a NUL behind it */
    ngx_file_info_t                 info;
    char                           *wrong;  /* in words, or NULL */
    char                           *call;   /* that failed, or "" */
    ngx_err_t                       err;
} ngx_http_token_read_t;

/*
 * Reads a file, without one trailing newline, into the pool; its path ends with
 * a NUL.  Returns NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_token_read_file(ngx_pool_t *pool, ngx_log_t *log,
    ngx_str_t *path, ngx_http_token_read_t *file);


#endif /* _NGX_HTTP_TOKEN_UTIL_H_INCLUDED_ */
