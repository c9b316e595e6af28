
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The texts that the store keeps, before they are sealed and when they have
 * been opened: a token with its times, or how a fetch has failed.
 */


#include "ngx_http_token_cache.h"


/* by so much, in milliseconds, a machine's clock and the store's may differ */

#define NGX_HTTP_TOKEN_STORE_SKEW      7200000

/*
 * A kind, flags, which secret, a NUL; two times in milliseconds: the expiry by
 * the store's clock, which is the only one that all machines know, and the
 * lifetime.
 */

#define NGX_HTTP_TOKEN_SEALED_HEADER   20

#define NGX_HTTP_TOKEN_SEALED_TOKEN    1
#define NGX_HTTP_TOKEN_SEALED_FAILURE  2

#define NGX_HTTP_TOKEN_SEALED_TOLD     1
#define NGX_HTTP_TOKEN_SEALED_LAST     2

/* what the seal of a token is bound to, besides its name, is its serial */

static ngx_str_t  ngx_http_token_failure = ngx_string("failure");


static ngx_int_t ngx_http_token_share_unseal(ngx_http_token_share_t *share,
    ngx_str_t *with, ngx_str_t *sealed, u_char kind, int64_t now,
    ngx_str_t *text);
static void ngx_http_token_share_with(u_char *p, u_char *name,
    ngx_str_t *serial, ngx_str_t *with);
static int64_t ngx_http_token_wall_clock(void);
static u_char *ngx_http_token_write_int64(u_char *p, int64_t n);
static int64_t ngx_http_token_read_int64(u_char *p);


/* opens the token of a reply */

ngx_int_t
ngx_http_token_share_open(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    u_char                       *p, buf[NGX_HTTP_TOKEN_SEAL_WITH];
    int64_t                       left;
    ngx_str_t                     with, text;
    ngx_http_token_resp_value_t  *value;

    value = reply->values;

    if (value[2].text.len > NGX_HTTP_TOKEN_SERIAL_LEN) {
        return NGX_DECLINED;
    }

    ngx_http_token_share_with(buf, share->names[share->key], &value[2].text,
                              &with);

    if (ngx_http_token_share_unseal(share, &with, &value[3].text,
                                    NGX_HTTP_TOKEN_SEALED_TOKEN,
                                    value[5].integer, &text)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    p = text.data;

    share->told = p[1] & NGX_HTTP_TOKEN_SEALED_TOLD;
    share->last = p[1] & NGX_HTTP_TOKEN_SEALED_LAST;
    share->secret = p[2];
    share->lifetime = ngx_http_token_read_int64(p + 12);

    /* the store may say less, not more */

    left = ngx_http_token_read_int64(p + 4) - value[5].integer;
    left = ngx_min(left, value[4].integer);
    left = ngx_min(left, share->lifetime);

    /* since it was asked for */

    share->left = left - (ngx_http_token_now() - share->sent);

    if (share->left <= 0 || share->secret > NGX_HTTP_TOKEN_SECOND_SECRET) {
        return NGX_DECLINED;
    }

    share->text.data = p + NGX_HTTP_TOKEN_SEALED_HEADER;
    share->text.len = text.len - NGX_HTTP_TOKEN_SEALED_HEADER;

    share->token_serial = (uint64_t) ngx_atoof(value[2].text.data,
                                               value[2].text.len);
    share->expires = share->sent + left;

    /* the script leaves out the one that this machine has, others may not */

    return (share->token_serial == share->have) ? NGX_DECLINED : NGX_OK;
}


/* "outcome retry_after" */

ngx_int_t
ngx_http_token_share_open_failure(ngx_http_token_share_t *share,
    ngx_http_token_resp_t *reply)
{
    u_char                       *p, buf[NGX_HTTP_TOKEN_SEAL_WITH];
    int64_t                       left;
    ngx_int_t                     n;
    ngx_str_t                     with, text;
    ngx_uint_t                    i;
    ngx_http_token_resp_value_t  *value;

    value = reply->values;

    ngx_http_token_share_with(buf, share->names[0], &ngx_http_token_failure,
                              &with);

    left = value[2].integer;

    if (left <= 0
        || ngx_http_token_share_unseal(share, &with, &value[3].text,
                                       NGX_HTTP_TOKEN_SEALED_FAILURE,
                                       value[4].integer, &text)
           != NGX_OK)
    {
        return NGX_DECLINED;
    }

    text.data += NGX_HTTP_TOKEN_SEALED_HEADER;
    text.len -= NGX_HTTP_TOKEN_SEALED_HEADER;

    p = ngx_strlchr(text.data, text.data + text.len, ' ');
    if (p == NULL) {
        return NGX_DECLINED;
    }

    n = ngx_atoi(p + 1, text.data + text.len - p - 1);
    text.len = p - text.data;

    for (i = 1; i < NGX_HTTP_TOKEN_OUTCOMES; i++) {

        if (n != NGX_ERROR
            && ngx_http_token_equals(&text, ngx_http_token_outcome_names[i]))
        {
            share->outcome = i;
            share->retry_after = n;
            share->backoff = (ngx_msec_t) ngx_min(left,
                                                (int64_t) share->max_backoff);
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/*
 * Opens what is sealed.  What has expired by the store's clock was put back by
 * somebody, and so was what has expired long ago by this machine's, if
 * somebody has set the store's.
 */

static ngx_int_t
ngx_http_token_share_unseal(ngx_http_token_share_t *share, ngx_str_t *with,
    ngx_str_t *sealed, u_char kind, int64_t now, ngx_str_t *text)
{
    int64_t  expires;

    if (ngx_http_token_unseal(share->pool, &share->keys[share->key], with,
                              sealed, text)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (text->len <= NGX_HTTP_TOKEN_SEALED_HEADER || text->data[0] != kind) {
        return NGX_DECLINED;
    }

    expires = ngx_http_token_read_int64(text->data + 4);

    return (expires > now
            && expires > ngx_http_token_wall_clock()
                         - NGX_HTTP_TOKEN_STORE_SKEW)
           ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_token_share_seal(ngx_http_token_share_t *share,
    ngx_http_token_shared_t *token, ngx_str_t *serial, ngx_str_t *sealed)
{
    u_char     *p, buf[NGX_HTTP_TOKEN_SEAL_WITH];
    ngx_str_t   with, text;

    text.len = NGX_HTTP_TOKEN_SEALED_HEADER + token->text.len;

    if (text.len > NGX_HTTP_TOKEN_RESP_BULK - NGX_HTTP_TOKEN_SEAL_MORE) {
        return NGX_DECLINED;
    }

    p = ngx_pcalloc(share->pool, text.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.data = p;

    p[0] = NGX_HTTP_TOKEN_SEALED_TOKEN;
    p[1] = (token->told ? NGX_HTTP_TOKEN_SEALED_TOLD : 0)
           | (token->last ? NGX_HTTP_TOKEN_SEALED_LAST : 0);
    p[2] = (u_char) token->secret;

    p = ngx_http_token_write_int64(p + 4, share->now + token->left);
    p = ngx_http_token_write_int64(p, token->lifetime);
    ngx_memcpy(p, token->text.data, token->text.len);

    ngx_http_token_share_with(buf, share->names[0], serial, &with);

    return ngx_http_token_seal(share->pool, &share->keys[0], &with, &text,
                               sealed);
}


ngx_int_t
ngx_http_token_share_seal_failure(ngx_http_token_share_t *share,
    ngx_uint_t outcome, time_t retry_after, ngx_msec_t backoff,
    ngx_str_t *sealed)
{
    u_char     *p, buf[NGX_HTTP_TOKEN_SEAL_WITH],
                what[NGX_HTTP_TOKEN_SEALED_HEADER + 64];
    ngx_str_t   with, text;

    ngx_memzero(what, NGX_HTTP_TOKEN_SEALED_HEADER);

    what[0] = NGX_HTTP_TOKEN_SEALED_FAILURE;

    /* the time since the lease was taken is that of the call */

    (void) ngx_http_token_write_int64(what + 4, share->now
                                                + ngx_http_token_now()
                                                - share->sent
                                                + (int64_t) backoff);

    p = ngx_snprintf(what + NGX_HTTP_TOKEN_SEALED_HEADER, 64, "%s %T",
                     ngx_http_token_outcome_names[outcome], retry_after);

    text.data = what;
    text.len = p - what;

    ngx_http_token_share_with(buf, share->names[0], &ngx_http_token_failure,
                              &with);

    return ngx_http_token_seal(share->pool, &share->keys[0], &with, &text,
                               sealed);
}


/* what a sealed text belongs to, lest it is put in another's place */

static void
ngx_http_token_share_with(u_char *p, u_char *name, ngx_str_t *serial,
    ngx_str_t *with)
{
    with->data = p;

    p = ngx_cpymem(p, name, NGX_HTTP_TOKEN_DIGEST_LEN);
    p = ngx_cpymem(p, serial->data, serial->len);

    with->len = p - with->data;
}


static int64_t
ngx_http_token_wall_clock(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}


static u_char *
ngx_http_token_write_int64(u_char *p, int64_t n)
{
    ngx_int_t  shift;

    for (shift = 56; shift >= 0; shift -= 8) {
        *p++ = (u_char) ((uint64_t) n >> shift);
    }

    return p;
}


static int64_t
ngx_http_token_read_int64(u_char *p)
{
    uint64_t    n;
    ngx_uint_t  i;

    n = 0;

    for (i = 0; i < 8; i++) {
        n = n << 8 | p[i];
    }

    return (int64_t) n;
}
