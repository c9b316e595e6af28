
/*
 * What the fuzzers share.  A fuzzer of a room's static functions includes that
 * room's .c file; the others are linked.
 */


#ifndef _FUZZ_H_INCLUDED_
#define _FUZZ_H_INCLUDED_


#include "ngx_http_token_cache.h"


/* a property that does not hold is a crash */

#define fuzz_check(condition)                                                 \
    if (!(condition)) {                                                       \
        fuzz_failed(#condition, __FILE__, __LINE__);                          \
    }


/* one input: what it takes is freed, and so seen by AddressSanitizer */

typedef struct {
    ngx_pool_t                     *pool;
    ngx_log_t                       log;
    ngx_connection_t                connection;
    ngx_http_request_t              request;
    ngx_http_token_loc_conf_t       tlcf;
    void                           *conf[2];
    ngx_str_t                       logged;   /* all that was logged */
    const u_char                   *data;     /* what is left of the input */
    size_t                          size;
} fuzz_t;


/* one input; returns 0 */
int fuzz_one(fuzz_t *fz);

void fuzz_failed(const char *condition, const char *file, int line);

/* a number below n, taken from the input */
ngx_uint_t fuzz_number(fuzz_t *fz, ngx_uint_t n);

/*
 * The input up to the next NUL (all of what is left, without one), in memory
 * of exactly its length, or with a NUL behind it.
 */
ngx_str_t fuzz_text(fuzz_t *fz);
ngx_str_t fuzz_argument(fuzz_t *fz);

/* all that is left of it */
ngx_str_t fuzz_rest(fuzz_t *fz);

/* the names of token_proxy_fields in any order; none of them for "*" */
ngx_array_t *fuzz_fields(fuzz_t *fz);

ngx_uint_t fuzz_equal(ngx_str_t *a, ngx_str_t *b);
ngx_uint_t fuzz_contains(ngx_str_t *text, ngx_str_t *part);


/* json_check.c: an opinion on RFC 8259 that shares no code with the module's */

#define FUZZ_JSON_INVALID  0
#define FUZZ_JSON_ODD      1   /* valid, but refused with good reason */
#define FUZZ_JSON_VALID    2

/* of an object; odd are a NUL in a string, and nesting deeper than 900 */
int fuzz_json_check(const u_char *p, size_t len);


#endif /* _FUZZ_H_INCLUDED_ */
