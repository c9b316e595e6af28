
/*
 * What the files of the Lambda bootstrap share.
 *
 *     bootstrap.c   the Runtime API's loop
 *     server.c      nginx: its configuration, start, end
 *     event.c       an event becomes an HTTP request
 *     answer.c      an HTTP answer becomes an event's answer
 *     http.c        a client of HTTP/1.1 for both
 *     secret.c      secrets that are kept by Secrets Manager or SSM
 *     text.c        what bytes are, and base64
 *     buffer.c      bytes that grow
 */


#ifndef BOOTSTRAP_H_INCLUDED
#define BOOTSTRAP_H_INCLUDED


#include <stddef.h>
#include <sys/socket.h>

#include <cjson/cJSON.h>


/* these are in nginx.conf as well */
#define TOKEN_SOCKET   "/tmp/token.sock"
#define STATUS_SOCKET  "/tmp/token-status.sock"

/* Lambda's limit of an event and of an answer is a bit above 6 MB */
#define MAX_PAYLOAD    (6 * 1024 * 1024)


/* An allocation that fails is remembered: who takes the bytes looks at it. */
typedef struct {
    char                    *data;      /* a NUL is behind it, not counted */
    size_t                   len;
    size_t                   size;
    int                      failed;
} buffer_t;


typedef struct {
    struct sockaddr_storage  addr;
    socklen_t                len;
} address_t;


typedef struct {
    char                    *name;
    char                    *value;
} header_t;


typedef struct {
    int                      status;
    buffer_t                 head;      /* the headers point into it */
    header_t                *headers;
    size_t                   nheaders;
    buffer_t                 body;
} response_t;


typedef struct {
    buffer_t                 bytes;
    int                      head;      /* the method is HEAD */
    int                      version;   /* of the payload format: 1 or 2 */
} request_t;


typedef enum {
    EVENT_REQUEST,                      /* it has become a request */
    EVENT_INVALID,                      /* it is one that nginx must not get */
    EVENT_FOREIGN                       /* it is no event of HTTP */
} event_e;


/* buffer.c */
void buffer_add(buffer_t *b, const char *bytes, size_t len);
void buffer_text(buffer_t *b, const char *text);
void buffer_printf(buffer_t *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void buffer_free(buffer_t *b);
int buffer_read_file(buffer_t *b, const char *name);

/*
 * text.c: a token of HTTP; a header's value; UTF-8 without a NUL; one of names
 * that end with NULL, in whatever case
 */
int is_name(const char *s);
int is_value(const char *s);
int is_text(const char *s, size_t len);
int is_one_of(const char **names, const char *name);
int decode_base64(const char *s, buffer_t *b);
void encode_base64(const buffer_t *body, buffer_t *text);

/* http.c: what failed, or NULL; "until" is in milliseconds, 0 is never */
const char *http_exchange(const address_t *address, const buffer_t *request,
    int head, long long until, response_t *response);
const char *http_header(const response_t *response, const char *name);
void http_free(response_t *response);
int unix_address(address_t *address, const char *path);
int inet_address(address_t *address, const char *host_port);
long long now(void);

/* event.c */
event_e event_request(const char *json, size_t len, request_t *request,
    const char **why);

/* answer.c */
int answer_response(const response_t *response, int version, buffer_t *json);
int answer_error(int status, int version, const char *error,
    const char *description, buffer_t *json);
int failure_json(const char *type, const char *message, buffer_t *json);

/* server.c: whether nginx is there; why not is in the log */
int server_start(const char *root, const char **why);
int server_alive(void);
const char *server_end(void);
long server_fetching(long long until);

/* secret.c: what failed, or NULL */
const char *secret_fetch(const char *id);

/* bootstrap.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));


#endif /* BOOTSTRAP_H_INCLUDED */
