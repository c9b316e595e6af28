
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The shared-memory zone: its initialization, its lock, what is used without
 * the lock, its clock.
 */


#include "ngx_http_token_cache.h"


static ngx_int_t ngx_http_token_zone_connections(ngx_shm_zone_t *shm_zone);
static void ngx_http_token_zone_share(ngx_shm_zone_t *shm_zone);
static ngx_int_t ngx_http_token_zone_fill(ngx_slab_pool_t *shpool);
static void ngx_http_token_zone_empty(ngx_http_token_zone_t *zone);
static void ngx_http_token_rbtree_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);


/* set in the master, before workers are forked */

ngx_uint_t  ngx_http_token_has_zones;

ngx_http_token_time_t  ngx_http_token_configured;


ngx_int_t
ngx_http_token_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_token_zone_t  *ozone = data;

    size_t                  len;
    ngx_slab_pool_t        *shpool;
    ngx_http_token_zone_t  *zone;

    zone = shm_zone->data;

    if (ngx_http_token_zone_connections(shm_zone) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ozone) {

        /* a reload keeps the tokens, and old workers go on using them */

        zone->shpool = ozone->shpool;
        zone->unlocked = ozone->unlocked;

        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    zone->shpool = shpool;

    if (shm_zone->shm.exists) {
        zone->unlocked = (ngx_http_token_unlocked_t *) shpool->end;
        return NGX_OK;
    }

    ngx_http_token_zone_share(shm_zone);

    len = sizeof(" in token_proxy_cache_zone \"\"") + shm_zone->shm.name.len;

    if (ngx_http_token_zone_fill(shpool) != NGX_OK) {
        return NGX_ERROR;
    }

    shpool->log_ctx = ngx_slab_alloc(shpool, len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in token_proxy_cache_zone \"%V\"%Z",
                &shm_zone->shm.name);

    return NGX_OK;
}


/*
 * Each worker needs a connection for the eventfd, and one for the store, beside
 * those that ngx_event_init_conf() counts: listening sockets and the channel.
 * If a reload has too few of them, it fails here, and the old workers go on.
 */

static ngx_int_t
ngx_http_token_zone_connections(ngx_shm_zone_t *shm_zone)
{
#if (NGX_HAVE_EVENTFD)

    ngx_uint_t              n;
    ngx_cycle_t            *cycle;
#if (NGX_HAVE_REUSEPORT)
    ngx_uint_t              i;
    ngx_listening_t        *ls;
#endif
    ngx_http_token_zone_t  *zone;

    zone = shm_zone->data;
    cycle = zone->cycle;

    n = cycle->listening.nelts;

#if (NGX_HAVE_REUSEPORT)

    ls = cycle->listening.elts;

    for (i = 0; i < cycle->listening.nelts; i++) {

        if (ls[i].reuseport && ls[i].worker != 0) {

            /* a listening socket of another worker */

            n--;
        }
    }

#endif

    if (cycle->connection_n < n + 2 + (zone->store != NULL)) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "%ui worker_connections are not enough for %ui listening "
                      "sockets and \"token_proxy_cache_zone\" \"%V\"",
                      cycle->connection_n, n, &shm_zone->shm.name);
        return NGX_ERROR;
    }

#endif

    return NGX_OK;
}


/* the end of the zone is not for the slabs */

static void
ngx_http_token_zone_share(ngx_shm_zone_t *shm_zone)
{
    size_t                      size, line;
    u_char                     *p;
    ngx_uint_t                  n, nhits, nslots;
    ngx_core_conf_t            *ccf;
    ngx_http_token_zone_t      *zone;
    ngx_http_token_unlocked_t  *shared;

    zone = shm_zone->data;
    size = shm_zone->shm.size;
    line = NGX_HTTP_TOKEN_CACHE_LINE;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    /*
     * The zone outlives this configuration, and the next one may have a worker
     * for each core.  More workers than that count in the same places, and lose
     * nothing.
     */

    n = ngx_max(ccf->worker_processes, ngx_ncpu);

    for (nhits = 1;
         nhits < n
         && 2 * nhits * sizeof(ngx_http_token_hits_t) <= size / 32;
         nhits *= 2)
    { /* void */ }

    for (nslots = 8; nslots * 2 <= size / 4096; nslots *= 2) { /* void */ }

    p = shm_zone->shm.addr + size
        - ngx_align(sizeof(ngx_http_token_unlocked_t), line)
        - nhits * sizeof(ngx_http_token_hits_t)
        - ngx_align(nslots * sizeof(ngx_http_token_slot_t), line);

    p -= (uintptr_t) p % line;

    zone->shpool->end = p;

    ngx_slab_init(zone->shpool);

    shared = (ngx_http_token_unlocked_t *) p;

    ngx_memzero(p, shm_zone->shm.addr + size - p);

    p += ngx_align(sizeof(ngx_http_token_unlocked_t), line);

    shared->nhits = nhits;
    shared->hits = (ngx_http_token_hits_t *) p;

    p += nhits * sizeof(ngx_http_token_hits_t);

    shared->nslots = nslots;
    shared->slots = (ngx_http_token_slot_t *) p;

    zone->unlocked = shared;
}


static ngx_int_t
ngx_http_token_zone_fill(ngx_slab_pool_t *shpool)
{
    ngx_http_token_shctx_t  *sh;

    sh = ngx_slab_calloc_locked(shpool, sizeof(ngx_http_token_shctx_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    ngx_rbtree_init(&sh->rbtree, &sh->sentinel,
                    ngx_http_token_rbtree_insert_value);

    ngx_queue_init(&sh->queue);
    ngx_queue_init(&sh->pages);

    shpool->data = sh;

    /* entries of a full zone are evicted, so that is not logged */

    shpool->log_nomem = 0;

    return NGX_OK;
}


ngx_http_token_shctx_t *
ngx_http_token_zone_lock(ngx_http_token_zone_t *zone)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_token_shctx_t  *sh;

    shpool = zone->shpool;

    ngx_shmtx_lock(&shpool->mutex);

#if (NGX_HTTP_TOKEN_COUNT_LOCKS)
    (void) ngx_atomic_fetch_add(&zone->unlocked->locks, 1);
#endif

    sh = shpool->data;

    if (sh->changing) {

        /*
         * The master has freed the lock of a worker that died while it changed
         * the zone: neither tree nor slabs can be relied on.
         */

        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "a worker died while it changed a token cache, "
                      "which is emptied");

        ngx_http_token_zone_empty(zone);

        sh = shpool->data;
    }

    sh->changing = 1;
    ngx_memory_barrier();

    return sh;
}


/* counts are changed one by one, so they are good at any time */

static void
ngx_http_token_zone_empty(ngx_http_token_zone_t *zone)
{
    ngx_uint_t               i;
    ngx_slab_pool_t         *shpool;
    ngx_http_token_shctx_t  *sh, counts;

    shpool = zone->shpool;

    for (i = 0; i < zone->unlocked->nslots; i++) {
        (void) ngx_atomic_fetch_add(&zone->unlocked->slots[i].generation, 1);
    }

    sh = shpool->data;

    ngx_memcpy(&counts, sh, offsetof(ngx_http_token_shctx_t, rbtree));

    ngx_slab_init(shpool);

    /* the first allocation of an empty zone cannot fail */

    (void) ngx_http_token_zone_fill(shpool);

    sh = shpool->data;

    ngx_memcpy(sh, &counts, offsetof(ngx_http_token_shctx_t, rbtree));
}


ngx_http_token_slot_t *
ngx_http_token_zone_slot(ngx_http_token_zone_t *zone, u_char *digest)
{
    uint32_t  n;

    ngx_memcpy(&n, digest, sizeof(uint32_t));

    return &zone->unlocked->slots[n & (zone->unlocked->nslots - 1)];
}


/*
 * A worker's place stays when it ends, and its successor goes on there; for a
 * while both may, since old workers live on after a reload.
 */

ngx_http_token_hits_t *
ngx_http_token_zone_hits(ngx_http_token_zone_t *zone)
{
    return &zone->unlocked->hits[ngx_worker & (zone->unlocked->nhits - 1)];
}


void
ngx_http_token_zone_unlock(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh)
{
    ngx_memory_barrier();
    sh->changing = 0;

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


static void
ngx_http_token_rbtree_insert_value(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t      **p;
    ngx_http_token_node_t   *tn, *tnt;

    /* the node is the first member of an entry; its key is not used */

    tn = (ngx_http_token_node_t *) node;

    for ( ;; ) {

        tnt = (ngx_http_token_node_t *) temp;

        p = (ngx_memcmp(tn->digest, tnt->digest, NGX_HTTP_TOKEN_DIGEST_LEN) < 0)
            ? &temp->left : &temp->right;

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


ngx_http_token_time_t
ngx_http_token_now(void)
{
#ifdef CLOCK_BOOTTIME

    struct timespec  ts;

    if (clock_gettime(CLOCK_BOOTTIME, &ts) == 0) {
        return (ngx_http_token_time_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    }

#endif

    return (ngx_http_token_time_t) ngx_current_msec;
}


ngx_http_token_time_t
ngx_http_token_lead(ngx_http_token_time_t now)
{
    struct timeval  tv;

    /* nginx's own copy of the time may be some seconds old here */

    ngx_gettimeofday(&tv);

    return (ngx_http_token_time_t) tv.tv_sec * 1000 + tv.tv_usec / 1000 - now;
}


ngx_http_token_time_t
ngx_http_token_missed(ngx_http_token_time_t lead, ngx_http_token_time_t now)
{
    ngx_time_t             *tp;
    ngx_http_token_time_t   missed;

    tp = ngx_timeofday();

    missed = (ngx_http_token_time_t) tp->sec * 1000 + tp->msec - now - lead;

    return (missed > NGX_HTTP_TOKEN_CLOCK_STEP) ? missed : 0;
}


int64_t
ngx_http_token_microseconds(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
