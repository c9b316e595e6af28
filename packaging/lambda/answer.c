
/*
 * nginx's answer becomes what API Gateway takes for one: the status, headers,
 * cookies, and the body as text or in base64.
 */


#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bootstrap.h"


/* Belong to a connection, or are API Gateway's. */
static const char  *own_headers[] = {
    "connection", "content-length", "date", "keep-alive", "server",
    "transfer-encoding", NULL
};


static int print(cJSON *object, buffer_t *json);
static int add_headers(cJSON *answer, const response_t *response, int version);
static int add_header(cJSON *single, cJSON *multi, const response_t *response,
    size_t i);
static int add_joined(cJSON *single, cJSON *cookies,
    const response_t *response, size_t i);
static size_t count(const response_t *response, size_t i);
static cJSON *header_text(const char *value);
static int add_body(cJSON *answer, const buffer_t *body);


/* 0, or -1 if it is larger than Lambda takes or there is no memory. */

int
answer_response(const response_t *response, int version, buffer_t *json)
{
    int     rc;
    cJSON  *answer;

    answer = cJSON_CreateObject();

    if (cJSON_AddNumberToObject(answer, "statusCode", response->status) == NULL
        || add_headers(answer, response, version)
        || add_body(answer, &response->body))
    {
        cJSON_Delete(answer);
        return -1;
    }

    rc = print(answer, json);
    cJSON_Delete(answer);

    return rc == 0 && json->len <= MAX_PAYLOAD ? 0 : -1;
}


/* An error of the module's kind, for callers: RFC 6749 section 5.2. */

int
answer_error(int status, int version, const char *error,
    const char *description, buffer_t *json)
{
    int          rc;
    cJSON       *object;
    header_t     headers[] = {
        { "Content-Type", "application/json" },
        { "Cache-Control", "no-store" },
        { "Pragma", "no-cache" },
        { "X-Content-Type-Options", "nosniff" },
    };
    response_t   response;

    memset(&response, 0, sizeof(response));
    response.status = status;
    response.headers = headers;
    response.nheaders = sizeof(headers) / sizeof(headers[0]);

    object = cJSON_CreateObject();

    if (cJSON_AddStringToObject(object, "error", error) == NULL
        || cJSON_AddStringToObject(object, "error_description", description)
           == NULL)
    {
        cJSON_Delete(object);
        return -1;
    }

    rc = print(object, &response.body);
    cJSON_Delete(object);

    if (rc == 0) {
        rc = answer_response(&response, version, json);
    }

    buffer_free(&response.body);
    return rc;
}


/* An invocation, or the start, that has failed: for the Runtime API. */

int
failure_json(const char *type, const char *message, buffer_t *json)
{
    int     rc;
    cJSON  *object;

    object = cJSON_CreateObject();
    rc = -1;

    if (cJSON_AddStringToObject(object, "errorMessage", message)
        && cJSON_AddStringToObject(object, "errorType", type)
        && cJSON_AddArrayToObject(object, "stackTrace"))
    {
        rc = print(object, json);
    }

    cJSON_Delete(object);
    return rc;
}


static int
print(cJSON *object, buffer_t *json)
{
    char  *text;

    text = cJSON_PrintUnformatted(object);

    if (text == NULL) {
        return -1;
    }

    buffer_text(json, text);
    cJSON_free(text);

    return json->failed ? -1 : 0;
}


static int
add_headers(cJSON *answer, const response_t *response, int version)
{
    int      rc;
    cJSON   *single, *multi;
    size_t   i;

    single = cJSON_AddObjectToObject(answer, "headers");
    multi = version == 2 ? cJSON_AddArrayToObject(answer, "cookies")
                         : cJSON_AddObjectToObject(answer, "multiValueHeaders");

    if (single == NULL || multi == NULL) {
        return -1;
    }

    for (i = 0; i < response->nheaders; i++) {
        if (is_one_of(own_headers, response->headers[i].name)) {
            continue;
        }

        rc = version == 2 ? add_joined(single, multi, response, i)
                          : add_header(single, multi, response, i);

        if (rc) {
            return -1;
        }
    }

    return 0;
}


/* Format 1.0: what is there once stands in "headers", all else in the other. */

static int
add_header(cJSON *single, cJSON *multi, const response_t *response, size_t i)
{
    cJSON     *list;
    size_t     j;
    header_t  *header = &response->headers[i];

    if (count(response, i) == 1) {
        return cJSON_AddItemToObject(single, header->name,
                                     header_text(header->value)) ? 0 : -1;
    }

    list = cJSON_GetObjectItem(multi, header->name);

    if (list) {
        return 0;
    }

    list = cJSON_AddArrayToObject(multi, header->name);

    for (j = i; j < response->nheaders; j++) {
        if (strcasecmp(response->headers[j].name, header->name) == 0
            && !cJSON_AddItemToArray(list,
                                     header_text(response->headers[j].value)))
        {
            return -1;
        }
    }

    return 0;
}


/* Format 2.0: one value each, joined by commas; but cookies are a list. */

static int
add_joined(cJSON *single, cJSON *cookies, const response_t *response, size_t i)
{
    int        rc;
    size_t     j;
    buffer_t   value;
    header_t  *header = &response->headers[i];

    if (strcasecmp(header->name, "set-cookie") == 0) {
        return cJSON_AddItemToArray(cookies, header_text(header->value)) ? 0
                                                                         : -1;
    }

    if (cJSON_GetObjectItem(single, header->name)) {
        return 0;
    }

    memset(&value, 0, sizeof(value));
    buffer_text(&value, header->value);

    for (j = i + 1; j < response->nheaders; j++) {
        if (strcasecmp(response->headers[j].name, header->name) == 0) {
            buffer_text(&value, ", ");
            buffer_text(&value, response->headers[j].value);
        }
    }

    rc = !value.failed && cJSON_AddItemToObject(single, header->name,
                                                header_text(value.data))
         ? 0 : -1;
    buffer_free(&value);

    return rc;
}


static size_t
count(const response_t *response, size_t i)
{
    size_t  j, n;

    n = 0;

    for (j = 0; j < response->nheaders; j++) {
        n += strcasecmp(response->headers[j].name, response->headers[i].name)
             == 0;
    }

    return n;
}


/* JSON is UTF-8: bytes of a header that are not are taken for Latin-1. */

static cJSON *
header_text(const char *value)
{
    char          two[2];
    cJSON        *item;
    buffer_t      b;
    const char   *p;

    if (is_text(value, strlen(value))) {
        return cJSON_CreateString(value);
    }

    memset(&b, 0, sizeof(b));

    for (p = value; *p; p++) {
        if ((unsigned char) *p < 0x80) {
            buffer_add(&b, p, 1);
            continue;
        }

        two[0] = (char) (0xc0 | (unsigned char) *p >> 6);
        two[1] = (char) (0x80 | ((unsigned char) *p & 0x3f));
        buffer_add(&b, two, 2);
    }

    item = b.failed ? NULL : cJSON_CreateString(b.data);
    buffer_free(&b);

    return item;
}


static int
add_body(cJSON *answer, const buffer_t *body)
{
    int        rc, is_base64;
    buffer_t   text;

    memset(&text, 0, sizeof(text));
    is_base64 = body->len && !is_text(body->data, body->len);

    if (is_base64) {
        encode_base64(body, &text);
    }

    rc = !text.failed
         && cJSON_AddStringToObject(answer, "body", is_base64 ? text.data
                                    : body->len ? body->data : "")
         && cJSON_AddBoolToObject(answer, "isBase64Encoded", is_base64)
         ? 0 : -1;
    buffer_free(&text);

    return rc;
}
