
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The lifetime of a token: what its answer says of it, in one of the forms that
 * endpoints use, and what bounds it in the cache.
 */


#include "ngx_http_token_endpoint.h"


#define NGX_HTTP_TOKEN_MAX_LIFETIME  315360000  /* ten years */


static int64_t ngx_http_token_milliseconds(double seconds);
static ngx_int_t ngx_http_token_jwt_lifetime(ngx_pool_t *pool,
    ngx_array_t *members, double *seconds);
static ngx_int_t ngx_http_token_jwt_claims(ngx_pool_t *pool, ngx_str_t *token,
    ngx_array_t **claims);
static ngx_int_t ngx_http_token_subject_limit(ngx_pool_t *pool,
    ngx_http_token_fetch_t *fetch);
static ngx_uint_t ngx_http_token_is_subject(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *name);
static ngx_uint_t ngx_http_token_is_variable_param(
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *name);
static int64_t ngx_http_token_jwt_left(ngx_pool_t *pool, ngx_str_t *token);
static ngx_int_t ngx_http_token_expiry_lifetime(ngx_array_t *members,
    char *name, double *seconds);
static ngx_int_t ngx_http_token_timestamp(ngx_str_t *text, double *seconds);
static ngx_int_t ngx_http_token_digits(u_char *p, ngx_uint_t n, ngx_int_t min,
    ngx_int_t max);
static ngx_int_t ngx_http_token_number(ngx_array_t *members, char *name,
    double *n);


int64_t
ngx_http_token_lifetime(ngx_pool_t *pool, ngx_array_t *members)
{
    double  seconds;

    if ((ngx_http_token_number(members, "expires_in", &seconds) != NGX_OK
         || seconds < 0)
        && ngx_http_token_jwt_lifetime(pool, members, &seconds) != NGX_OK
        && ngx_http_token_expiry_lifetime(members, "expires_at", &seconds)
           != NGX_OK
        && ngx_http_token_expiry_lifetime(members, "expires_on", &seconds)
           != NGX_OK)
    {
        return -1;
    }

    return ngx_http_token_milliseconds(seconds);
}


/* a lifetime: none is negative, and none longer than ten years */

static int64_t
ngx_http_token_milliseconds(double seconds)
{
    if (seconds <= 0) {
        return 0;
    }

    return (seconds < NGX_HTTP_TOKEN_MAX_LIFETIME)
           ? (int64_t) (seconds * 1000)
           : (int64_t) NGX_HTTP_TOKEN_MAX_LIFETIME * 1000;
}


ngx_int_t
ngx_http_token_limit_lifetime(ngx_pool_t *pool, ngx_http_token_fetch_t *fetch)
{
    u_char                     *p;
    ngx_http_token_member_t    *m;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = fetch->request->tlcf;

    fetch->limit = -1;

    if (fetch->request->refresh_grant) {
        return NGX_OK;
    }

    if (tlcf->cache.zone && tlcf->cache.max_ttl) {
        fetch->limit = (int64_t) tlcf->cache.max_ttl * 1000;
    }

    if (tlcf->cache.zone
        && ngx_http_token_subject_limit(pool, fetch) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* without a cache as well, where a token may be exchanged for this one */

    if (fetch->token_limit != -1
        && (fetch->limit == -1 || fetch->token_limit < fetch->limit))
    {
        fetch->limit = fetch->token_limit;
        fetch->last = 0;
    }

    if (fetch->limit == -1 || fetch->lifetime <= fetch->limit) {
        return NGX_OK;
    }

    fetch->lifetime = fetch->limit;

    m = ngx_http_token_json_find(fetch->members, "expires_in");

    if (m == NULL) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    m->value.data = p;
    m->value.len = ngx_sprintf(p, "%L", fetch->lifetime / 1000) - p;

    return NGX_OK;
}


/*
 * RFC 8693 2.1 and RFC 7521 4.1: what a token is exchanged for, if it is a JWT
 * with an end.
 */

static ngx_int_t
ngx_http_token_subject_limit(ngx_pool_t *pool, ngx_http_token_fetch_t *fetch)
{
    int64_t                     left;
    ngx_str_t                   form, name, value, token;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = fetch->request->tlcf;
    form = fetch->sent->body;

    while (ngx_http_token_form_next(&form, &name, &value)) {

        if (!ngx_http_token_is_subject(tlcf, &name)) {
            continue;
        }

        token.data = ngx_pnalloc(pool, value.len);
        if (token.data == NULL) {
            return NGX_ERROR;
        }

        token.len = ngx_http_token_form_decode(token.data, &value)
                    - token.data;

        left = ngx_http_token_jwt_left(pool, &token);

        if (left != -1 && (fetch->limit == -1 || left < fetch->limit)) {
            fetch->limit = left;
            fetch->last = ngx_http_token_is_variable_param(tlcf, &name);
        }
    }

    return NGX_OK;
}


/* the assertion of a grant that the module signs is made anew for each call */

static ngx_uint_t
ngx_http_token_is_subject(ngx_http_token_loc_conf_t *tlcf, ngx_str_t *name)
{
    return (ngx_http_token_equals(name, "subject_token")
            || ngx_http_token_equals(name, "actor_token")
            || (ngx_http_token_equals(name, "assertion")
                && tlcf->auth.grant_alg == NULL));
}


/*
 * Whether a parameter is the caller's: the same request has the same value
 * then, while that of a file may have changed when it is sent again.
 */

static ngx_uint_t
ngx_http_token_is_variable_param(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *param;

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {

        if (param[i].name.len == name->len
            && ngx_memcmp(param[i].name.data, name->data, name->len) == 0)
        {
            return (param[i].value.complex && !param[i].value.is_file);
        }
    }

    return 0;
}


/* milliseconds until the exp of a JWT, RFC 7519 4.1.4; -1 if it has none */

static int64_t
ngx_http_token_jwt_left(ngx_pool_t *pool, ngx_str_t *token)
{
    double        exp;
    ngx_time_t   *tp;
    ngx_array_t  *claims;

    if (ngx_http_token_jwt_claims(pool, token, &claims) != NGX_OK
        || ngx_http_token_number(claims, "exp", &exp) != NGX_OK)
    {
        return -1;
    }

    tp = ngx_timeofday();

    return ngx_http_token_milliseconds(exp - (tp->sec + tp->msec / 1000.0));
}


/*
 * RFC 9068 and RFC 7519 4.1.4: between iat and exp, both by the endpoint's
 * clock, or else from now on.  Milliseconds count as absent.
 */

static ngx_int_t
ngx_http_token_jwt_lifetime(ngx_pool_t *pool, ngx_array_t *members,
    double *seconds)
{
    double                    exp, iat;
    ngx_array_t              *claims;
    ngx_http_token_member_t  *token;

    token = ngx_http_token_json_find(members, "access_token");

    if (token == NULL || !token->is_string
        || ngx_http_token_jwt_claims(pool, &token->string, &claims) != NGX_OK
        || ngx_http_token_number(claims, "exp", &exp) != NGX_OK
        || exp - ngx_time() >= NGX_HTTP_TOKEN_MAX_LIFETIME)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_token_number(claims, "iat", &iat) != NGX_OK) {
        iat = ngx_time();
    }

    *seconds = exp - iat;

    return NGX_OK;
}


/* the payload of a JWS in its compact form, RFC 7515 3.1 */

static ngx_int_t
ngx_http_token_jwt_claims(ngx_pool_t *pool, ngx_str_t *token,
    ngx_array_t **claims)
{
    u_char     *p, *last;
    ngx_str_t   payload, text;

    last = token->data + token->len;

    p = ngx_strlchr(token->data, last, '.');
    if (p == NULL) {
        return NGX_DECLINED;
    }

    payload.data = p + 1;

    p = ngx_strlchr(payload.data, last, '.');

    if (p == NULL || ngx_strlchr(p + 1, last, '.')) {
        return NGX_DECLINED;
    }

    payload.len = p - payload.data;

    text.data = ngx_pnalloc(pool, ngx_base64_decoded_length(payload.len) + 1);

    if (text.data == NULL
        || ngx_decode_base64url(&text, &payload) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_token_json_parse(pool, &text, claims);
}


/* seconds since 1970, or a date; what is no such time counts as absent */

static ngx_int_t
ngx_http_token_expiry_lifetime(ngx_array_t *members, char *name,
    double *seconds)
{
    double                    expiry;
    ngx_http_token_member_t  *m;

    if (ngx_http_token_number(members, name, &expiry) != NGX_OK) {

        m = ngx_http_token_json_find(members, name);

        if (m == NULL || !m->is_string
            || ngx_http_token_timestamp(&m->string, &expiry) != NGX_OK)
        {
            return NGX_DECLINED;
        }
    }

    *seconds = expiry - ngx_time();

    return (*seconds < NGX_HTTP_TOKEN_MAX_LIFETIME) ? NGX_OK : NGX_DECLINED;
}


/* a date of RFC 3339: 2026-11-26T15:01:23.045Z, or with +01:00 */

static ngx_int_t
ngx_http_token_timestamp(ngx_str_t *text, double *seconds)
{
    u_char     *p, *last;
    int64_t     days;
    ngx_int_t   year, month, day, hour, min, sec, zone, zone_min;

    p = text->data;
    last = p + text->len;

    if (text->len < sizeof("2026-11-26T15:01:23Z") - 1
        || p[4] != '-' || p[7] != '-' || (p[10] | 0x20) != 't'
        || p[13] != ':' || p[16] != ':')
    {
        return NGX_DECLINED;
    }

    year = ngx_http_token_digits(p, 4, 1970, 9999);
    month = ngx_http_token_digits(p + 5, 2, 1, 12);
    day = ngx_http_token_digits(p + 8, 2, 1, 31);
    hour = ngx_http_token_digits(p + 11, 2, 0, 23);
    min = ngx_http_token_digits(p + 14, 2, 0, 59);
    sec = ngx_http_token_digits(p + 17, 2, 0, 60);

    if (year == NGX_ERROR || month == NGX_ERROR || day == NGX_ERROR
        || hour == NGX_ERROR || min == NGX_ERROR || sec == NGX_ERROR)
    {
        return NGX_DECLINED;
    }

    p += sizeof("2026-11-26T15:01:23") - 1;

    /* a fraction is less than what the call has taken */

    if (*p == '.') {
        p++;

        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }
    }

    zone = 0;

    if (last - p == 6 && (*p == '+' || *p == '-') && p[3] == ':') {

        zone = ngx_http_token_digits(p + 1, 2, 0, 23);
        zone_min = ngx_http_token_digits(p + 4, 2, 0, 59);

        if (zone == NGX_ERROR || zone_min == NGX_ERROR) {
            return NGX_DECLINED;
        }

        zone = (zone * 60 + zone_min) * ((*p == '+') ? 1 : -1);

    } else if (last - p != 1 || (*p | 0x20) != 'z') {
        return NGX_DECLINED;
    }

    /* Gauss' formula, as in ngx_parse_http_time() */

    month -= 2;

    if (month <= 0) {
        month += 12;
        year -= 1;
    }

    days = 365 * year + year / 4 - year / 100 + year / 400
           + 367 * month / 12 - 30 + day - 1 - 719527 + 31 + 28;

    *seconds = (double) (days * 86400 + hour * 3600 + min * 60 + sec
                         - zone * 60);

    return NGX_OK;
}


/* a number of so many digits, or NGX_ERROR */

static ngx_int_t
ngx_http_token_digits(u_char *p, ngx_uint_t n, ngx_int_t min, ngx_int_t max)
{
    ngx_int_t  value;

    value = ngx_atoi(p, n);

    return (value < min || value > max) ? NGX_ERROR : value;
}


/* a number, or a string that is just a number */

static ngx_int_t
ngx_http_token_number(ngx_array_t *members, char *name, double *n)
{
    char                     *end;
    size_t                    i;
    ngx_str_t                *text;
    ngx_http_token_member_t  *m;

    m = ngx_http_token_json_find(members, name);

    if (m == NULL) {
        return NGX_DECLINED;
    }

    text = m->is_string ? &m->string : &m->value;

    *n = ngx_atoi(text->data, text->len);

    if (*n != NGX_ERROR) {
        return NGX_OK;
    }

    /* strtod() takes "inf", "0x10" and white space as well */

    for (i = 0; i < text->len; i++) {
        if (ngx_strchr("0123456789.+-eE", text->data[i]) == NULL) {
            return NGX_DECLINED;
        }
    }

    /* a quote, a brace or a comma follows, which end a number */

    *n = strtod((char *) text->data, &end);

    return (text->len && (u_char *) end == text->data + text->len)
           ? NGX_OK : NGX_DECLINED;
}
