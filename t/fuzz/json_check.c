
/*
 * RFC 8259 once more, written from the grammar: a second opinion on what is a
 * JSON object, for texts in UTF-8.
 */


#include "fuzz.h"


typedef struct {
    const u_char  *p;
    const u_char  *end;
    int            odd;
} json_check_t;


static int value(json_check_t *j, int depth);


static void
space(json_check_t *j)
{
    while (j->p < j->end && strchr(" \t\n\r", *j->p) && *j->p) {
        j->p++;
    }
}


static int
one(json_check_t *j, char ch)
{
    space(j);

    if (j->p == j->end || *j->p != (u_char) ch) {
        return 0;
    }

    j->p++;

    return 1;
}


static int
digits(json_check_t *j)
{
    const u_char  *start;

    start = j->p;

    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') {
        j->p++;
    }

    return j->p > start;
}


static int
number(json_check_t *j)
{
    j->p += (*j->p == '-');

    if (j->p < j->end && *j->p == '0') {
        j->p++;

    } else if (!digits(j)) {
        return 0;
    }

    if (j->p < j->end && *j->p == '.') {
        j->p++;

        if (!digits(j)) {
            return 0;
        }
    }

    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;

        if (j->p < j->end && (*j->p == '+' || *j->p == '-')) {
            j->p++;
        }

        return digits(j);
    }

    return 1;
}


static long
hex4(json_check_t *j)
{
    int   i;
    char  text[5], *end;
    long  n;

    if (j->end - j->p < 4) {
        return -1;
    }

    for (i = 0; i < 4; i++) {
        if (!strchr("0123456789abcdefABCDEF", j->p[i]) || !j->p[i]) {
            return -1;
        }

        text[i] = (char) j->p[i];
    }

    text[4] = '\0';

    n = strtol(text, &end, 16);
    j->p += 4;

    return n;
}


/* the table of the Unicode standard, 3-7 */

static int
utf8(json_check_t *j)
{
    int            n;
    u_char         low, high;
    const u_char  *p;

    p = j->p;
    low = 0x80;
    high = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 1;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 2;
        low = (*p == 0xe0) ? 0xa0 : low;
        high = (*p == 0xed) ? 0x9f : high;

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 3;
        low = (*p == 0xf0) ? 0x90 : low;
        high = (*p == 0xf4) ? 0x8f : high;

    } else {
        return 0;
    }

    for (p++; n; n--, p++) {
        if (p == j->end || *p < low || *p > high) {
            return 0;
        }

        low = 0x80;
        high = 0xbf;
    }

    j->p = p;

    return 1;
}


static int
string(json_check_t *j)
{
    long  ch;

    if (!one(j, '"')) {
        return 0;
    }

    while (j->p < j->end) {

        if (*j->p == '"') {
            j->p++;
            return 1;
        }

        if (*j->p < 0x20) {
            return 0;
        }

        if (*j->p >= 0x80) {
            if (!utf8(j)) {
                return 0;
            }

            continue;
        }

        if (*j->p++ != '\\') {
            continue;
        }

        if (j->p == j->end) {
            return 0;
        }

        if (*j->p != 'u') {
            if (!*j->p || !strchr("\"\\/bfnrt", *j->p++)) {
                return 0;
            }

            continue;
        }

        j->p++;
        ch = hex4(j);

        if (ch < 0) {
            return 0;
        }

        if (ch == 0) {
            j->odd = 1;
        }

        if (ch >= 0xdc00 && ch <= 0xdfff) {
            return 0;
        }

        if (ch >= 0xd800 && ch <= 0xdbff) {
            if (j->end - j->p < 6 || j->p[0] != '\\' || j->p[1] != 'u') {
                return 0;
            }

            j->p += 2;
            ch = hex4(j);

            if (ch < 0xdc00 || ch > 0xdfff) {
                return 0;
            }
        }
    }

    return 0;
}


static int
word(json_check_t *j, const char *text)
{
    size_t  len;

    len = strlen(text);

    if ((size_t) (j->end - j->p) < len || memcmp(j->p, text, len) != 0) {
        return 0;
    }

    j->p += len;

    return 1;
}


static int
list(json_check_t *j, char last, int depth)
{
    j->p++;

    if (depth > 900) {
        j->odd = 1;
    }

    if (depth > 5000) {
        return 0;
    }

    if (one(j, last)) {
        return 1;
    }

    do {
        if (last == '}' && (!string(j) || !one(j, ':'))) {
            return 0;
        }

        if (!value(j, depth + 1)) {
            return 0;
        }

    } while (one(j, ','));

    return one(j, last);
}


static int
value(json_check_t *j, int depth)
{
    space(j);

    if (j->p == j->end) {
        return 0;
    }

    switch (*j->p) {

    case '{':
        return list(j, '}', depth);

    case '[':
        return list(j, ']', depth);

    case '"':
        return string(j);

    case 't':
        return word(j, "true");

    case 'f':
        return word(j, "false");

    case 'n':
        return word(j, "null");

    default:
        return number(j);
    }
}


int
fuzz_json_check(const u_char *p, size_t len)
{
    json_check_t  j;

    j.p = p;
    j.end = p + len;
    j.odd = 0;

    space(&j);

    if (j.p == j.end || *j.p != '{' || !value(&j, 1)) {
        return FUZZ_JSON_INVALID;
    }

    space(&j);

    if (j.p != j.end) {
        return FUZZ_JSON_INVALID;
    }

    return j.odd ? FUZZ_JSON_ODD : FUZZ_JSON_VALID;
}
