
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * How entries and tokens lie in the slabs of a zone, whose places have sizes
 * that are powers of two: an entry would leave a quarter of its place empty,
 * a token nearly half of it.  All functions here are called under the lock.
 */


#include "ngx_http_token_cache.h"


/* a zone of fewer pages cannot afford pages for many sizes */

#define NGX_HTTP_TOKEN_PARTS_PAGES  64

/* so much is lost rather than put into one more part */

#define NGX_HTTP_TOKEN_PARTS_LOSS   16

/* a token that is smaller is in one part */

#define NGX_HTTP_TOKEN_PARTS_MIN    256


/* the head of a page that has been cut into places for entries */

typedef struct {
    ngx_queue_t                     queue;    /* of pages with free places */
    void                           *free;     /* each begins with the next */
    ngx_uint_t                      nfree;
} ngx_http_token_page_t;


/* a place in a zone as a number, for zones of up to 32 gigabytes */

#define ngx_http_token_part_number(zone, p)                                   \
    ((uint32_t) (((u_char *) (p) - (u_char *) (zone)->shpool) / 8))

#define ngx_http_token_part(zone, n)                                          \
    ((u_char *) (zone)->shpool + (size_t) (n) * 8)


#define ngx_http_token_page_places                                            \
    ((ngx_pagesize - sizeof(ngx_http_token_page_t))                           \
     / sizeof(ngx_http_token_node_t))


ngx_http_token_node_t *
ngx_http_token_place_alloc(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh)
{
    void                   **place;
    ngx_uint_t               i;
    ngx_queue_t             *q;
    ngx_http_token_node_t   *tn;
    ngx_http_token_page_t   *page;

    if (ngx_queue_empty(&sh->pages)) {

        page = ngx_slab_alloc_locked(zone->shpool, ngx_pagesize);
        if (page == NULL) {
            return NULL;
        }

        page->free = NULL;
        page->nfree = ngx_http_token_page_places;

        tn = (ngx_http_token_node_t *) (page + 1);

        i = 0;

        do {
            place = (void **) &tn[i];

            *place = page->free;
            page->free = place;

        } while (++i < page->nfree);

        ngx_queue_insert_head(&sh->pages, &page->queue);
    }

    q = ngx_queue_head(&sh->pages);

    page = ngx_queue_data(q, ngx_http_token_page_t, queue);

    place = page->free;
    page->free = *place;
    page->nfree--;

    if (page->nfree == 0) {
        ngx_queue_remove(&page->queue);
    }

    return (ngx_http_token_node_t *) place;
}


void
ngx_http_token_place_free(ngx_http_token_zone_t *zone,
    ngx_http_token_shctx_t *sh, ngx_http_token_node_t *tn)
{
    void                   **place;
    ngx_http_token_page_t   *page;

    page = (ngx_http_token_page_t *)
               ((uintptr_t) tn & ~((uintptr_t) ngx_pagesize - 1));

    place = (void **) tn;

    *place = page->free;
    page->free = place;
    page->nfree++;

    if (page->nfree == 1) {
        ngx_queue_insert_head(&sh->pages, &page->queue);
    }

    if (page->nfree == ngx_http_token_page_places) {
        ngx_queue_remove(&page->queue);
        ngx_slab_free_locked(zone->shpool, page);
    }
}


/*
 * Pages, and then powers of two from the largest on, until what is left is the
 * last part, which the slabs round up.
 */

ngx_uint_t
ngx_http_token_parts_sizes(ngx_http_token_zone_t *zone, size_t size,
    size_t *sizes)
{
    size_t      part, pages;
    ngx_uint_t  n, max;

    pages = (zone->shpool->end - zone->shpool->start) / ngx_pagesize;

    max = (pages < NGX_HTTP_TOKEN_PARTS_PAGES
           || size < NGX_HTTP_TOKEN_PARTS_MIN)
          ? 1 : NGX_HTTP_TOKEN_PARTS;

    for (n = 0; n < max - 1; n++) {

        if (size > ngx_pagesize) {
            part = size - size % ngx_pagesize;

        } else {
            for (part = ngx_pagesize; part > size; part /= 2) { /* void */ }

            if (part < size && 2 * part - size <= NGX_HTTP_TOKEN_PARTS_LOSS) {
                break;
            }
        }

        sizes[n] = part;
        size -= part;

        if (size == 0) {
            return n + 1;
        }
    }

    sizes[n] = size;

    return n + 1;
}


void
ngx_http_token_parts_free(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored)
{
    u_char      *p;
    size_t       sizes[NGX_HTTP_TOKEN_PARTS];
    ngx_uint_t   n;

    n = ngx_http_token_parts_sizes(zone, stored->size, sizes);

    while (--n) {
        p = ngx_http_token_part(zone, stored->parts[n - 1]);

        ngx_explicit_memzero(p, sizes[n]);
        ngx_slab_free_locked(zone->shpool, p);
    }

    ngx_explicit_memzero(stored, sizes[0]);
    ngx_slab_free_locked(zone->shpool, stored);
}


void
ngx_http_token_parts_write(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored, u_char **parts)
{
    u_char      *p;
    size_t       sizes[NGX_HTTP_TOKEN_PARTS];
    ngx_uint_t   i, n;

    n = ngx_http_token_parts_sizes(zone, stored->size, sizes);

    for (i = 1; i < n; i++) {
        stored->parts[i - 1] = ngx_http_token_part_number(zone, parts[i]);
    }

    p = (u_char *) stored;

    for (i = 0; i < n; i++) {
        ngx_memcpy(parts[i], p, sizes[i]);
        p += sizes[i];
    }
}


void
ngx_http_token_parts_read(ngx_http_token_zone_t *zone,
    ngx_http_token_stored_t *stored, u_char *p)
{
    size_t      sizes[NGX_HTTP_TOKEN_PARTS];
    ngx_uint_t  i, n;

    n = ngx_http_token_parts_sizes(zone, stored->size, sizes);

    p = ngx_cpymem(p, stored, sizes[0]);

    for (i = 1; i < n; i++) {
        p = ngx_cpymem(p, ngx_http_token_part(zone, stored->parts[i - 1]),
                       sizes[i]);
    }
}
