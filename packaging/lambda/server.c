
/*
 * nginx: its configuration with names of the environment filled in, its start
 * and its end, and whether it calls the endpoint just now.
 */


#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bootstrap.h"


#define CONFIGURATION  "/tmp/nginx.conf"

/* Lambda gives the start of an instance ten seconds */
#define START_TIME     8000


static pid_t  nginx;
static int    status;       /* of the last nginx that has ended */


static int write_configuration(const char *root, const char **why);
static int fill_in(const buffer_t *source, buffer_t *conf, const char **why);
static size_t name_length(const char *s);
static const char *value_of(const char *name, size_t len, const char **why);
static void set_nameserver(void);
static void run_nginx(const char *root);
static const char *ask(const char *path, long long until, response_t *response);


int
server_start(const char *root, const char **why)
{
    pid_t        parent;
    long long    until;
    response_t   response;
    static char  message[256];

    if (write_configuration(root, why)) {
        return -1;
    }

    unlink(TOKEN_SOCKET);
    unlink(STATUS_SOCKET);

    parent = getpid();
    nginx = fork();

    if (nginx == -1) {
        nginx = 0;
        *why = "nginx cannot be started: there are no processes left";
        return -1;
    }

    if (nginx == 0) {
        /* a group of its own: workers that are left are found by it */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);

        if (getppid() == parent) {
            run_nginx(root);
        }

        _exit(127);
    }

    until = now() + START_TIME;

    while (now() < until) {
        if (!server_alive()) {
            (void) snprintf(message, sizeof(message),
                            "nginx does not start: %s", server_end());
            *why = message;
            return -1;
        }

        if (ask(TOKEN_SOCKET, until, &response) == NULL) {
            http_free(&response);
            return 0;
        }

        usleep(2000);
    }

    *why = "nginx does not answer on " TOKEN_SOCKET;
    return -1;
}


/* Where the first process has gone, the others of its group go as well. */

int
server_alive(void)
{
    if (nginx == 0) {
        return 0;
    }

    if (waitpid(nginx, &status, WNOHANG) != nginx) {
        return 1;
    }

    kill(-nginx, SIGKILL);
    nginx = 0;

    return 0;
}


const char *
server_end(void)
{
    static char  text[64];

    if (WIFSIGNALED(status)) {
        (void) snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));

    } else {
        (void) snprintf(text, sizeof(text), "exit status %d",
                        WEXITSTATUS(status));
    }

    return text;
}


/*
 * Calls of the endpoint that go on for the cache; -1 where the configuration
 * has no status to ask.
 */

long
server_fetching(long long until)
{
    long          n;
    cJSON        *json;
    response_t    response;
    const cJSON  *zone, *endpoint;

    if (access(STATUS_SOCKET, F_OK) || ask(STATUS_SOCKET, until, &response)) {
        return -1;
    }

    json = cJSON_ParseWithLength(response.body.data, response.body.len);
    http_free(&response);

    if (json == NULL) {
        return -1;
    }

    n = 0;

    cJSON_ArrayForEach(zone, cJSON_GetObjectItem(json, "zones")) {
        cJSON_ArrayForEach(endpoint, cJSON_GetObjectItem(zone, "endpoints")) {
            n += (long) cJSON_GetNumberValue(cJSON_GetObjectItem(endpoint,
                                                                 "fetching"));
        }
    }

    cJSON_Delete(json);
    return n;
}


static int
write_configuration(const char *root, const char **why)
{
    int       fd, rc;
    char      name[512];
    buffer_t  source, conf;

    memset(&source, 0, sizeof(source));
    memset(&conf, 0, sizeof(conf));
    set_nameserver();

    if (snprintf(name, sizeof(name), "%s/nginx.conf", root)
        >= (int) sizeof(name)
        || buffer_read_file(&source, name))
    {
        *why = "nginx.conf cannot be read";
        buffer_free(&source);
        return -1;
    }

    rc = fill_in(&source, &conf, why);

    if (rc == 0) {
        unlink(CONFIGURATION);
        fd = open(CONFIGURATION, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

        if (fd == -1
            || write(fd, conf.data, conf.len) != (ssize_t) conf.len)
        {
            *why = CONFIGURATION " cannot be written";
            rc = -1;
        }

        if (fd != -1) {
            close(fd);
        }
    }

    buffer_free(&source);
    buffer_free(&conf);

    return rc;
}


/* ${NAME}, in capitals, is a name of the environment; nginx's are not. */

static int
fill_in(const buffer_t *source, buffer_t *conf, const char **why)
{
    size_t       len;
    const char  *p, *next, *value;

    for (p = source->data; p && *p; p = next) {
        next = strstr(p, "${");
        len = next ? name_length(next + 2) : 0;

        if (next == NULL) {
            buffer_text(conf, p);
            break;
        }

        buffer_add(conf, p, next - p);

        if (len == 0) {
            buffer_add(conf, next, 2);
            next += 2;
            continue;
        }

        value = value_of(next + 2, len, why);

        if (value == NULL) {
            return -1;
        }

        buffer_text(conf, value);
        next += len + 3;
    }

    if (conf->failed) {
        *why = "no memory";
        return -1;
    }

    return 0;
}


static size_t
name_length(const char *s)
{
    size_t  len;

    len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

    return len < 64 && s[len] == '}' ? len : 0;
}


/* A value is part of a directive, and nothing that could end it. */

static const char *
value_of(const char *name, size_t len, const char **why)
{
    char         copy[64];
    const char  *value, *p;
    static char  message[256];

    memcpy(copy, name, len);
    copy[len] = '\0';
    value = getenv(copy);

    if (value == NULL || *value == '\0') {
        (void) snprintf(message, sizeof(message),
                        "nginx.conf needs %s, which is not in the environment",
                        copy);
        *why = message;
        return NULL;
    }

    for (p = value; *p; p++) {
        if (*p < ' ' || *p > '~' || strchr("\"#$';\\{}", *p)) {
            (void) snprintf(message, sizeof(message), "%s has a character that "
                            "cannot stand in nginx.conf", copy);
            *why = message;
            return NULL;
        }
    }

    return value;
}


/* The one that the runtime has, for nginx's resolver. */

static void
set_nameserver(void)
{
    char         address[64], value[72];
    buffer_t     conf;
    const char  *line;

    memset(&conf, 0, sizeof(conf));
    (void) snprintf(value, sizeof(value), "127.0.0.1");

    if (buffer_read_file(&conf, "/etc/resolv.conf") == 0) {
        for (line = conf.data; line && *line; line = strchr(line, '\n')) {
            line += *line == '\n';

            if (sscanf(line, "nameserver %63[0-9a-fA-F.:]", address) == 1) {
                (void) snprintf(value, sizeof(value),
                                strchr(address, ':') ? "[%s]" : "%s", address);
                break;
            }
        }
    }

    buffer_free(&conf);
    setenv("NAMESERVER", value, 0);
}


/* With the zip's own dynamic loader and libraries, whatever the runtime has. */

static void
run_nginx(const char *root)
{
    char  loader[512], libs[512], binary[512], prefix[512];

    (void) snprintf(loader, sizeof(loader), "%s/libs/ld.so", root);
    (void) snprintf(libs, sizeof(libs), "%s/libs", root);
    (void) snprintf(binary, sizeof(binary), "%s/nginx", root);
    (void) snprintf(prefix, sizeof(prefix), "%s/", root);

    execl(loader, loader, "--inhibit-cache", "--library-path", libs, binary,
          "-e", "stderr", "-p", prefix, "-c", CONFIGURATION, "-g",
          "daemon off; pid /tmp/nginx.pid;", (char *) NULL);

    say("%s: %s", loader, strerror(errno));
}


static const char *
ask(const char *path, long long until, response_t *response)
{
    address_t    address;
    buffer_t     request;
    const char  *failed;

    memset(&request, 0, sizeof(request));
    memset(response, 0, sizeof(*response));
    unix_address(&address, path);
    buffer_text(&request, "GET / HTTP/1.1\r\nHost: localhost\r\n"
                          "Connection: close\r\n\r\n");
    failed = http_exchange(&address, &request, 0, until, response);
    buffer_free(&request);

    return failed;
}
