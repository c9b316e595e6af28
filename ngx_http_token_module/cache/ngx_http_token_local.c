
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * Copies of what this worker has served, which are served again without the
 * lock of the zone.  One atomic read tells whether the entry is the same.
 */


#include "ngx_http_token_cache.h"


/* of each zone, in each worker */

#define NGX_HTTP_TOKEN_COPIES        1024
#define NGX_HTTP_TOKEN_COPIES_SIZE   (1024 * 1024)

/* what is larger, with all that belongs to it, is not copied */

#define NGX_HTTP_TOKEN_COPY_MAX      (64 * 1024)

/* how often those of no use are looked for, in milliseconds */

#define NGX_HTTP_TOKEN_COPIES_SWEEP  5000


struct ngx_http_token_copy_s {
    ngx_queue_t                     queue;
    ngx_http_token_copy_t          *next;      /* in its bucket */
    ngx_uint_t                      used;      /* since it was moved */
    size_t                          size;      /* of all this */

    /* what it is for */

    ngx_http_token_loc_conf_t      *tlcf;
    u_char                         *scheme;    /* in the configuration */
    ngx_uint_t                      bearer;    /* a header with that scheme */
    ngx_str_t                       inputs;    /* values, if any */
    uint32_t                        hash;      /* of all these */
    ngx_http_token_copy_t         **place;     /* where it is noted, or NULL */

    ngx_uint_t                      refs;      /* requests that send it */
    ngx_uint_t                      gone;      /* it is only sent to its end */

    /* whether it is good */

    ngx_http_token_slot_t          *slot;
    ngx_uint_t                      changed;   /* generation of the slot */
    ngx_uint_t                      touch;     /* evictions until then */
    ngx_http_token_time_t           expires;
    ngx_http_token_time_t           lead;      /* of the wall clock */
    ngx_http_token_time_t           until;     /* when it is to be renewed */

    ngx_uint_t                      endpoint;
    ngx_uint_t                      serial;
    ngx_str_t                       value;     /* without the number */
    size_t                          number_pos;
    ngx_uint_t                      number;    /* it has one */
    u_char                          digest[NGX_HTTP_TOKEN_DIGEST_LEN];
};


/* what a request needs that is served a copy */

typedef struct {
    ngx_http_token_result_t         result;
    ngx_http_token_ctx_t            ctx;       /* unless it has one */
    ngx_pool_cleanup_t              cleanup;
} ngx_http_token_hit_t;


struct ngx_http_token_copies_s {
    ngx_queue_t                     queue;     /* the oldest is the last */
    ngx_uint_t                      n;
    size_t                          size;
    ngx_http_token_hits_t          *hits;      /* of this worker */
    ngx_event_t                     event;
    ngx_http_token_copy_t          *buckets[NGX_HTTP_TOKEN_COPIES];

    /* what was looked up once: what is looked up again gets a copy */

    uint32_t                        seen[NGX_HTTP_TOKEN_COPIES];
};


static ngx_http_token_copies_t *ngx_http_token_copies_create(
    ngx_http_token_zone_t *zone);
static uint32_t ngx_http_token_copy_hash(ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *scheme, ngx_str_t *inputs);
static ngx_http_token_copy_t *ngx_http_token_copy_find(
    ngx_http_token_copies_t *copies, ngx_http_token_loc_conf_t *tlcf,
    ngx_str_t *scheme, ngx_str_t *inputs, uint32_t hash);
static ngx_http_token_result_t *ngx_http_token_copy_get(
    ngx_http_request_t *r, ngx_http_token_zone_t *zone,
    ngx_http_token_copy_t *copy);
static ngx_http_token_result_t *ngx_http_token_copy_serve(
    ngx_http_request_t *r, ngx_http_token_copy_t *copy,
    ngx_http_token_time_t now);
static ngx_int_t ngx_http_token_copy_number(ngx_http_request_t *r,
    ngx_http_token_copy_t *copy, ngx_http_token_result_t *result);
static void ngx_http_token_copy_release(void *data);
static void ngx_http_token_copy_overwrite(ngx_http_token_copy_t *copy);
static ngx_http_token_result_t *ngx_http_token_copy_get_plain(
    ngx_http_request_t *r, ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme,
    ngx_http_token_copy_t **place);
static ngx_http_token_copy_t *ngx_http_token_copy_create(
    ngx_http_token_request_t *request, u_char *digest,
    ngx_http_token_lookup_t *lookup);
static void ngx_http_token_copy_free(ngx_http_token_copies_t *copies,
    ngx_http_token_copy_t *copy);
static void ngx_http_token_copies_shrink(ngx_http_token_copies_t *copies,
    size_t size);
static void ngx_http_token_copies_sweep(ngx_event_t *ev);


ngx_http_token_result_t *
ngx_http_token_local_get(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme, ngx_str_t *inputs)
{
    ngx_http_token_copy_t  *copy;
    ngx_http_token_zone_t  *zone;

    zone = tlcf->cache.zone->data;

    if (zone->copies == NULL) {
        return NULL;
    }

    copy = ngx_http_token_copy_find(zone->copies, tlcf, scheme, inputs,
                                    ngx_http_token_copy_hash(tlcf, scheme,
                                                             inputs));

    return copy ? ngx_http_token_copy_get(r, zone, copy) : NULL;
}


ngx_http_token_result_t *
ngx_http_token_local_get_plain(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme,
    ngx_http_token_copy_t **place)
{
    return *place ? ngx_http_token_copy_get(r, tlcf->cache.zone->data, *place)
                  : ngx_http_token_copy_get_plain(r, tlcf, scheme, place);
}


static ngx_http_token_result_t *
ngx_http_token_copy_get_plain(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme,
    ngx_http_token_copy_t **place)
{
    ngx_str_t               none;
    ngx_http_token_copy_t  *copy;
    ngx_http_token_zone_t  *zone;

    zone = tlcf->cache.zone->data;

    if (zone->copies == NULL) {
        return NULL;
    }

    ngx_str_null(&none);

    copy = ngx_http_token_copy_find(zone->copies, tlcf, scheme, &none,
                                    ngx_http_token_copy_hash(tlcf, scheme,
                                                             &none));
    if (copy == NULL) {
        return NULL;
    }

    /* one that several locations serve is noted in the first of them */

    if (copy->place == NULL) {
        copy->place = place;
        *place = copy;
    }

    return ngx_http_token_copy_get(r, zone, copy);
}


static ngx_http_token_result_t *
ngx_http_token_copy_get(ngx_http_request_t *r, ngx_http_token_zone_t *zone,
    ngx_http_token_copy_t *copy)
{
    ngx_http_token_time_t     now;
    ngx_http_token_copies_t  *copies;

    copies = zone->copies;

    now = ngx_http_token_now();

    /*
     * The generation is volatile, and the only thing in shared memory of which
     * it depends whether the copy is good: nothing else has to be ordered with
     * it.  Who has changed it has used a full barrier, and who has heard of the
     * change comes later.
     */

    if (copy->slot->generation != copy->changed || copy->expires <= now
        || ngx_http_token_missed(copy->lead, now))
    {
        ngx_http_token_copy_free(copies, copy);
        return NULL;
    }

    /* a lookup after many evictions makes the entry the youngest again */

    if (copy->until <= now
        || (ngx_int_t) (zone->unlocked->evictions - copy->touch) >= 0)
    {
        return NULL;
    }

    (void) ngx_atomic_fetch_add(&copies->hits->hits[copy->endpoint], 1);

    copy->used = 1;

    return ngx_http_token_copy_serve(r, copy, now);
}


static ngx_http_token_result_t *
ngx_http_token_copy_serve(ngx_http_request_t *r, ngx_http_token_copy_t *copy,
    ngx_http_token_time_t now)
{
    ngx_http_token_ctx_t     *ctx;
    ngx_http_token_hit_t     *hit;
    ngx_http_token_result_t  *result;

    hit = ngx_pcalloc(r->pool, sizeof(ngx_http_token_hit_t));
    if (hit == NULL) {
        return NULL;
    }

    result = &hit->result;

    ctx = ngx_http_get_module_ctx(r, ngx_http_token_module);

    if (ctx == NULL) {
        ctx = &hit->ctx;
        ngx_http_set_ctx(r, ctx, ngx_http_token_module);
    }

    ctx->result = result;

    result->outcome = NGX_HTTP_TOKEN_OK;
    result->cache_status = NGX_HTTP_TOKEN_CACHE_HIT;
    result->expires_in = (time_t) ((copy->expires - now) / 1000);
    result->serial = copy->serial;
    result->digest = copy->digest;
    result->value = copy->value;

    /* it is sent as it is, and stays until it has been sent */

    copy->refs++;

    hit->cleanup.handler = ngx_http_token_copy_release;
    hit->cleanup.data = copy;
    hit->cleanup.next = r->pool->cleanup;
    r->pool->cleanup = &hit->cleanup;

    if (copy->number && ngx_http_token_copy_number(r, copy, result) != NGX_OK) {
        return NULL;
    }

    return result;
}


/* the same with the seconds that are left */

static ngx_int_t
ngx_http_token_copy_number(ngx_http_request_t *r, ngx_http_token_copy_t *copy,
    ngx_http_token_result_t *result)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, copy->value.len + NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    result->value.data = p;

    p = ngx_cpymem(p, copy->value.data, copy->number_pos);
    p = ngx_sprintf(p, "%T", result->expires_in);
    p = ngx_cpymem(p, copy->value.data + copy->number_pos,
                   copy->value.len - copy->number_pos);

    result->value.len = p - result->value.data;

    return NGX_OK;
}


/* the cleanup of a request */

static void
ngx_http_token_copy_release(void *data)
{
    ngx_http_token_copy_t  *copy = data;

    copy->refs--;

    if (copy->gone && copy->refs == 0) {
        ngx_http_token_copy_overwrite(copy);
    }
}


static void
ngx_http_token_copy_overwrite(ngx_http_token_copy_t *copy)
{
    ngx_explicit_memzero(copy, copy->size);
    ngx_free(copy);
}


static uint32_t
ngx_http_token_copy_hash(ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme,
    ngx_str_t *inputs)
{
    uint32_t  hash;

    hash = (uint32_t) ((uintptr_t) tlcf >> 4);

    if (scheme) {
        hash += (uint32_t) ((uintptr_t) scheme->data * 31 + 1);
    }

    if (inputs->len) {
        hash ^= ngx_murmur_hash2(inputs->data, inputs->len);
    }

    return hash;
}


/* values may be secrets: the time of a comparison tells nothing of them */

static ngx_http_token_copy_t *
ngx_http_token_copy_find(ngx_http_token_copies_t *copies,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *scheme, ngx_str_t *inputs,
    uint32_t hash)
{
    u_char                 *text;
    ngx_uint_t              bearer;
    ngx_http_token_copy_t  *copy;

    bearer = (scheme != NULL);
    text = scheme ? scheme->data : NULL;

    for (copy = copies->buckets[hash % NGX_HTTP_TOKEN_COPIES];
         copy;
         copy = copy->next)
    {
        if (copy->hash == hash
            && copy->tlcf == tlcf
            && copy->bearer == bearer
            && copy->scheme == text
            && copy->inputs.len == inputs->len
            && (inputs->len == 0
                || CRYPTO_memcmp(copy->inputs.data, inputs->data, inputs->len)
                   == 0))
        {
            return copy;
        }
    }

    return NULL;
}


void
ngx_http_token_local_set(ngx_http_token_request_t *request, u_char *digest,
    ngx_http_token_lookup_t *lookup)
{
    uint32_t                    hash, *seen;
    ngx_str_t                  *inputs;
    ngx_http_token_copy_t      *copy, **bucket;
    ngx_http_token_zone_t      *zone;
    ngx_http_token_copies_t    *copies;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;
    inputs = &request->inputs;
    zone = tlcf->cache.zone->data;

    if ((tlcf->digest == NULL && inputs->len == 0)
        || lookup->renew_at <= ngx_http_token_now())
    {
        return;
    }

    if (zone->copies == NULL) {
        zone->copies = ngx_http_token_copies_create(zone);
        if (zone->copies == NULL) {
            return;
        }
    }

    copies = zone->copies;

    hash = ngx_http_token_copy_hash(tlcf, lookup->scheme, inputs);

    seen = &copies->seen[hash % NGX_HTTP_TOKEN_COPIES];

    copy = ngx_http_token_copy_find(copies, tlcf, lookup->scheme, inputs, hash);

    if (copy) {
        ngx_http_token_copy_free(copies, copy);

    } else if (*seen != hash) {

        /* of those that come in turns to one place, one stays now and then */

        if (*seen == 0 || (ngx_random() & 1)) {
            *seen = hash;
        }

        return;
    }

    copy = ngx_http_token_copy_create(request, digest, lookup);
    if (copy == NULL) {
        return;
    }

    ngx_http_token_copies_shrink(copies, copy->size);

    copy->hash = hash;

    bucket = &copies->buckets[hash % NGX_HTTP_TOKEN_COPIES];

    copy->next = *bucket;
    *bucket = copy;

    ngx_queue_insert_head(&copies->queue, &copy->queue);

    copies->n++;
    copies->size += copy->size;

    if (!copies->event.timer_set) {
        ngx_add_timer(&copies->event, NGX_HTTP_TOKEN_COPIES_SWEEP);
    }
}


static ngx_http_token_copy_t *
ngx_http_token_copy_create(ngx_http_token_request_t *request, u_char *digest,
    ngx_http_token_lookup_t *lookup)
{
    u_char                     *p;
    size_t                      size;
    ngx_str_t                  *value;
    ngx_http_token_copy_t      *copy;
    ngx_http_token_zone_t      *zone;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;
    zone = tlcf->cache.zone->data;
    value = &lookup->value;

    size = sizeof(ngx_http_token_copy_t) + request->inputs.len + value->len;

    if (size > NGX_HTTP_TOKEN_COPY_MAX) {
        return NULL;
    }

    copy = ngx_alloc(size, ngx_cycle->log);
    if (copy == NULL) {
        return NULL;
    }

    ngx_memzero(copy, sizeof(ngx_http_token_copy_t));

    copy->size = size;
    copy->tlcf = tlcf;
    copy->bearer = (lookup->scheme != NULL);
    copy->scheme = lookup->scheme ? lookup->scheme->data : NULL;

    copy->slot = ngx_http_token_zone_slot(zone, digest);
    copy->changed = lookup->changed;
    copy->touch = lookup->touch;
    copy->expires = lookup->expires;
    copy->lead = lookup->lead;
    copy->until = ngx_min(lookup->expires, lookup->renew_at);

    copy->endpoint = lookup->endpoint;
    copy->serial = lookup->serial;
    copy->number = (lookup->number_len != 0);
    copy->number_pos = lookup->number_pos;

    ngx_memcpy(copy->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN);

    p = (u_char *) (copy + 1);

    copy->inputs.len = request->inputs.len;
    copy->inputs.data = p;

    if (request->inputs.len) {
        p = ngx_cpymem(p, request->inputs.data, request->inputs.len);
    }

    copy->value.len = value->len - lookup->number_len;
    copy->value.data = p;

    if (copy->number) {
        p = ngx_cpymem(p, value->data, copy->number_pos);
        ngx_memcpy(p, value->data + copy->number_pos + lookup->number_len,
                   copy->value.len - copy->number_pos);

    } else if (value->len) {
        ngx_memcpy(p, value->data, value->len);
    }

    return copy;
}


static void
ngx_http_token_copy_free(ngx_http_token_copies_t *copies,
    ngx_http_token_copy_t *copy)
{
    ngx_http_token_copy_t  **p;

    p = &copies->buckets[copy->hash % NGX_HTTP_TOKEN_COPIES];

    while (*p != copy) {
        p = &(*p)->next;
    }

    *p = copy->next;

    ngx_queue_remove(&copy->queue);

    if (copy->place) {
        *copy->place = NULL;
    }

    copies->n--;
    copies->size -= copy->size;

    if (copy->refs) {
        copy->gone = 1;
        return;
    }

    ngx_http_token_copy_overwrite(copy);
}


/* makes room; one that was used since it was looked at stays once more */

static void
ngx_http_token_copies_shrink(ngx_http_token_copies_t *copies, size_t size)
{
    ngx_queue_t            *q, *prev;
    ngx_http_token_copy_t  *copy;

    for (q = ngx_queue_last(&copies->queue);
         q != ngx_queue_sentinel(&copies->queue)
         && (copies->n >= NGX_HTTP_TOKEN_COPIES
             || copies->size + size > NGX_HTTP_TOKEN_COPIES_SIZE);
         q = prev)
    {
        prev = ngx_queue_prev(q);

        copy = ngx_queue_data(q, ngx_http_token_copy_t, queue);

        if (copy->used) {

            /* it is come to once more, before the end */

            copy->used = 0;

            ngx_queue_remove(q);
            ngx_queue_insert_head(&copies->queue, q);

        } else {
            ngx_http_token_copy_free(copies, copy);
        }
    }
}


static ngx_http_token_copies_t *
ngx_http_token_copies_create(ngx_http_token_zone_t *zone)
{
    ngx_http_token_copies_t  *copies;

    copies = ngx_calloc(sizeof(ngx_http_token_copies_t), ngx_cycle->log);
    if (copies == NULL) {
        return NULL;
    }

    ngx_queue_init(&copies->queue);

    copies->hits = ngx_http_token_zone_hits(zone);

    copies->event.handler = ngx_http_token_copies_sweep;
    copies->event.data = copies;
    copies->event.log = ngx_cycle->log;

    /* a worker that has nothing else to do may leave */

    copies->event.cancelable = 1;

    return copies;
}


/* a token that nobody asks for any more does not stay in memory either */

static void
ngx_http_token_copies_sweep(ngx_event_t *ev)
{
    ngx_queue_t              *q, *next;
    ngx_http_token_copy_t    *copy;
    ngx_http_token_time_t     now;
    ngx_http_token_copies_t  *copies;

    copies = ev->data;

    now = ngx_http_token_now();

    for (q = ngx_queue_head(&copies->queue);
         q != ngx_queue_sentinel(&copies->queue);
         q = next)
    {
        next = ngx_queue_next(q);

        copy = ngx_queue_data(q, ngx_http_token_copy_t, queue);

        if (copy->slot->generation != copy->changed || copy->expires <= now
            || ngx_http_token_missed(copy->lead, now))
        {
            ngx_http_token_copy_free(copies, copy);
        }
    }

    if (copies->n) {
        ngx_add_timer(ev, NGX_HTTP_TOKEN_COPIES_SWEEP);
    }
}


void
ngx_http_token_local_done(void *data)
{
    ngx_http_token_zone_t  *zone = data;

    ngx_queue_t              *q, *next;
    ngx_http_token_copy_t    *copy;
    ngx_http_token_copies_t  *copies;

    copies = zone->copies;

    if (copies == NULL) {
        return;
    }

    if (copies->event.timer_set) {
        ngx_del_timer(&copies->event);
    }

    for (q = ngx_queue_head(&copies->queue);
         q != ngx_queue_sentinel(&copies->queue);
         q = next)
    {
        next = ngx_queue_next(q);

        copy = ngx_queue_data(q, ngx_http_token_copy_t, queue);

        ngx_http_token_copy_free(copies, copy);
    }

    ngx_free(copies);

    zone->copies = NULL;
}
