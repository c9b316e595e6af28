
/*
 * Key and secret of the client from Secrets Manager or the Parameter Store,
 * fetched once, before nginx starts. The runtime's curl asks for them and signs
 * the request; what is secret of it goes to curl's standard input.
 */


#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bootstrap.h"


#define MAX_SECRET  (64 * 1024)


typedef struct {
    const char  *service;
    const char  *target;
    const char  *endpoint;     /* in the environment, as AWS's tools have it */
    const char  *request;
    const char  *more;
} service_t;


static const service_t  secrets_manager = {
    "secretsmanager", "secretsmanager.GetSecretValue",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER", "SecretId", ""
};

static const service_t  parameter_store = {
    "ssm", "AmazonSSM.GetParameter", "AWS_ENDPOINT_URL_SSM", "Name",
    ",\"WithDecryption\":true"
};


static const char *write_config(const service_t *service, const char *id,
    buffer_t *config);
static int add_option(buffer_t *config, const char *name, const char *value);
static const char *run_curl(const buffer_t *config, buffer_t *output);
static const char *talk(int in, int out, const buffer_t *config,
    buffer_t *output);
static const char *use(const char *json);
static const char *use_value(const char *value);


/*
 * "id" is what the service knows: the name or ARN of a secret, "ssm:NAME" or
 * the ARN of a parameter.
 */

const char *
secret_fetch(const char *id)
{
    buffer_t          config, output;
    const char       *failed, *name;
    const service_t  *service;

    memset(&config, 0, sizeof(config));
    memset(&output, 0, sizeof(output));
    service = &secrets_manager;
    name = id;

    if (strncmp(id, "ssm:", 4) == 0) {
        service = &parameter_store;
        name = id + 4;

    } else if (strncmp(id, "arn:", 4) == 0 && strstr(id, ":ssm:")) {
        service = &parameter_store;
    }

    failed = write_config(service, name, &config);

    if (failed == NULL) {
        failed = run_curl(&config, &output);
    }

    if (failed == NULL) {
        failed = use(output.data);
    }

    buffer_free(&config);
    buffer_free(&output);

    return failed;
}


/* A file of curl's options: they are in no list of processes. */

static const char *
write_config(const service_t *service, const char *id, buffer_t *config)
{
    char         url[512], sign[128], user[512], token[8192], body[2304];
    const char  *region, *key, *secret, *session, *endpoint;

    region = getenv("AWS_REGION");
    key = getenv("AWS_ACCESS_KEY_ID");
    secret = getenv("AWS_SECRET_ACCESS_KEY");
    session = getenv("AWS_SESSION_TOKEN");
    endpoint = getenv(service->endpoint);

    if (region == NULL || key == NULL || secret == NULL) {
        return "AWS_REGION, AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is "
               "not set";
    }

    if (endpoint) {
        (void) snprintf(url, sizeof(url), "%s/", endpoint);

    } else {
        (void) snprintf(url, sizeof(url), "https://%s.%s.amazonaws.com%s/",
                        service->service, region,
                        strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    }

    if (strlen(id) > 2048 || strpbrk(id, "\"\\")) {
        return "it has no name that a secret can have";
    }

    (void) snprintf(sign, sizeof(sign), "aws:amz:%s:%s", region,
                    service->service);
    (void) snprintf(user, sizeof(user), "%s:%s", key, secret);
    (void) snprintf(body, sizeof(body), "{\"%s\":\"%s\"%s}", service->request,
                    id, service->more);

    buffer_text(config, "silent\nshow-error\nmax-time = 5\n"
                        "header = \"Content-Type: application/x-amz-json-1.1\""
                        "\n");

    if (add_option(config, "url", url) || add_option(config, "aws-sigv4", sign)
        || add_option(config, "user", user)
        || add_option(config, "data", body))
    {
        return "a value has a control character";
    }

    buffer_printf(config, "header = \"X-Amz-Target: %s\"\n", service->target);

    if (session) {
        if (snprintf(token, sizeof(token), "X-Amz-Security-Token: %s", session)
            >= (int) sizeof(token))
        {
            return "AWS_SESSION_TOKEN is too long";
        }

        if (add_option(config, "header", token)) {
            return "AWS_SESSION_TOKEN has a control character";
        }
    }

    return config->failed ? "no memory" : NULL;
}


static int
add_option(buffer_t *config, const char *name, const char *value)
{
    buffer_text(config, name);
    buffer_text(config, " = \"");

    for ( /* void */ ; *value; value++) {
        if (*value < ' ' || *value > '~') {
            return -1;
        }

        if (*value == '"' || *value == '\\') {
            buffer_add(config, "\\", 1);
        }

        buffer_add(config, value, 1);
    }

    buffer_text(config, "\"\n");
    return 0;
}


static const char *
run_curl(const buffer_t *config, buffer_t *output)
{
    int          in[2], out[2], status;
    pid_t        pid;
    const char  *failed;

    if (pipe2(in, O_CLOEXEC)) {
        return "no pipe";
    }

    if (pipe2(out, O_CLOEXEC)) {
        close(in[0]);
        close(in[1]);
        return "no pipe";
    }

    pid = fork();

    if (pid == 0) {
        /* the runtime's own libraries, and not those beside this program */
        unsetenv("LD_LIBRARY_PATH");
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execlp("curl", "curl", "-q", "-K", "-", (char *) NULL);
        say("curl: %s", strerror(errno));
        _exit(127);
    }

    close(in[0]);
    close(out[1]);

    failed = pid == -1 ? "curl cannot be started"
                       : talk(in[1], out[0], config, output);

    close(out[0]);

    if (pid != -1
        && (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)
            || WEXITSTATUS(status))
        && failed == NULL)
    {
        failed = "curl has failed";
    }

    return failed;
}


/* Options are fewer bytes than a pipe holds, or curl reads them at once. */

static const char *
talk(int in, int out, const buffer_t *config, buffer_t *output)
{
    char     bytes[4096];
    ssize_t  n;

    n = write(in, config->data, config->len);
    close(in);

    if (n != (ssize_t) config->len) {
        return "curl does not read its options";
    }

    while ((n = read(out, bytes, sizeof(bytes))) > 0) {
        if (output->len > MAX_SECRET) {
            return "the answer is too large";
        }

        buffer_add(output, bytes, n);
    }

    return n == 0 && output->len && !output->failed ? NULL
                                                    : "there is no answer";
}


/* What AWS says when it refuses has no secret in it: its type is told. */

static const char *
use(const char *json)
{
    cJSON        *answer;
    const char   *failed, *value, *type;
    static char   message[256];

    answer = cJSON_Parse(json);
    value = cJSON_GetStringValue(cJSON_GetObjectItem(answer, "SecretString"));

    if (value == NULL) {
        value = cJSON_GetStringValue(cJSON_GetObjectItem(
                    cJSON_GetObjectItem(answer, "Parameter"), "Value"));
    }

    if (value) {
        failed = use_value(value);

    } else {
        type = cJSON_GetStringValue(cJSON_GetObjectItem(answer, "__type"));
        (void) snprintf(message, sizeof(message), "AWS has answered %.128s",
                        type ? type : "without a value");
        failed = message;
    }

    cJSON_Delete(answer);
    return failed;
}


/* An object with both, or the secret alone. */

static const char *
use_value(const char *value)
{
    int                 n;
    cJSON              *object;
    unsigned            i;
    const char         *text;
    static const char  *names[] = { "CONSUMER_KEY", "CONSUMER_SECRET" };

    object = cJSON_Parse(value);

    if (!cJSON_IsObject(object)) {
        cJSON_Delete(object);
        return setenv("CONSUMER_SECRET", value, 1) ? "no memory" : NULL;
    }

    n = 0;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        text = cJSON_GetStringValue(
                   cJSON_GetObjectItemCaseSensitive(object, names[i]));

        if (text) {
            n += setenv(names[i], text, 1) == 0;
        }
    }

    cJSON_Delete(object);
    return n ? NULL : "it has no CONSUMER_KEY and no CONSUMER_SECRET";
}
