
/*
 * What Lambda starts: nginx on a Unix socket, and the loop of the Runtime API
 * (2018-06-01), which takes an event, asks nginx, and posts the answer.
 *
 * Lambda freezes all processes as soon as the next event has been asked for.
 * So the loop does not ask for it while nginx calls the token endpoint for its
 * cache: a call that is caught in flight would fail when it wakes up.
 */


#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bootstrap.h"


/* How long the next event is not asked for. */
#define SETTLE_TIME    1000

/* What is left of an invocation's time for its answer. */
#define ANSWER_TIME    200

#define DEFAULT_TIME   30000
#define MAX_FAILURES   3


typedef struct {
    char        id[129];
    long long   until;
    buffer_t    event;
} invocation_t;


static address_t    api;
static const char  *api_name;
static const char  *root;
static int          restarts;


static int start(void);
static int next_invocation(invocation_t *invocation);
static int take_invocation(const response_t *response,
    invocation_t *invocation);
static int serve(invocation_t *invocation);
static int ask_nginx(const request_t *request, long long until,
    buffer_t *answer);
static int keep_nginx(const char **why);
static void settle(long long until);
static int post(const char *path, const char *type, const buffer_t *body);
static void post_result(const invocation_t *invocation, const buffer_t *answer);
static void post_failure(const char *path, const char *type,
    const char *message);


int
main(void)
{
    int           failures;
    invocation_t  invocation;

    umask(077);
    (void) signal(SIGPIPE, SIG_IGN);

    if (start()) {
        return 1;
    }

    failures = 0;

    while (failures < MAX_FAILURES) {
        if (next_invocation(&invocation)) {
            failures++;
            usleep(100000);
            continue;
        }

        failures = 0;

        if (serve(&invocation)) {
            buffer_free(&invocation.event);
            return 1;
        }

        settle(invocation.until);
        buffer_free(&invocation.event);
    }

    say("there are no events to be had: this instance ends");
    return 1;
}


/* A line of the function's log. */

void
say(const char *format, ...)
{
    va_list  args;

    va_start(args, format);
    (void) fputs("token: ", stderr);
    (void) vfprintf(stderr, format, args);
    (void) fputc('\n', stderr);
    va_end(args);
}


static int
start(void)
{
    const char  *why, *id;
    static char  message[512];

    api_name = getenv("AWS_LAMBDA_RUNTIME_API");

    if (api_name == NULL || inet_address(&api, api_name)) {
        say("AWS_LAMBDA_RUNTIME_API has no address and port");
        return -1;
    }

    root = getenv("LAMBDA_TASK_ROOT");

    if (root == NULL) {
        root = "/var/task";
    }

    setenv("CORS_ORIGIN", "off", 0);
    id = getenv("TOKEN_SECRET_ID");
    why = NULL;

    if (id && *id) {
        why = secret_fetch(id);

        if (why) {
            (void) snprintf(message, sizeof(message),
                            "TOKEN_SECRET_ID cannot be fetched: %s", why);
            why = message;
        }
    }

    if (why == NULL && server_start(root, &why) == 0) {
        return 0;
    }

    say("%s", why);
    post_failure("/2018-06-01/runtime/init/error", "Token.InitError", why);

    return -1;
}


static int
next_invocation(invocation_t *invocation)
{
    int          rc;
    buffer_t     request;
    response_t   response;
    const char  *failed;

    memset(invocation, 0, sizeof(*invocation));
    memset(&request, 0, sizeof(request));
    buffer_printf(&request, "GET /2018-06-01/runtime/invocation/next HTTP/1.1"
                            "\r\nHost: %s\r\nConnection: close\r\n\r\n",
                  api_name);
    failed = http_exchange(&api, &request, 0, 0, &response);
    buffer_free(&request);

    if (failed) {
        say("the Runtime API has no event: %s", failed);
        return -1;
    }

    rc = take_invocation(&response, invocation);
    http_free(&response);

    return rc;
}


static int
take_invocation(const response_t *response, invocation_t *invocation)
{
    char        *end;
    const char  *id, *deadline;

    if (response->status != 200) {
        say("the Runtime API has no event: status %d", response->status);
        return -1;
    }

    id = http_header(response, "Lambda-Runtime-Aws-Request-Id");

    if (id == NULL || *id == '\0' || strlen(id) >= sizeof(invocation->id)
        || id[strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-_.")])
    {
        say("the Runtime API has an event without a request id");
        return -1;
    }

    memcpy(invocation->id, id, strlen(id) + 1);
    invocation->until = now() + DEFAULT_TIME;
    deadline = http_header(response, "Lambda-Runtime-Deadline-Ms");

    if (deadline && *deadline) {
        errno = 0;
        invocation->until = strtoll(deadline, &end, 10);

        if (errno || *end || invocation->until <= ANSWER_TIME) {
            invocation->until = now() + DEFAULT_TIME;
        }
    }

    buffer_add(&invocation->event, response->body.data, response->body.len);

    return invocation->event.failed ? -1 : 0;
}


/* -1 when this instance has to end. */

static int
serve(invocation_t *invocation)
{
    int          rc;
    char         path[256];
    event_e      kind;
    buffer_t     answer;
    request_t    request;
    const char  *why;

    (void) snprintf(path, sizeof(path),
                    "/2018-06-01/runtime/invocation/%s/error", invocation->id);

    if (keep_nginx(&why)) {
        post_failure(path, "Token.ServerError", why);
        return -1;
    }

    memset(&answer, 0, sizeof(answer));
    kind = event_request(invocation->event.data, invocation->event.len,
                         &request, &why);
    rc = 0;

    switch (kind) {

    case EVENT_REQUEST:
        rc = ask_nginx(&request, invocation->until - ANSWER_TIME, &answer);
        break;

    case EVENT_INVALID:
        say("a request is refused: %s", why);
        rc = answer_error(400, request.version, "invalid_request",
                          "The request is malformed.", &answer);
        break;

    case EVENT_FOREIGN:
        say("%s", why);
        post_failure(path, "Token.InvalidEvent", why);
        break;
    }

    buffer_free(&request.bytes);

    if (rc) {
        say("there is no memory for an answer");
        post_failure(path, "Token.ServerError", "no memory");

    } else if (kind != EVENT_FOREIGN) {
        post_result(invocation, &answer);
    }

    buffer_free(&answer);
    return 0;
}


static int
ask_nginx(const request_t *request, long long until, buffer_t *answer)
{
    int          rc, late;
    address_t    address;
    response_t   response;
    const char  *failed;

    unix_address(&address, TOKEN_SOCKET);
    failed = http_exchange(&address, &request->bytes, request->head, until,
                           &response);

    if (failed == NULL) {
        rc = answer_response(&response, request->version, answer);
        http_free(&response);

        if (rc == 0) {
            return 0;
        }

        failed = "its answer is too large";
        buffer_free(answer);
    }

    say("nginx: %s", failed);
    late = now() >= until;

    return answer_error(late ? 504 : 502, request->version, "server_error",
                        late ? "The server has not answered in time."
                             : "The server has failed.", answer);
}


/* nginx is started once more if it has died: what kills it twice will again. */

static int
keep_nginx(const char **why)
{
    static char  message[128];

    if (server_alive()) {
        return 0;
    }

    if (restarts++ == 0) {
        say("nginx has died (%s): it is started once more", server_end());

        if (server_start(root, why) == 0) {
            return 0;
        }

    } else {
        (void) snprintf(message, sizeof(message),
                        "nginx has died again (%s)", server_end());
        *why = message;
    }

    say("%s: this instance ends", *why);
    return -1;
}


/* Until nothing is called for the cache any more. */

static void
settle(long long until)
{
    long long  end;

    end = now() + SETTLE_TIME;

    if (end > until - ANSWER_TIME) {
        end = until - ANSWER_TIME;
    }

    while (now() < end && server_fetching(end) > 0) {
        usleep(5000);
    }
}


/* The status of the Runtime API's answer, or -1. */

static int
post(const char *path, const char *type, const buffer_t *body)
{
    int          status;
    buffer_t     request;
    response_t   response;
    const char  *failed;

    memset(&request, 0, sizeof(request));
    buffer_printf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\n", path, api_name);

    if (type) {
        buffer_printf(&request, "Lambda-Runtime-Function-Error-Type: %s\r\n",
                      type);
    }

    buffer_printf(&request, "Connection: close\r\n"
                            "Content-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n", body->len);
    buffer_add(&request, body->data, body->len);

    failed = http_exchange(&api, &request, 0, now() + 10000, &response);
    buffer_free(&request);

    if (failed) {
        say("the Runtime API takes no answer: %s", failed);
        return -1;
    }

    status = response.status;
    http_free(&response);

    if (status >= 300) {
        say("the Runtime API takes no answer: status %d", status);
    }

    return status;
}


static void
post_result(const invocation_t *invocation, const buffer_t *answer)
{
    char  path[256];

    (void) snprintf(path, sizeof(path),
                    "/2018-06-01/runtime/invocation/%s/response",
                    invocation->id);

    if (post(path, NULL, answer) == 413) {
        (void) snprintf(path, sizeof(path),
                        "/2018-06-01/runtime/invocation/%s/error",
                        invocation->id);
        post_failure(path, "Token.AnswerTooLarge", "the answer is too large");
    }
}


static void
post_failure(const char *path, const char *type, const char *message)
{
    buffer_t  body;

    memset(&body, 0, sizeof(body));

    if (failure_json(type, message, &body) == 0) {
        post(path, type, &body);
    }

    buffer_free(&body);
}
