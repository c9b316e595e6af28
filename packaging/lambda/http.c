
/*
 * One request of HTTP/1.1 on a connection of its own, and its whole answer:
 * with nginx on its Unix socket, and with the Runtime API. Nothing is kept
 * open, since a process that is frozen finds its connections broken.
 */


#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bootstrap.h"


#define MAX_HEAD       (64 * 1024)

/* an event or a page in chunks may be a bit longer on the line */
#define MAX_BODY       (MAX_PAYLOAD + 1024 * 1024)


/* How the end of a body is found. */
typedef enum {
    BODY_NONE,
    BODY_LENGTH,
    BODY_CHUNKED,
    BODY_UNTIL_CLOSED
} body_e;


typedef struct {
    buffer_t   in;
    size_t     pos;        /* behind what has been looked at */
    body_e     body;
    size_t     left;       /* of the body, or of a chunk */
    int        in_chunk;
    int        closed;
} reader_t;


static const char *connect_to(const address_t *address, long long until,
    int *fd);
static int wait_for(int fd, short events, long long until);
static const char *send_all(int fd, const buffer_t *request, long long until);
static const char *receive(int fd, reader_t *r, long long until);
static const char *read_head(int fd, reader_t *r, int head, long long until,
    response_t *response);
static int parse_head(response_t *response);
static int count_lines(const buffer_t *head);
static int body_of(reader_t *r, int head, const response_t *response);
static const char *read_body(int fd, reader_t *r, long long until,
    response_t *response);
static int take_body(reader_t *r, buffer_t *body);
static int take_chunks(reader_t *r, buffer_t *body);
static int parse_number(const char *text, int base, size_t *number);


long long
now(void)
{
    struct timespec  t;

    clock_gettime(CLOCK_REALTIME, &t);

    return (long long) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}


const char *
http_exchange(const address_t *address, const buffer_t *request, int head,
    long long until, response_t *response)
{
    int          fd;
    reader_t     r;
    const char  *failed;

    memset(response, 0, sizeof(*response));
    memset(&r, 0, sizeof(r));

    if (request->failed) {
        return "no memory";
    }

    failed = connect_to(address, until, &fd);

    if (failed) {
        return failed;
    }

    failed = send_all(fd, request, until);

    if (failed == NULL) {
        failed = read_head(fd, &r, head, until, response);
    }

    if (failed == NULL) {
        failed = read_body(fd, &r, until, response);
    }

    close(fd);

    if (failed == NULL
        && (r.in.failed || response->head.failed || response->body.failed))
    {
        failed = "no memory";
    }

    buffer_free(&r.in);

    if (failed) {
        http_free(response);
    }

    return failed;
}


/* The first of them; names are compared without case. */

const char *
http_header(const response_t *response, const char *name)
{
    size_t  i;

    for (i = 0; i < response->nheaders; i++) {
        if (strcasecmp(response->headers[i].name, name) == 0) {
            return response->headers[i].value;
        }
    }

    return NULL;
}


void
http_free(response_t *response)
{
    buffer_free(&response->head);
    buffer_free(&response->body);
    free(response->headers);
    memset(response, 0, sizeof(*response));
}


int
unix_address(address_t *address, const char *path)
{
    struct sockaddr_un  *sun = (struct sockaddr_un *) &address->addr;

    memset(address, 0, sizeof(*address));

    if (strlen(path) >= sizeof(sun->sun_path)) {
        return -1;
    }

    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path, path, strlen(path) + 1);
    address->len = sizeof(*sun);

    return 0;
}


/* "127.0.0.1:9001", as AWS_LAMBDA_RUNTIME_API has it, or "localhost:9001". */

int
inet_address(address_t *address, const char *host_port)
{
    char                 host[64];
    size_t               port, len;
    const char          *colon;
    struct sockaddr_in  *sin = (struct sockaddr_in *) &address->addr;

    memset(address, 0, sizeof(*address));
    colon = strrchr(host_port, ':');
    len = colon ? (size_t) (colon - host_port) : strlen(host_port);
    port = 80;

    if (len >= sizeof(host)
        || (colon && (parse_number(colon + 1, 10, &port) || port > 65535)))
    {
        return -1;
    }

    memcpy(host, host_port, len);
    host[len] = '\0';

    sin->sin_family = AF_INET;
    sin->sin_port = htons((uint16_t) port);
    address->len = sizeof(*sin);

    if (strcmp(host, "localhost") == 0) {
        sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return 0;
    }

    return inet_pton(AF_INET, host, &sin->sin_addr) == 1 ? 0 : -1;
}


static const char *
connect_to(const address_t *address, long long until, int *fd)
{
    int        error;
    socklen_t  len;

    *fd = socket(address->addr.ss_family,
                 SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (*fd == -1) {
        return "no socket";
    }

    if (connect(*fd, (const struct sockaddr *) &address->addr, address->len)
        == 0)
    {
        return NULL;
    }

    error = errno;

    if (error == EINPROGRESS && wait_for(*fd, POLLOUT, until) == 0) {
        len = sizeof(error);

        if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0
            && error == 0)
        {
            return NULL;
        }
    }

    close(*fd);
    return error == EINPROGRESS ? "it does not accept a connection in time"
                                : "it accepts no connection";
}


/* 0 when there is something to do; -1 when the time is over. */

static int
wait_for(int fd, short events, long long until)
{
    int            n;
    long long      left;
    struct pollfd  p;

    p.fd = fd;
    p.events = events;

    for ( ;; ) {
        left = until ? until - now() : 3600 * 1000;

        if (left <= 0) {
            return -1;
        }

        n = poll(&p, 1, left > 3600 * 1000 ? 3600 * 1000 : (int) left);

        if (n > 0) {
            return 0;
        }

        if (n == -1 && errno != EINTR) {
            return -1;
        }
    }
}


/* A server that has answered early may read no more: its answer counts. */

static const char *
send_all(int fd, const buffer_t *request, long long until)
{
    size_t   sent;
    ssize_t  n;

    sent = 0;

    while (sent < request->len) {
        n = send(fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);

        if (n >= 0) {
            sent += n;

        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLOUT, until)) {
                return "it does not read in time";
            }

        } else if (errno != EINTR) {
            return NULL;
        }
    }

    return NULL;
}


/* Some more bytes, or the end. */

static const char *
receive(int fd, reader_t *r, long long until)
{
    char     bytes[65536];
    ssize_t  n;

    for ( ;; ) {
        n = recv(fd, bytes, sizeof(bytes), 0);

        if (n > 0) {
            buffer_add(&r->in, bytes, n);
            return r->in.failed ? "no memory" : NULL;
        }

        if (n == 0) {
            r->closed = 1;
            return NULL;
        }

        if (errno == EAGAIN) {
            if (wait_for(fd, POLLIN, until)) {
                return "it does not answer in time";
            }

        } else if (errno != EINTR) {
            return "the connection is broken";
        }
    }
}


/* Interim answers, such as 100, are left out. */

static const char *
read_head(int fd, reader_t *r, int head, long long until, response_t *response)
{
    char        *end;
    const char  *failed;

    for ( ;; ) {
        end = r->in.len > r->pos ? strstr(r->in.data + r->pos, "\r\n\r\n")
                                 : NULL;

        if (end == NULL) {
            if (r->closed) {
                return "the connection has ended without an answer";
            }

            if (r->in.len - r->pos > MAX_HEAD) {
                return "the head of the answer is too large";
            }

            failed = receive(fd, r, until);

            if (failed) {
                return failed;
            }

            continue;
        }

        buffer_free(&response->head);
        buffer_add(&response->head, r->in.data + r->pos,
                   end + 2 - r->in.data - r->pos);
        r->pos = end + 4 - r->in.data;

        if (response->head.failed || parse_head(response)) {
            return "the answer is no HTTP";
        }

        if (response->status >= 200) {
            return body_of(r, head, response) ? "the answer is no HTTP" : NULL;
        }
    }
}


/* Lines become names and values in place. */

static int
parse_head(response_t *response)
{
    char    *line, *end, *colon, *value;
    size_t   status;

    free(response->headers);
    response->nheaders = 0;
    response->headers = calloc(count_lines(&response->head) + 1,
                               sizeof(header_t));
    line = response->head.data;

    if (response->headers == NULL || strncmp(line, "HTTP/1.", 7) != 0
        || strlen(line) < 12 || line[8] != ' ')
    {
        return -1;
    }

    end = strstr(line, "\r\n");
    line[12] = '\0';

    if (parse_number(line + 9, 10, &status) || status < 100 || status > 599) {
        return -1;
    }

    response->status = (int) status;

    for (line = end + 2; *line; line = end + 2) {
        end = strstr(line, "\r\n");

        if (end == NULL) {
            return -1;
        }

        *end = '\0';
        colon = strchr(line, ':');

        if (colon == NULL || colon == line) {
            return -1;
        }

        *colon = '\0';
        value = colon + 1 + strspn(colon + 1, " \t");

        while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
            *--end = '\0';
        }

        end = value + strlen(value);

        while (*end != '\n') {
            end++;
        }

        end--;
        response->headers[response->nheaders].name = line;
        response->headers[response->nheaders++].value = value;
    }

    return 0;
}


static int
count_lines(const buffer_t *head)
{
    int     n;
    size_t  i;

    n = 0;

    for (i = 0; i < head->len; i++) {
        n += head->data[i] == '\n';
    }

    return n;
}


static int
body_of(reader_t *r, int head, const response_t *response)
{
    const char  *value;

    r->left = 0;
    r->in_chunk = 0;

    if (head || response->status == 204 || response->status == 304) {
        r->body = BODY_NONE;
        return 0;
    }

    if (http_header(response, "Transfer-Encoding")) {
        r->body = BODY_CHUNKED;
        return 0;
    }

    value = http_header(response, "Content-Length");
    r->body = value ? BODY_LENGTH : BODY_UNTIL_CLOSED;

    return value ? parse_number(value, 10, &r->left) : 0;
}


static const char *
read_body(int fd, reader_t *r, long long until, response_t *response)
{
    int          rc;
    const char  *failed;

    for ( ;; ) {
        rc = take_body(r, &response->body);

        if (rc > 0) {
            return NULL;
        }

        if (rc < 0) {
            return "the answer has a broken body";
        }

        if (response->body.len + r->left > MAX_BODY) {
            return "the answer is too large";
        }

        if (r->closed) {
            return "the connection has ended within an answer";
        }

        failed = receive(fd, r, until);

        if (failed) {
            return failed;
        }
    }
}


/* 1 when the body is whole, 0 when more has to come, -1 when it is wrong. */

static int
take_body(reader_t *r, buffer_t *body)
{
    size_t  n;

    if (r->body == BODY_NONE) {
        return 1;
    }

    if (r->body == BODY_CHUNKED) {
        return take_chunks(r, body);
    }

    n = r->in.len - r->pos;

    if (r->body == BODY_LENGTH && n > r->left) {
        n = r->left;
    }

    if (n) {
        buffer_add(body, r->in.data + r->pos, n);
        r->pos += n;
    }

    if (r->body == BODY_UNTIL_CLOSED) {
        return r->closed;
    }

    r->left -= n;
    return r->left == 0;
}


/* A chunk is its size in hex, its bytes, and an empty line. */

static int
take_chunks(reader_t *r, buffer_t *body)
{
    char    *line, *end;
    size_t   n;

    while (r->pos < r->in.len) {
        line = r->in.data + r->pos;
        n = r->in.len - r->pos;

        if (r->left) {
            n = n < r->left ? n : r->left;
            buffer_add(body, line, n);
            r->pos += n;
            r->left -= n;
            continue;
        }

        end = memchr(line, '\n', n);

        if (end == NULL) {
            return n > 1024 ? -1 : 0;
        }

        r->pos = end + 1 - r->in.data;

        if (r->in_chunk) {
            if (end - line > 1) {
                return -1;
            }

            r->in_chunk = 0;
            continue;
        }

        line[strcspn(line, ";\r\n")] = '\0';

        if (parse_number(line, 16, &r->left)) {
            return -1;
        }

        /* trailers are of no use: the connection ends with them */
        if (r->left == 0) {
            return 1;
        }

        r->in_chunk = 1;
    }

    return 0;
}


static int
parse_number(const char *text, int base, size_t *number)
{
    char                *end;
    unsigned long long   n;

    if (!((*text >= '0' && *text <= '9')
          || (base == 16 && ((*text >= 'a' && *text <= 'f')
                             || (*text >= 'A' && *text <= 'F')))))
    {
        return -1;
    }

    errno = 0;
    n = strtoull(text, &end, base);

    if (errno || *end || n > ((size_t) 1 << 40)) {
        return -1;
    }

    *number = n;
    return 0;
}
