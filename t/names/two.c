
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Loaded into nginx by t/store_addresses.t: a name of a store that has two
 * addresses, 127.0.0.1 and then 127.0.0.2.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <netdb.h>
#include <string.h>


typedef int (*resolve_pt)(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res);


int
getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res)
{
    int               rc;
    resolve_pt        resolve;
    struct addrinfo  *ai;

    resolve = (resolve_pt) dlsym(RTLD_NEXT, "getaddrinfo");

    if (node == NULL || strcmp(node, "two.test") != 0) {
        return resolve(node, service, hints, res);
    }

    rc = resolve("127.0.0.1", service, hints, res);
    if (rc != 0) {
        return rc;
    }

    /* freeaddrinfo() frees each member of the list by itself */

    for (ai = *res; ai->ai_next; ai = ai->ai_next) { /* void */ }

    return resolve("127.0.0.2", service, hints, &ai->ai_next);
}
