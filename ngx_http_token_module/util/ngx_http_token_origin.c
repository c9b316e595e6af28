
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Origins (RFC 6454, the Fetch standard): their normal form, and lists of
 * them.  Nothing in here knows a request.
 */


#include "ngx_http_token_util.h"


static char *ngx_http_token_origin_host(u_char **pos, u_char *end,
    u_char **dst);
static char *ngx_http_token_origin_port(u_char *p, u_char *end,
    ngx_str_t *origin);
static char *ngx_http_token_origins_add_exact(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text);
static char *ngx_http_token_origins_add_regex(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text);


char *
ngx_http_token_origin_normalize(ngx_str_t *text, ngx_str_t *origin)
{
    char    *wrong;
    u_char   ch, *p, *end, *dst;

    p = text->data;
    end = p + text->len;
    dst = origin->data;

    if (text->len == 4 && ngx_strncmp(p, "null", 4) == 0) {
        ngx_memcpy(dst, "null", 4);
        origin->len = 4;
        return NULL;
    }

    for ( /* void */ ; p < end && *p != ':'; p++) {
        ch = ngx_tolower(*p);

        if ((ch < 'a' || ch > 'z')
            && (p == text->data || ((ch < '0' || ch > '9')
                                    && ch != '+' && ch != '-' && ch != '.')))
        {
            break;
        }

        *dst++ = ch;
    }

    if (p == text->data || end - p < 3 || ngx_strncmp(p, "://", 3) != 0) {
        return "has no scheme, write it as in \"https://app.example.com\"";
    }

    dst = ngx_cpymem(dst, "://", 3);
    p += 3;

    wrong = ngx_http_token_origin_host(&p, end, &dst);

    if (wrong) {
        return wrong;
    }

    origin->len = dst - origin->data;

    /* schemes such as "file" have no host, "http" and "https" need one */

    if (ngx_strncmp(dst - 3, "://", 3) == 0
        && (p < end || ngx_strncmp(origin->data, "http", 4) == 0))
    {
        return "has no host, write it as in \"https://app.example.com\"";
    }

    return ngx_http_token_origin_port(p, end, origin);
}


static char *
ngx_http_token_origin_host(u_char **pos, u_char *end, u_char **dst)
{
    u_char      ch, *p, *d;
    ngx_uint_t  literal;

    p = *pos;
    d = *dst;
    literal = (p < end && *p == '[');

    for ( /* void */ ; p < end; p++) {
        ch = ngx_tolower(*p);

        if (literal) {
            *d++ = ch;

            if (ch == ']') {
                p++;
                break;
            }

            if (p != *pos && ch != ':' && ch != '.'
                && (ch < '0' || ch > '9') && (ch < 'a' || ch > 'f'))
            {
                return "has an invalid IPv6 address";
            }

            continue;
        }

        if (ch == ':') {
            break;
        }

        switch (ch) {

        case '/':
        case '?':
        case '#':
            return "has a path, write it without anything after the host and "
                   "port, not even a slash, as in \"https://app.example.com\"";

        case '@':
            return "has a user name, write it as in "
                   "\"https://app.example.com\"";

        case '*':
            return "has a wildcard, write it as a regular expression, as in "
                   "\"~^https://[a-z0-9-]+\\.example\\.com$\"";
        }

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ch != '-' && ch != '.' && ch != '_')
        {
            return "has an invalid character, write a host name with others "
                   "than letters, digits and hyphens as browsers send it "
                   "(\"xn--...\")";
        }

        *d++ = ch;
    }

    if (literal && d[-1] != ']') {
        return "has an invalid IPv6 address";
    }

    *pos = p;
    *dst = d;

    return NULL;
}


static char *
ngx_http_token_origin_port(u_char *p, u_char *end, ngx_str_t *origin)
{
    ngx_int_t  port;

    if (p == end) {
        return NULL;
    }

    if (*p++ != ':') {
        return "has an invalid host";
    }

    if (ngx_strlchr(p, end, '/')) {
        return "has a path, write it without anything after the port, not "
               "even a slash";
    }

    port = (end - p > 5) ? NGX_ERROR : ngx_atoi(p, end - p);

    if (port == NGX_ERROR || port < 1 || port > 65535) {
        return "has an invalid port";
    }

    if ((port == 80 && ngx_strncmp(origin->data, "http:", 5) == 0)
        || (port == 443 && ngx_strncmp(origin->data, "https:", 6) == 0))
    {
        return NULL;
    }

    /* not longer than it was: zeros in front are dropped */

    origin->len = ngx_sprintf(origin->data + origin->len, ":%i", port)
                  - origin->data;

    return NULL;
}


char *
ngx_http_token_origins_add(ngx_conf_t *cf, ngx_http_token_origins_t *origins,
    ngx_str_t *text)
{
    if (text->len == 1 && text->data[0] == '*') {

        if (origins->any) {
            return "is duplicate";
        }

        origins->any = 1;

        return NGX_CONF_OK;
    }

    if (text->len && text->data[0] == '~') {
        return ngx_http_token_origins_add_regex(cf, origins, text);
    }

    return ngx_http_token_origins_add_exact(cf, origins, text);
}


static char *
ngx_http_token_origins_add_exact(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text)
{
    char                     *wrong;
    ngx_str_t                 name, *directive;
    ngx_http_token_origin_t  *origin;

    directive = cf->args->elts;

    name.data = ngx_pnalloc(cf->pool, text->len + 1);
    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    wrong = ngx_http_token_origin_normalize(text, &name);

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "origin \"%V\" of \"%V\" %s",
                           text, directive, wrong);
        return NGX_CONF_ERROR;
    }

    origin = ngx_array_push(&origins->list);
    if (origin == NULL) {
        return NGX_CONF_ERROR;
    }

    origin->name = name;
    origin->hash = ngx_murmur_hash2(name.data, name.len);

    return NGX_CONF_OK;
}


static char *
ngx_http_token_origins_add_regex(ngx_conf_t *cf,
    ngx_http_token_origins_t *origins, ngx_str_t *text)
{
#if (NGX_PCRE)
    u_char                errstr[NGX_MAX_CONF_ERRSTR];
    ngx_str_t             pattern, *directive;
    ngx_regex_elt_t      *re;
    ngx_regex_compile_t   rc;

    directive = cf->args->elts;
    pattern = *text;

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    pattern.data++;
    pattern.len--;

    if (pattern.len && pattern.data[0] == '*') {
        pattern.data++;
        pattern.len--;
        rc.options = NGX_REGEX_CASELESS;
    }

    if (pattern.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty regular expression in \"%V\"", directive);
        return NGX_CONF_ERROR;
    }

    if (pattern.data[0] != '^' || pattern.data[pattern.len - 1] != '$') {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "regular expression \"%V\" of \"%V\" does not begin "
                           "with \"^\" and end with \"$\": it allows origins "
                           "of others that contain a match",
                           &pattern, directive);
    }

    rc.pattern = pattern;
    rc.pool = cf->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_CONF_ERROR;
    }

    re = ngx_array_push(&origins->regexes);
    if (re == NULL) {
        return NGX_CONF_ERROR;
    }

    re->regex = rc.regex;
    re->name = pattern.data;

    return NGX_CONF_OK;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "using regular expression \"%V\" requires PCRE library",
                       text);

    (void) origins;

    return NGX_CONF_ERROR;

#endif
}


ngx_http_token_origins_t *
ngx_http_token_origins_create(ngx_conf_t *cf)
{
    ngx_http_token_origins_t  *origins;

    origins = ngx_pcalloc(cf->pool, sizeof(ngx_http_token_origins_t));
    if (origins == NULL) {
        return NULL;
    }

    if (ngx_array_init(&origins->list, cf->pool, 4,
                       sizeof(ngx_http_token_origin_t))
        != NGX_OK)
    {
        return NULL;
    }

#if (NGX_PCRE)
    if (ngx_array_init(&origins->regexes, cf->pool, 1, sizeof(ngx_regex_elt_t))
        != NGX_OK)
    {
        return NULL;
    }
#endif

    return origins;
}


char *
ngx_http_token_origins_init(ngx_conf_t *cf, ngx_http_token_origins_t *origins)
{
    uint32_t                  size;
    ngx_uint_t                i;
    ngx_http_token_origin_t  *origin, **bucket;

    if (origins->list.nelts == 0 || origins->buckets) {
        return NGX_CONF_OK;
    }

    if (origins->any) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "a list of \"token_proxy_cors_origin\" has no "
                           "effect beside \"*\"");
    }

    for (size = 16; size < 2 * origins->list.nelts; size *= 2) { /* void */ }

    origins->mask = size - 1;

    origins->buckets = ngx_pcalloc(cf->pool,
                                   size * sizeof(ngx_http_token_origin_t *));
    if (origins->buckets == NULL) {
        return NGX_CONF_ERROR;
    }

    origin = origins->list.elts;

    for (i = 0; i < origins->list.nelts; i++) {
        bucket = &origins->buckets[origin[i].hash & origins->mask];

        origin[i].next = *bucket;
        *bucket = &origin[i];
    }

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_token_origins_exact(ngx_http_token_origins_t *origins,
    ngx_str_t *name)
{
    uint32_t                  hash;
    ngx_http_token_origin_t  *origin;

    if (origins->buckets == NULL) {
        return 0;
    }

    hash = ngx_murmur_hash2(name->data, name->len);
    origin = origins->buckets[hash & origins->mask];

    for ( /* void */ ; origin; origin = origin->next) {
        if (origin->hash == hash && origin->name.len == name->len
            && ngx_memcmp(origin->name.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_token_origins_match(ngx_http_token_origins_t *origins,
    ngx_str_t *origin, ngx_log_t *log)
{
    if (ngx_http_token_origins_exact(origins, origin)) {
        return 1;
    }

#if (NGX_PCRE)
    if (origins->regexes.nelts
        && ngx_regex_exec_array(&origins->regexes, origin, log) == NGX_OK)
    {
        return 1;
    }
#else
    (void) log;
#endif

    return 0;
}
