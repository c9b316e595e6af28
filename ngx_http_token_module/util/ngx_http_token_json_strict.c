
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * cJSON takes more than RFC 8259 allows: a byte order mark, control characters
 * as white space and in strings, bytes that are not UTF-8, numbers such as
 * "01", and "\u" before anything.  Since its input is handed on as it is, the
 * bytes are held to the standard here; "\u0000" is refused too, as it would
 * end a C string.
 */


#include "ngx_http_token_util.h"


static u_char *ngx_http_token_json_string_slow(u_char *p, u_char *last);
static ngx_uint_t ngx_http_token_json_is_unescaped(u_char *p, u_char *last);
static u_char *ngx_http_token_json_strict_escape(u_char *p, u_char *last);
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
            p = ngx_http_token_json_strict_string(p, last);
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


/* from one quote to behind the other */

u_char *
ngx_http_token_json_strict_string(u_char *p, u_char *last)
{
    u_char  *end;

    p++;

    end = memchr(p, '"', last - p);

    if (end == NULL) {
        return NULL;
    }

    if (ngx_http_token_json_is_unescaped(p, end)) {
        return end + 1;
    }

    return ngx_http_token_json_string_slow(p, last);
}


/*
 * Whether there is nothing but ASCII without control characters and escapes,
 * as in every token: a long string costs little when it is seen in words of
 * eight bytes.  A doubt says no.
 */

static ngx_uint_t
ngx_http_token_json_is_unescaped(u_char *p, u_char *last)
{
    uint64_t  w, odd;

    const uint64_t  ones = 0x0101010101010101;

    odd = 0;

    for ( /* void */ ; last - p >= 8; p += 8) {
        ngx_memcpy(&w, p, 8);

        /* the top bit of a byte that is too high, too low, or a backslash */

        odd |= w | (w - ones * 0x20) | ((w ^ (ones * '\\')) - ones);
    }

    for ( /* void */ ; p < last; p++) {
        if (*p < 0x20 || *p >= 0x80 || *p == '\\') {
            return 0;
        }
    }

    return (odd & (ones * 0x80)) == 0;
}


static u_char *
ngx_http_token_json_string_slow(u_char *p, u_char *last)
{
    while (p && p < last) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p < 0x20) {
            return NULL;
        }

        if (*p == '\\') {
            p = ngx_http_token_json_strict_escape(p, last);

        } else if (*p < 0x80) {
            p++;

        } else {
            p = ngx_http_token_json_strict_utf8(p, last);
        }
    }

    return NULL;
}


static u_char *
ngx_http_token_json_strict_escape(u_char *p, u_char *last)
{
    if (last - p < 2) {
        return NULL;
    }

    if (p[1] != 'u') {
        return p + 2;
    }

    /* NGX_ERROR or zero: cJSON reads digits that are none as "0000" */

    if (last - p < 6 || ngx_hextoi(p + 2, 4) <= 0) {
        return NULL;
    }

    return p + 6;
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

    /* nginx's decoder takes 0xf8 for 0xf0, and any byte from 0x80 to go on */

    if (*start > 0xf4) {
        return NULL;
    }

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
