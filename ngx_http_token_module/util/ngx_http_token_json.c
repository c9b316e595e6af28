
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Reads a JSON object.  One pass checks every byte by RFC 8259 and finds the
 * members.
 */


#include "ngx_http_token_util.h"


#define NGX_HTTP_TOKEN_MAX_MEMBERS   256
#define NGX_HTTP_TOKEN_MAX_DEPTH     1000       /* of a member's value */


/* a text that is being read */

typedef struct {
    u_char                         *p;
    u_char                         *last;
    ngx_uint_t                      depth;
    ngx_pool_t                     *pool;
    ngx_array_t                    *members;  /* of the outermost object */
    ngx_http_token_paths_t          paths;
} ngx_http_token_json_t;


static ngx_int_t ngx_http_token_json_list(ngx_http_token_json_t *j,
    uint32_t set);
static ngx_int_t ngx_http_token_json_add(ngx_http_token_json_t *j,
    ngx_http_token_member_t *member);
static ngx_int_t ngx_http_token_json_member(ngx_http_token_json_t *j,
    uint32_t set, ngx_http_token_member_t *member);
static ngx_int_t ngx_http_token_json_value(ngx_http_token_json_t *j,
    uint32_t set, ngx_str_t *raw, ngx_str_t *string);
static ngx_int_t ngx_http_token_json_string(ngx_http_token_json_t *j,
    uint32_t set, ngx_str_t *string);
static u_char *ngx_http_token_json_skip_plain(u_char *p, u_char *last);
static ngx_int_t ngx_http_token_json_escape(u_char **pos, u_char *last);
static ngx_int_t ngx_http_token_json_utf8(u_char **pos, u_char *last);
static ngx_int_t ngx_http_token_json_decode(ngx_pool_t *pool,
    ngx_str_t *string);
static ngx_int_t ngx_http_token_json_number(ngx_http_token_json_t *j);
static ngx_int_t ngx_http_token_json_digits(ngx_http_token_json_t *j);
static ngx_int_t ngx_http_token_json_word(ngx_http_token_json_t *j,
    char *word);
static u_char ngx_http_token_json_next(ngx_http_token_json_t *j);


ngx_int_t
ngx_http_token_json_parse(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t **members)
{
    return ngx_http_token_json_parse_paths(pool, text, NULL, members);
}


ngx_int_t
ngx_http_token_json_parse_paths(ngx_pool_t *pool, ngx_str_t *text,
    ngx_array_t *list, ngx_array_t **members)
{
    ngx_int_t              rc;
    ngx_http_token_json_t  j;

    j.p = text->data;
    j.last = text->data + text->len;
    j.depth = 0;
    j.pool = pool;
    j.members = NULL;

    if (ngx_http_token_json_next(&j) != '{') {
        return NGX_DECLINED;
    }

    j.members = ngx_array_create(pool, 4, sizeof(ngx_http_token_member_t));

    if (j.members == NULL
        || ngx_http_token_paths_create(pool, list, &j.paths) != NGX_OK)
    {
        return NGX_ERROR;
    }

    *members = j.members;

    rc = ngx_http_token_json_list(&j, j.paths.all);

    if (rc != NGX_OK) {
        return rc;
    }

    (void) ngx_http_token_json_next(&j);

    if (j.p != j.last) {
        return NGX_DECLINED;
    }

    return ngx_http_token_paths_add(&j.paths, j.members);
}


/*
 * An object or an array, RFC 8259 sections 4 and 5, to which a set of paths
 * leads.
 */

static ngx_int_t
ngx_http_token_json_list(ngx_http_token_json_t *j, uint32_t set)
{
    u_char                   ch, end;
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_http_token_member_t  member;

    if (j->depth > NGX_HTTP_TOKEN_MAX_DEPTH) {
        return NGX_DECLINED;
    }

    j->depth++;

    end = (*j->p++ == '{') ? '}' : ']';

    for (n = 0; (ch = ngx_http_token_json_next(j)) != end; n++) {

        if (n) {
            if (ch != ',') {
                return NGX_DECLINED;
            }

            j->p++;
        }

        if (end == '}') {
            rc = ngx_http_token_json_member(j, set, &member);

        } else {
            rc = ngx_http_token_json_value(j, 0, &member.value,
                                           &member.string);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    j->p++;
    j->depth--;

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_json_member(ngx_http_token_json_t *j, uint32_t set,
    ngx_http_token_member_t *member)
{
    ngx_int_t   rc;
    ngx_uint_t  depth;

    depth = j->depth;

    if (ngx_http_token_json_next(j) != '"') {
        return NGX_DECLINED;
    }

    member->key.data = j->p;

    rc = ngx_http_token_json_string(j, set, &member->name);

    if (rc != NGX_OK) {
        return rc;
    }

    member->key.len = j->p - member->key.data;

    if (ngx_http_token_json_next(j) != ':') {
        return NGX_DECLINED;
    }

    j->p++;

    if (set) {
        set = ngx_http_token_paths_step(&j->paths, set, depth - 1,
                                        &member->name);
    }

    ngx_str_null(&member->string);

    rc = ngx_http_token_json_value(j, set, &member->value, &member->string);

    if (rc != NGX_OK) {
        return rc;
    }

    if (set) {
        ngx_http_token_paths_end(&j->paths, set, depth - 1, member);
    }

    if (depth == 1 && !ngx_http_token_paths_hide(&j->paths, &member->name)) {
        return ngx_http_token_json_add(j, member);
    }

    return NGX_OK;
}


/* of two members with one name the last counts */

static ngx_int_t
ngx_http_token_json_add(ngx_http_token_json_t *j,
    ngx_http_token_member_t *member)
{
    ngx_str_t                *name;
    ngx_uint_t                i;
    ngx_http_token_member_t  *m;

    if (j->members->nelts == NGX_HTTP_TOKEN_MAX_MEMBERS) {
        return NGX_DECLINED;
    }

    member->is_string = (member->value.data[0] == '"');

    /* escapes in a name that needs none are not kept */

    name = &member->name;

    if (member->key.len != name->len + 2
        && ngx_http_token_json_skip_plain(name->data, name->data + name->len)
           == name->data + name->len)
    {
        member->key.data = name->data - 1;
        member->key.len = name->len + 2;
    }

    m = j->members->elts;

    for (i = 0; i < j->members->nelts; i++) {
        if (m[i].name.len == name->len
            && ngx_memcmp(m[i].name.data, name->data, name->len) == 0)
        {
            m[i] = *member;
            return NGX_OK;
        }
    }

    m = ngx_array_push(j->members);
    if (m == NULL) {
        return NGX_ERROR;
    }

    *m = *member;

    return NGX_OK;
}


/* the bytes of a value, and the decoded text if it is a string */

static ngx_int_t
ngx_http_token_json_value(ngx_http_token_json_t *j, uint32_t set,
    ngx_str_t *raw, ngx_str_t *string)
{
    u_char     ch;
    ngx_int_t  rc;

    ch = ngx_http_token_json_next(j);

    raw->data = j->p;

    switch (ch) {

    case '"':
        rc = ngx_http_token_json_string(j, set, string);
        break;

    case '{': case '[':
        rc = ngx_http_token_json_list(j, set);
        break;

    case 't':
        rc = ngx_http_token_json_word(j, "true");
        break;

    case 'f':
        rc = ngx_http_token_json_word(j, "false");
        break;

    case 'n':
        rc = ngx_http_token_json_word(j, "null");
        break;

    default:
        rc = ngx_http_token_json_number(j);
    }

    raw->len = j->p - raw->data;

    return rc;
}


/* RFC 8259 section 7; it is decoded where a member or a path may need that */

static ngx_int_t
ngx_http_token_json_string(ngx_http_token_json_t *j, uint32_t set,
    ngx_str_t *string)
{
    ngx_uint_t  escapes;

    escapes = 0;

    string->data = ++j->p;

    for ( ;; ) {
        j->p = ngx_http_token_json_skip_plain(j->p, j->last);

        if (j->p == j->last) {
            return NGX_DECLINED;
        }

        if (*j->p == '"') {
            break;
        }

        if (*j->p == '\\') {
            escapes = 1;

            if (ngx_http_token_json_escape(&j->p, j->last) == NGX_ERROR) {
                return NGX_DECLINED;
            }

            continue;
        }

        if (ngx_http_token_json_utf8(&j->p, j->last) != NGX_OK) {
            return NGX_DECLINED;
        }
    }

    string->len = j->p++ - string->data;

    return (escapes && (j->depth == 1 || set))
           ? ngx_http_token_json_decode(j->pool, string) : NGX_OK;
}


/*
 * Skips the plain characters of a string: ASCII but for control characters,
 * quotes and backslashes.  A token has hundreds of them, so eight are tested
 * together.  Any other byte sets its top bit in one of two differences: control
 * characters and the quote (0x22 ^ 0x02) are below 0x21, the backslash is 0
 * before 1 is subtracted, and what is no ASCII has the top bit already.
 */

static u_char *
ngx_http_token_json_skip_plain(u_char *p, u_char *last)
{
    size_t    n;
    uint64_t  w;

    const uint64_t  ones = 0x0101010101010101;

    for (n = (size_t) (last - p) / 8; n; n--) {

        ngx_memcpy(&w, p, 8);

        if ((((w ^ ones * 0x02) - ones * 0x21) | ((w ^ ones * '\\') - ones))
            & ones * 0x80)
        {
            break;
        }

        p += 8;
    }

    while (p < last && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') {
        p++;
    }

    return p;
}


/*
 * The character that an escape stands for, or NGX_ERROR: also for "\u0000",
 * which would end a C string.
 */

static ngx_int_t
ngx_http_token_json_escape(u_char **pos, u_char *last)
{
    u_char     *p;
    ngx_int_t   ch, low;

    p = *pos;

    if (last - p < 2) {
        return NGX_ERROR;
    }

    *pos = p + 2;

    switch (p[1]) {

    case '"': case '\\': case '/':
        return p[1];

    case 'b':
        return '\b';

    case 'f':
        return '\f';

    case 'n':
        return LF;

    case 'r':
        return CR;

    case 't':
        return '\t';

    case 'u':
        break;

    default:
        return NGX_ERROR;
    }

    ch = (last - p < 6) ? NGX_ERROR : ngx_hextoi(p + 2, 4);

    if (ch <= 0) {
        return NGX_ERROR;
    }

    *pos = p + 6;

    if (ch < 0xd800 || ch > 0xdfff) {
        return ch;
    }

    /* a surrogate pair, the high one first */

    p += 6;

    if (ch > 0xdbff || last - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return NGX_ERROR;
    }

    low = ngx_hextoi(p + 2, 4);

    if (low < 0xdc00 || low > 0xdfff) {
        return NGX_ERROR;
    }

    *pos = p + 6;

    return 0x10000 + ((ch - 0xd800) << 10) + (low - 0xdc00);
}


/*
 * ngx_utf8_decode() reads 0xf8 as 0xf0, and takes any byte from 0x80 on as a
 * continuation: so both are checked here.
 */

static ngx_int_t
ngx_http_token_json_utf8(u_char **pos, u_char *last)
{
    u_char    *p;
    uint32_t   ch;

    p = *pos;

    ch = ngx_utf8_decode(pos, last - p);

    if (ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff) || *p > 0xf4) {
        return NGX_DECLINED;
    }

    while (++p < *pos) {
        if ((*p & 0xc0) != 0x80) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_token_is_utf8(ngx_str_t *text)
{
    u_char  *p, *last;

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {
            p++;
            continue;
        }

        if (ngx_http_token_json_utf8(&p, last) != NGX_OK) {
            return 0;
        }
    }

    return 1;
}


/* decodes a string between quotes, whose escapes have been checked */

static ngx_int_t
ngx_http_token_json_decode(ngx_pool_t *pool, ngx_str_t *string)
{
    u_char     *p, *last, *dst;
    ngx_int_t   ch;

    p = string->data;
    last = p + string->len;

    dst = ngx_pnalloc(pool, string->len + 2);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    *dst++ = '"';

    string->data = dst;

    while (p < last) {

        if (*p != '\\') {
            *dst++ = *p++;
            continue;
        }

        ch = ngx_http_token_json_escape(&p, last);

        /* RFC 3629 section 3 */

        if (ch < 0x80) {
            *dst++ = (u_char) ch;
            continue;
        }

        if (ch < 0x800) {
            *dst++ = (u_char) (0xc0 | (ch >> 6));

        } else {
            if (ch < 0x10000) {
                *dst++ = (u_char) (0xe0 | (ch >> 12));

            } else {
                *dst++ = (u_char) (0xf0 | (ch >> 18));
                *dst++ = (u_char) (0x80 | ((ch >> 12) & 0x3f));
            }

            *dst++ = (u_char) (0x80 | ((ch >> 6) & 0x3f));
        }

        *dst++ = (u_char) (0x80 | (ch & 0x3f));
    }

    *dst = '"';

    string->len = dst - string->data;

    return NGX_OK;
}


/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 section 6 */

static ngx_int_t
ngx_http_token_json_number(ngx_http_token_json_t *j)
{
    if (j->p < j->last && *j->p == '-') {
        j->p++;
    }

    if (j->p < j->last && *j->p == '0') {
        j->p++;

    } else if (ngx_http_token_json_digits(j) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (j->p < j->last && *j->p == '.') {
        j->p++;

        if (ngx_http_token_json_digits(j) != NGX_OK) {
            return NGX_DECLINED;
        }
    }

    if (j->p < j->last && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;

        if (j->p < j->last && (*j->p == '+' || *j->p == '-')) {
            j->p++;
        }

        return ngx_http_token_json_digits(j);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_token_json_digits(ngx_http_token_json_t *j)
{
    u_char  *start;

    start = j->p;

    while (j->p < j->last && *j->p >= '0' && *j->p <= '9') {
        j->p++;
    }

    return (j->p == start) ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_http_token_json_word(ngx_http_token_json_t *j, char *word)
{
    size_t  len;

    len = ngx_strlen(word);

    if ((size_t) (j->last - j->p) < len || ngx_memcmp(j->p, word, len) != 0) {
        return NGX_DECLINED;
    }

    j->p += len;

    return NGX_OK;
}


/* the next character but for white space, or 0 at the end */

static u_char
ngx_http_token_json_next(ngx_http_token_json_t *j)
{
    u_char  ch;

    for ( /* void */ ; j->p < j->last; j->p++) {

        ch = *j->p;

        if (ch != ' ' && ch != '\t' && ch != CR && ch != LF) {
            return ch;
        }
    }

    return 0;
}
