
/*
 * Bytes that grow.
 */


#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bootstrap.h"


void
buffer_add(buffer_t *b, const char *bytes, size_t len)
{
    char    *data;
    size_t   size;

    if (b->failed) {
        return;
    }

    if (b->size - b->len <= len) {
        size = 2 * b->size + len + 256;
        data = realloc(b->data, size);

        if (data == NULL) {
            b->failed = 1;
            return;
        }

        b->data = data;
        b->size = size;
    }

    if (len) {
        memcpy(b->data + b->len, bytes, len);
    }

    b->len += len;
    b->data[b->len] = '\0';
}


void
buffer_text(buffer_t *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}


void
buffer_printf(buffer_t *b, const char *format, ...)
{
    int      n;
    char     text[512];
    va_list  args;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    if (n < 0 || (size_t) n >= sizeof(text)) {
        b->failed = 1;
        return;
    }

    buffer_add(b, text, n);
}


void
buffer_free(buffer_t *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}


int
buffer_read_file(buffer_t *b, const char *name)
{
    int      fd;
    char     bytes[4096];
    ssize_t  n;

    fd = open(name, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        buffer_add(b, bytes, n);
    }

    close(fd);
    return n == 0 && !b->failed ? 0 : -1;
}
