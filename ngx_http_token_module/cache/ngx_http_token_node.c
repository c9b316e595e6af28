
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The entries of the cache in shared memory.  All functions here are called
 * under the lock of the zone.
 */


#include "ngx_http_token_cache.h"


static void ngx_http_token_node_used(ngx_http_token_shctx_t *sh,
    ngx_http_token_node_t *tn);
static void ngx_http_token_node_changes(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn);
static ngx_http_token_stored_t *ngx_http_token_node_alloc_stored(
    ngx_http_token_zone_t *zone, ngx_http_token_shctx_t *sh,
    ngx_http_token_stored_t *stored, ngx_http_token_node_t *keep);
static ngx_uint_t ngx_http_token_evict(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *keep);
static void ngx_http_token_node_free(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn);
static void ngx_http_token_node_free_stored(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t **stored);
static void ngx_http_token_node_swap(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn);


ngx_http_token_node_t *
ngx_http_token_node_find(ngx_http_token_shctx_t *sh, u_char *digest)
{
    ngx_int_t               rc;
    ngx_rbtree_node_t      *node, *sentinel;
    ngx_http_token_node_t  *tn;

    node = sh->rbtree.root;
    sentinel = sh->rbtree.sentinel;

    while (node != sentinel) {

        tn = (ngx_http_token_node_t *) node;

        rc = ngx_memcmp(digest, tn->digest, NGX_HTTP_TOKEN_DIGEST_LEN);

        if (rc == 0) {
            return tn;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


ngx_http_token_node_t *
ngx_http_token_node_get(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, u_char *digest, ngx_str_t *endpoint)
{
    ngx_http_token_node_t  *tn;

    tn = ngx_http_token_node_find(sh, digest);

    if (tn) {
        ngx_http_token_node_used(sh, tn);
        return tn;
    }

    while ((tn = ngx_http_token_place_alloc(zone, sh)) == NULL) {
        if (!ngx_http_token_evict(zone, sh, NULL)) {
            return NULL;
        }
    }

    ngx_memzero(tn, sizeof(ngx_http_token_node_t));

    ngx_memcpy(tn->digest, digest, NGX_HTTP_TOKEN_DIGEST_LEN);

    /* a waiter of an entry that was evicted remembers another generation */

    tn->generation = (uint32_t) ++sh->generation;
    tn->endpoint = ngx_http_token_stats_endpoint(sh, endpoint);

    sh->entries++;

    ngx_rbtree_insert(&sh->rbtree, &tn->node);
    ngx_queue_insert_head(&sh->queue, &tn->queue);

    return tn;
}


static void
ngx_http_token_node_used(ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn)
{
    if (ngx_queue_head(&sh->queue) == &tn->queue) {
        return;
    }

    ngx_queue_remove(&tn->queue);
    ngx_queue_insert_head(&sh->queue, &tn->queue);
}


/*
 * Copies of a token in workers are of no use from here on.  It is said before
 * the token changes: a worker that dies in between leaves no copy that is.
 * ngx_atomic_fetch_add() is a full barrier, and workers that ask have not seen
 * anything of what follows.
 */

static void
ngx_http_token_node_changes(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn)
{
    ngx_http_token_slot_t  *slot;

    slot = ngx_http_token_zone_slot(zone, tn->digest);

    (void) ngx_atomic_fetch_add(&slot->generation, 1);
}


static ngx_http_token_stored_t *
ngx_http_token_node_alloc_stored(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_stored_t *stored,
    ngx_http_token_node_t *keep)
{
    u_char      *parts[NGX_HTTP_TOKEN_PARTS];
    size_t       max, sizes[NGX_HTTP_TOKEN_PARTS];
    ngx_uint_t   i, n;

    /* nothing is evicted for what would need more than half of the zone */

    max = (zone->shpool->end - zone->shpool->start) / 2;

    if (stored->size > max) {
        return NULL;
    }

    n = ngx_http_token_parts_sizes(zone, stored->size, sizes);

    for (i = 0; i < n; /* void */ ) {

        parts[i] = ngx_slab_alloc_locked(zone->shpool, sizes[i]);

        if (parts[i]) {
            i++;
            continue;
        }

        if (!ngx_http_token_evict(zone, sh, keep)) {

            while (i) {
                ngx_slab_free_locked(zone->shpool, parts[--i]);
            }

            return NULL;
        }
    }

    ngx_http_token_parts_write(zone, stored, parts);

    return (ngx_http_token_stored_t *) parts[0];
}


/*
 * The entry that was not used for the longest time goes; one that is being
 * fetched goes only if there is no other, and what it has beside its token goes
 * first.
 */

static ngx_uint_t
ngx_http_token_evict(ngx_http_token_zone_t *zone, ngx_http_token_shctx_t *sh,
    ngx_http_token_node_t *keep)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_http_token_node_t  *tn, *last;
    ngx_http_token_time_t   now;

    now = ngx_http_token_now();

    n = 0;
    last = NULL;

    for (q = ngx_queue_last(&sh->queue);
         q != ngx_queue_sentinel(&sh->queue) && n < 32;
         q = ngx_queue_prev(q))
    {
        n++;

        tn = ngx_queue_data(q, ngx_http_token_node_t, queue);

        if (keep && tn == keep) {
            continue;
        }

        if (tn->other) {
            ngx_http_token_node_free_stored(zone, &tn->other);
            return 1;
        }

        if (tn->lease_until <= now) {
            ngx_http_token_node_free(zone, sh, tn);
            return 1;
        }

        if (last == NULL) {
            last = tn;
        }
    }

    if (last) {
        ngx_http_token_node_free(zone, sh, last);
        return 1;
    }

    return 0;
}


static void
ngx_http_token_node_free(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn)
{
    ngx_queue_remove(&tn->queue);
    ngx_rbtree_delete(&sh->rbtree, &tn->node);

    ngx_http_token_node_free_tokens(zone, tn);

    ngx_http_token_place_free(zone, sh, tn);

    sh->entries--;
    zone->unlocked->evictions++;
}


ngx_int_t
ngx_http_token_node_store(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn,
    ngx_http_token_stored_t *stored)
{
    ngx_http_token_stored_t  *new;

    ngx_http_token_node_used(sh, tn);

    ngx_http_token_node_free_stored(zone, &tn->other);

    stored->serial = ++sh->generation;

    new = ngx_http_token_node_alloc_stored(zone, sh, stored, tn);
    if (new == NULL) {
        return NGX_ERROR;
    }

    ngx_http_token_node_changes(zone, tn);

    tn->other = tn->stored;
    tn->stored = new;
    tn->asked = stored->asked;
    tn->renewed = ngx_http_token_now();
    tn->expired = 1;

    if (stored->shared) {
        tn->shared = stored->shared;
    }

    if (tn->other
        && (!zone->keep_other || tn->revoked
            || tn->other->expires <= tn->renewed))
    {
        ngx_http_token_node_free_stored(zone, &tn->other);
    }

    tn->revoked = 0;

    return NGX_OK;
}


void
ngx_http_token_node_age(ngx_http_token_zone_t *zone, ngx_http_token_node_t *tn,
    ngx_http_token_time_t now)
{
    if (tn->stored && ngx_http_token_stored_age(tn->stored, now)) {
        ngx_http_token_node_changes(zone, tn);
    }

    if (tn->other) {
        (void) ngx_http_token_stored_age(tn->other, now);
    }
}


void
ngx_http_token_node_free_tokens(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn)
{
    ngx_http_token_node_changes(zone, tn);

    ngx_http_token_node_free_stored(zone, &tn->stored);
    ngx_http_token_node_free_stored(zone, &tn->other);
}


static void
ngx_http_token_node_free_stored(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t **stored)
{
    if (*stored == NULL) {
        return;
    }

    ngx_http_token_parts_free(zone, *stored);

    *stored = NULL;
}


ngx_uint_t
ngx_http_token_node_use_before(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now)
{
    ngx_http_token_stored_t  *before, *current;

    before = tn->other;
    current = tn->stored;

    if (before == NULL
        || before->serial > current->serial
        || before->expires <= now
        || now - current->asked >= NGX_HTTP_TOKEN_RECENT)
    {
        return 0;
    }

    ngx_http_token_node_swap(zone, tn);

    /* then the newer one is used again, and nothing is fetched */

    before->renew_at = current->asked + NGX_HTTP_TOKEN_RECENT;

    return 1;
}


ngx_uint_t
ngx_http_token_node_use_newer(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn, ngx_http_token_time_t now)
{
    if (tn->other == NULL
        || tn->other->serial < tn->stored->serial
        || tn->other->expires <= now)
    {
        return 0;
    }

    ngx_http_token_node_swap(zone, tn);

    return 1;
}


static void
ngx_http_token_node_swap(ngx_http_token_zone_t *zone,
    ngx_http_token_node_t *tn)
{
    ngx_http_token_stored_t  *stored;

    ngx_http_token_node_changes(zone, tn);

    stored = tn->stored;
    tn->stored = tn->other;
    tn->other = stored;
}


ngx_uint_t
ngx_http_token_node_backoff(ngx_http_token_node_t *tn,
    ngx_http_token_time_t now)
{
    return (tn->retry_at > now && tn->configured >= ngx_http_token_configured);
}
