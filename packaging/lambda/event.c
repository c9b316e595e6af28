
/*
 * An event of API Gateway or of a Function URL becomes an HTTP request: payload
 * format 1.0 (a REST API) or 2.0 (an HTTP API, a Function URL). An event is
 * whatever the caller made of it, so that nothing of it gets into the request
 * line and the headers that could end them.
 */


#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bootstrap.h"


#define MAX_METHOD  32


/* Belong to a connection, or are made here. */
static const char  *own_headers[] = {
    "connection", "content-length", "expect", "forwarded", "host",
    "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade", "x-forwarded-for", "x-real-ip", NULL
};


static cJSON *parse(const char *json, size_t len, const char **why);
static int has_escaped_nul(const char *json, size_t len);
static event_e request_of(const cJSON *event, request_t *request,
    const char **why);
static const cJSON *member(const cJSON *object, const char *name);
static const char *text(const cJSON *object, const char *name);
static const char *stage_path(const cJSON *context, const char *path);
static const char *add_request_line(const cJSON *event, request_t *request,
    const char *method, const char *path);
static int add_path(buffer_t *b, const char *path);
static const char *add_query(const cJSON *event, int version, buffer_t *b);
static const char *add_parameter(buffer_t *b, const char *name,
    const cJSON *value, char *separator);
static void add_encoded(buffer_t *b, const char *s);
static const char *add_headers(const cJSON *event, int version, buffer_t *b);
static const char *add_header(buffer_t *b, const char *name,
    const cJSON *value);
static const char *add_host(const cJSON *event, buffer_t *b);
static const char *find_host(const cJSON *headers);
static void add_address(const cJSON *event, int version, buffer_t *b);
static const char *add_cookies(const cJSON *event, buffer_t *b);
static const char *add_body(const cJSON *event, buffer_t *b);
static int is_hex(char c);


event_e
event_request(const char *json, size_t len, request_t *request,
    const char **why)
{
    cJSON    *event;
    event_e   rc;

    memset(request, 0, sizeof(*request));
    request->version = 1;

    event = parse(json, len, why);

    if (event == NULL) {
        return EVENT_FOREIGN;
    }

    rc = request_of(event, request, why);

    /* cJSON ends strings with a NUL: what is behind it would be lost */
    if (rc == EVENT_REQUEST && has_escaped_nul(json, len)) {
        *why = "a NUL in the event";
        rc = EVENT_INVALID;
    }

    if (rc == EVENT_REQUEST && request->bytes.failed) {
        *why = "no memory";
        rc = EVENT_FOREIGN;
    }

    cJSON_Delete(event);
    return rc;
}


static cJSON *
parse(const char *json, size_t len, const char **why)
{
    cJSON  *event;

    if (len == 0 || memchr(json, '\0', len)) {
        *why = "the event is no JSON";
        return NULL;
    }

    event = cJSON_ParseWithLengthOpts(json, len + 1, NULL, 1);

    if (!cJSON_IsObject(event)) {
        *why = event ? "the event is no JSON object" : "the event is no JSON";
        cJSON_Delete(event);
        return NULL;
    }

    return event;
}


static int
has_escaped_nul(const char *json, size_t len)
{
    size_t  i;

    for (i = 0; i + 5 < len; i++) {
        if (json[i] != '\\') {
            continue;
        }

        if (strncmp(&json[i + 1], "u0000", 5) == 0) {
            return 1;
        }

        i++;
    }

    return 0;
}


static event_e
request_of(const cJSON *event, request_t *request, const char **why)
{
    buffer_t     *b = &request->bytes;
    const char   *version, *method, *path;
    const cJSON  *context;

    context = member(event, "requestContext");
    version = text(event, "version");

    if (version && strcmp(version, "2.0") == 0) {
        request->version = 2;
        method = text(member(context, "http"), "method");
        path = text(event, "rawPath");

        if (path) {
            path = stage_path(context, path);
        }

    } else {
        method = text(event, "httpMethod");
        path = text(event, "path");
    }

    if (method == NULL || path == NULL) {
        *why = "the event is not of an HTTP request";
        return EVENT_FOREIGN;
    }

    *why = add_request_line(event, request, method, path);

    if (*why == NULL) {
        *why = add_host(event, b);
    }

    if (*why == NULL) {
        buffer_text(b, "Connection: close\r\n");
        add_address(event, request->version, b);
        *why = add_headers(event, request->version, b);
    }

    if (*why == NULL && request->version == 2) {
        *why = add_cookies(event, b);
    }

    if (*why == NULL) {
        *why = add_body(event, b);
    }

    return *why ? EVENT_INVALID : EVENT_REQUEST;
}


static const cJSON *
member(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object,
                                                                     name)
                                  : NULL;
}


static const char *
text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(member(object, name));
}


/*
 * An HTTP API puts the name of a stage before the path, unless it is
 * "$default"; a REST API does not.
 */

static const char *
stage_path(const cJSON *context, const char *path)
{
    size_t       len;
    const char  *stage;

    stage = text(context, "stage");
    len = stage ? strlen(stage) : 0;

    if (len && path[0] == '/' && strncmp(path + 1, stage, len) == 0) {
        if (path[len + 1] == '/') {
            return path + len + 1;
        }

        if (path[len + 1] == '\0') {
            return "/";
        }
    }

    return path;
}


static const char *
add_request_line(const cJSON *event, request_t *request, const char *method,
    const char *path)
{
    size_t       i;
    buffer_t    *b = &request->bytes;
    const char  *failed;

    for (i = 0; method[i]; i++) {
        if (method[i] < 'A' || method[i] > 'Z') {
            return "a method that is none";
        }
    }

    if (i == 0 || i > MAX_METHOD) {
        return "a method that is none";
    }

    request->head = strcmp(method, "HEAD") == 0;
    buffer_text(b, method);
    buffer_text(b, " ");

    if (add_path(b, path)) {
        return "a path that does not begin with a slash";
    }

    failed = add_query(event, request->version, b);

    if (failed == NULL) {
        buffer_text(b, " HTTP/1.1\r\n");
    }

    return failed;
}


/*
 * It comes as the caller has written it, or decoded: what cannot stand in a
 * request line is encoded, and what is encoded stays.
 */

static int
add_path(buffer_t *b, const char *path)
{
    if (path[0] != '/') {
        return -1;
    }

    for ( /* void */ ; *path; path++) {
        if ((unsigned char) *path <= ' ' || (unsigned char) *path >= 0x7f
            || strchr("\"#<>?\\^`{|}", *path)
            || (*path == '%' && !(is_hex(path[1]) && is_hex(path[2]))))
        {
            buffer_printf(b, "%%%02X", (unsigned char) *path);

        } else {
            buffer_add(b, path, 1);
        }
    }

    return 0;
}


/* Format 1.0 has the parameters decoded, 2.0 has the query as it came. */

static const char *
add_query(const cJSON *event, int version, buffer_t *b)
{
    char          separator;
    const char   *failed, *query;
    const cJSON  *parameters, *parameter, *value;

    if (version == 2) {
        query = text(event, "rawQueryString");

        if (query && *query) {
            buffer_text(b, "?");

            for ( /* void */ ; *query; query++) {
                if ((unsigned char) *query <= ' '
                    || (unsigned char) *query >= 0x7f || *query == '#')
                {
                    buffer_printf(b, "%%%02X", (unsigned char) *query);

                } else {
                    buffer_add(b, query, 1);
                }
            }
        }

        return NULL;
    }

    parameters = member(event, "multiValueQueryStringParameters");

    if (!cJSON_IsObject(parameters)) {
        parameters = member(event, "queryStringParameters");
    }

    separator = '?';

    cJSON_ArrayForEach(parameter, parameters) {
        if (parameter->string == NULL) {
            return "query parameters without names";
        }

        if (!cJSON_IsArray(parameter)) {
            failed = add_parameter(b, parameter->string, parameter, &separator);

            if (failed) {
                return failed;
            }

            continue;
        }

        cJSON_ArrayForEach(value, parameter) {
            failed = add_parameter(b, parameter->string, value, &separator);

            if (failed) {
                return failed;
            }
        }
    }

    return NULL;
}


static const char *
add_parameter(buffer_t *b, const char *name, const cJSON *value,
    char *separator)
{
    if (!cJSON_IsString(value)) {
        return "a query parameter that is no string";
    }

    buffer_add(b, separator, 1);
    *separator = '&';
    add_encoded(b, name);
    buffer_text(b, "=");
    add_encoded(b, value->valuestring);

    return NULL;
}


static void
add_encoded(buffer_t *b, const char *s)
{
    for ( /* void */ ; *s; s++) {
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')
            || (*s >= '0' && *s <= '9') || strchr("-._~", *s))
        {
            buffer_add(b, s, 1);

        } else {
            buffer_printf(b, "%%%02X", (unsigned char) *s);
        }
    }
}


/* In format 1.0 "headers" has the last value of each, the other one has all. */

static const char *
add_headers(const cJSON *event, int version, buffer_t *b)
{
    const char   *failed;
    const cJSON  *headers, *header, *value;

    headers = version == 1 ? member(event, "multiValueHeaders") : NULL;

    if (!cJSON_IsObject(headers)) {
        headers = member(event, "headers");
    }

    if (headers && !cJSON_IsObject(headers) && !cJSON_IsNull(headers)) {
        return "headers that are no object";
    }

    cJSON_ArrayForEach(header, headers) {
        if (!cJSON_IsArray(header)) {
            failed = add_header(b, header->string, header);

            if (failed) {
                return failed;
            }

            continue;
        }

        cJSON_ArrayForEach(value, header) {
            failed = add_header(b, header->string, value);

            if (failed) {
                return failed;
            }
        }
    }

    return NULL;
}


static const char *
add_header(buffer_t *b, const char *name, const cJSON *value)
{
    if (!is_name(name)) {
        return "a header with a name that is none";
    }

    if (!cJSON_IsString(value)) {
        return "a header that is no string";
    }

    if (!is_value(value->valuestring)) {
        return "a header with a line break or a control character";
    }

    if (is_one_of(own_headers, name)) {
        return NULL;
    }

    buffer_text(b, name);
    buffer_text(b, ": ");
    buffer_text(b, value->valuestring);
    buffer_text(b, "\r\n");

    return NULL;
}


static const char *
add_host(const cJSON *event, buffer_t *b)
{
    const char  *host;

    host = find_host(member(event, "headers"));

    if (host == NULL) {
        host = find_host(member(event, "multiValueHeaders"));
    }

    if (host == NULL) {
        host = text(member(event, "requestContext"), "domainName");
    }

    if (host == NULL) {
        host = "localhost";
    }

    if (!is_value(host)) {
        return "a host with a line break or a control character";
    }

    buffer_text(b, "Host: ");
    buffer_text(b, host);
    buffer_text(b, "\r\n");

    return NULL;
}


static const char *
find_host(const cJSON *headers)
{
    const cJSON  *header;

    if (!cJSON_IsObject(headers)) {
        return NULL;
    }

    cJSON_ArrayForEach(header, headers) {
        if (strcasecmp(header->string, "host") == 0) {
            return cJSON_GetStringValue(cJSON_IsArray(header)
                                        ? cJSON_GetArrayItem(header, 0)
                                        : header);
        }
    }

    return NULL;
}


/*
 * The caller's address is what API Gateway says of the connection. A caller
 * can write an X-Forwarded-For of its own: it is left out.
 */

static void
add_address(const cJSON *event, int version, buffer_t *b)
{
    const char     *address;
    const cJSON    *context;
    unsigned char   bytes[sizeof(struct in6_addr)];

    context = member(event, "requestContext");
    address = text(member(context, version == 2 ? "http" : "identity"),
                   "sourceIp");

    if (address == NULL || (inet_pton(AF_INET, address, bytes) != 1
                            && inet_pton(AF_INET6, address, bytes) != 1))
    {
        return;
    }

    buffer_text(b, "X-Forwarded-For: ");
    buffer_text(b, address);
    buffer_text(b, "\r\n");
}


static const char *
add_cookies(const cJSON *event, buffer_t *b)
{
    const char   *separator;
    const cJSON  *cookies, *cookie;

    cookies = member(event, "cookies");

    if (cJSON_GetArraySize(cookies) == 0) {
        return NULL;
    }

    separator = "Cookie: ";

    cJSON_ArrayForEach(cookie, cookies) {
        if (!cJSON_IsString(cookie)) {
            return "a cookie that is no string";
        }

        if (!is_value(cookie->valuestring)) {
            return "a cookie with a line break or a control character";
        }

        buffer_text(b, separator);
        buffer_text(b, cookie->valuestring);
        separator = "; ";
    }

    buffer_text(b, "\r\n");
    return NULL;
}


static const char *
add_body(const cJSON *event, buffer_t *b)
{
    buffer_t      body;
    const char   *failed;
    const cJSON  *value;

    memset(&body, 0, sizeof(body));
    value = member(event, "body");
    failed = NULL;

    if (cJSON_IsString(value)) {
        if (!cJSON_IsTrue(member(event, "isBase64Encoded"))) {
            buffer_text(&body, value->valuestring);

        } else if (decode_base64(value->valuestring, &body)) {
            failed = "a body that is not valid base64";
        }

    } else if (value && !cJSON_IsNull(value)) {
        failed = "a body that is no string";
    }

    if (body.len) {
        buffer_printf(b, "Content-Length: %zu\r\n", body.len);
    }

    buffer_text(b, "\r\n");
    buffer_add(b, body.data, body.len);

    if (body.failed) {
        b->failed = 1;
    }

    buffer_free(&body);
    return failed;
}


static int
is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
           || (c >= 'A' && c <= 'F');
}
