
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * cJSON takes more than RFC 8259 allows: a byte order mark, control characters
 * as white space and in strings, bytes that are not UTF-8, numbers such as
 * "01", and "\u" before anything.  Since its input is handed on as it is, the
 * bytes are held to the standard here; "\u0000" is refused too, as it would
 * end a C string.
 */


#include "ngx_http_token_module.h"


static u_char *ngx_http_token_json_strict_string(u_char *p, u_char *last);
static u_char *ngx_http_token_json_plain_bytes(u_char *p, u_char *last);
static u_char *ngx_http_token_json_strict_utf8(u_char *p, u_char *last);
static u_char *ngx_http_token_json_digits(u_char *p, u_char *last);


ngx_int_t
ngx_http_token_json_strict(u_char *p, u_char *last)
{
    while (p < last) {

        switch (*p) {

        case ' ': case '\t': case CR: case LF:
        case '{': case '}': case '[': case ']': case ':': case ',':
            p++;
            break;

        case '"':
            p = ngx_http_token_json_strict_string(p + 1, last);
            break;

        case '-':
        case '0': case '1': case '2': case '3': case '4':
        case '5': case '6': case '7': case '8': case '9':
            p = ngx_http_token_json_strict_number(p, last);
            break;

        default:
            /* true, false, null: cJSON knows no other words */

            if (*p < 'a' || *p > 'z') {
                return NGX_DECLINED;
            }

            p++;
        }

        if (p == NULL) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static u_char *
ngx_http_token_json_strict_string(u_char *p, u_char *last)
{
    for ( ;; ) {
        p = ngx_http_token_json_plain_bytes(p, last);

        if (p == last) {
            return NULL;
        }

        if (*p == '"') {
            return p + 1;
        }

        if (*p < 0x20) {
            return NULL;
        }

        if (*p == '\\') {
            if (last - p < 2) {
                return NULL;
            }

            if (p[1] != 'u') {
                p += 2;
                continue;
            }

            /* NGX_ERROR or zero: cJSON reads digits that are none as "0000" */

            if (last - p < 6 || ngx_hextoi(p + 2, 4) <= 0) {
                return NULL;
            }

            p += 6;
            continue;
        }

        if (*p < 0x80) {
            p++;
            continue;
        }

        p = ngx_http_token_json_strict_utf8(p, last);
        if (p == NULL) {
            return NULL;
        }
    }
}


/* skips what means nothing in a string, eight bytes at a time */

static u_char *
ngx_http_token_json_plain_bytes(u_char *p, u_char *last)
{
    uint64_t  w, quote, slash;

    const uint64_t  ones = 0x0101010101010101, tops = 0x8080808080808080;

    while (last - p >= 8) {
        ngx_memcpy(&w, p, 8);

        quote = w ^ (ones * '"');
        slash = w ^ (ones * '\\');

        /* what means something goes below zero, and may borrow from the next */

        w = (w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & tops;

        if (w) {
#if (NGX_HAVE_LITTLE_ENDIAN)
            p += __builtin_ctzll(w) / 8;
#endif
            break;
        }

        p += 8;
    }

    return p;
}


static u_char *
ngx_http_token_json_strict_utf8(u_char *p, u_char *last)
{
    u_char    *start;
    uint32_t   ch;

    start = p;

    ch = ngx_utf8_decode(&p, last - p);

    if (ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff)) {
        return NULL;
    }

    /* nginx's decoder takes any byte from 0x80 for a continuation */

    while (++start < p) {
        if ((*start & 0xc0) != 0x80) {
            return NULL;
        }
    }

    return p;
}


/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 section 6 */

u_char *
ngx_http_token_json_strict_number(u_char *p, u_char *last)
{
    if (*p == '-') {
        p++;
    }

    if (p < last && *p == '0') {
        p++;

    } else {
        p = ngx_http_token_json_digits(p, last);
    }

    if (p && p < last && *p == '.') {
        p = ngx_http_token_json_digits(p + 1, last);
    }

    if (p && p < last && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < last && (*p == '+' || *p == '-')) {
            p++;
        }

        p = ngx_http_token_json_digits(p, last);
    }

    if (p && p < last
        && ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')))
    {
        return NULL;
    }

    return p;
}


static u_char *
ngx_http_token_json_digits(u_char *p, u_char *last)
{
    u_char  *start;

    start = p;

    while (p < last && *p >= '0' && *p <= '9') {
        p++;
    }

    return (p == start) ? NULL : p;
}
