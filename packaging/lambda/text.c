
/*
 * What bytes are, and base64.
 */


#include <string.h>
#include <strings.h>

#include "bootstrap.h"


static const char  digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789+/";


static size_t utf8_char(const unsigned char *s, size_t len);


/* A token of RFC 9110 section 5.6.2. */

int
is_name(const char *s)
{
    if (s == NULL || *s == '\0') {
        return 0;
    }

    for ( /* void */ ; *s; s++) {
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')
              || (*s >= '0' && *s <= '9') || strchr("!#$%&'*+-.^_`|~", *s)))
        {
            return 0;
        }
    }

    return 1;
}


int
is_value(const char *s)
{
    for ( /* void */ ; *s; s++) {
        if (((unsigned char) *s < ' ' && *s != '\t') || *s == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* Whether it is UTF-8 without a NUL: then it can stand in JSON as it is. */

int
is_text(const char *s, size_t len)
{
    size_t                i, n;
    const unsigned char  *u = (const unsigned char *) s;

    for (i = 0; i < len; i += n) {
        n = utf8_char(u + i, len - i);

        if (n == 0) {
            return 0;
        }
    }

    return 1;
}


int
is_one_of(const char **names, const char *name)
{
    for ( /* void */ ; *names; names++) {
        if (strcasecmp(name, *names) == 0) {
            return 1;
        }
    }

    return 0;
}


/* The length of a character of RFC 3629, 0 if it is none. */

static size_t
utf8_char(const unsigned char *s, size_t len)
{
    size_t                 i, n;
    unsigned               code;
    static const unsigned  least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    if (s[0] < 0x80) {
        return s[0] != 0;
    }

    n = s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
        : s[0] >= 0xc0 && s[0] < 0xe0 ? 2 : 0;

    if (n == 0 || n > len) {
        return 0;
    }

    code = s[0] & (0xff >> (n + 1));

    for (i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }

        code = code << 6 | (s[i] & 0x3f);
    }

    return code >= least[n] && code <= 0x10ffff
           && (code < 0xd800 || code > 0xdfff) ? n : 0;
}


/* RFC 4648 section 4, with its padding and without anything else. */

int
decode_base64(const char *s, buffer_t *b)
{
    size_t       i, len, pad;
    unsigned     bits;
    const char  *at;
    char         out[3];

    len = strlen(s);

    if (len % 4) {
        return -1;
    }

    pad = 0;

    while (pad < 2 && len > pad && s[len - 1 - pad] == '=') {
        pad++;
    }

    bits = 0;

    for (i = 0; i < len; i++) {
        at = i < len - pad ? strchr(digits, s[i]) : digits;

        if (at == NULL) {
            return -1;
        }

        bits = (bits << 6 | (unsigned) (at - digits)) & 0xffffff;

        if (i % 4 == 3) {
            out[0] = (char) (bits >> 16);
            out[1] = (char) (bits >> 8 & 0xff);
            out[2] = (char) (bits & 0xff);
            buffer_add(b, out, i == len - 1 ? 3 - pad : 3);
        }
    }

    return 0;
}


void
encode_base64(const buffer_t *body, buffer_t *text)
{
    size_t                i, n;
    unsigned              bits;
    char                  out[4];
    const unsigned char  *u = (const unsigned char *) body->data;

    for (i = 0; i < body->len; i += 3) {
        n = body->len - i < 3 ? body->len - i : 3;
        bits = (unsigned) u[i] << 16;
        bits |= n > 1 ? (unsigned) u[i + 1] << 8 : 0;
        bits |= n > 2 ? u[i + 2] : 0;

        out[0] = digits[bits >> 18];
        out[1] = digits[bits >> 12 & 0x3f];
        out[2] = n > 1 ? digits[bits >> 6 & 0x3f] : '=';
        out[3] = n > 2 ? digits[bits & 0x3f] : '=';
        buffer_add(text, out, 4);
    }
}
