
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_cache_warm: tokens that are fetched when nginx starts, and
 * renewed without a caller.
 */


#include "ngx_http_token_cache.h"


typedef struct {
    ngx_event_t                     event;
    ngx_http_token_loc_conf_t      *tlcf;
} ngx_http_token_warm_t;


static void ngx_http_token_warm_handler(ngx_event_t *ev);
static void ngx_http_token_warm_end(void *data);


/* drawn in the master: the first of many workers would come at once */

static ngx_msec_t  ngx_http_token_warm_start;


void
ngx_http_token_warm_init_module(void)
{
    ngx_http_token_warm_start = ngx_random() % NGX_HTTP_TOKEN_WARM_SPREAD;
}


/*
 * Each worker has a timer for each of these tokens, and the lease decides which
 * of them fetches: whichever is killed or frozen, the others go on.
 */

ngx_int_t
ngx_http_token_warm_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i, n;
    ngx_msec_t                    start;
    ngx_pool_cleanup_t           *cln;
    ngx_http_token_warm_t        *warm;
    ngx_http_token_loc_conf_t   **tlcf;
    ngx_http_token_main_conf_t   *tmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    tmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_token_module);

    if (tmcf == NULL) {
        return NGX_OK;
    }

    tlcf = tmcf->warm.elts;
    n = tmcf->warm.nelts;

    for (i = 0; i < n; i++) {

        /* the timer of a single process must not outlive its configuration */

        cln = ngx_pool_cleanup_add(cycle->pool, sizeof(ngx_http_token_warm_t));
        if (cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_token_warm_end;

        warm = cln->data;

        ngx_memzero(warm, sizeof(ngx_http_token_warm_t));

        warm->tlcf = tlcf[i];

        warm->event.handler = ngx_http_token_warm_handler;
        warm->event.data = warm;
        warm->event.log = cycle->log;

        /* a worker that has nothing else to do may leave */

        warm->event.cancelable = 1;

        /* evenly, with more than one */

        start = (ngx_http_token_warm_start
                 + i * NGX_HTTP_TOKEN_WARM_SPREAD / n)
                % NGX_HTTP_TOKEN_WARM_SPREAD;

        ngx_add_timer(&warm->event, start);
    }

    return NGX_OK;
}


static void
ngx_http_token_warm_handler(ngx_event_t *ev)
{
    uint64_t                lease;
    ngx_msec_t              next;
    ngx_http_token_warm_t  *warm;

    warm = ev->data;

    if (ngx_exiting || ngx_quit || ngx_terminate) {

        /* what comes after a reload is for the new workers */

        return;
    }

    next = ngx_http_token_cache_look_ahead(warm->tlcf, &lease);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, ev->log, 0,
                   "http token warm: fetch: %d, next: %M", lease != 0, next);

    ngx_add_timer(ev, next);

    if (lease) {
        ngx_http_token_cache_fetch(&warm->tlcf->request, warm->tlcf->digest,
                                   lease, ev->log, ngx_http_token_get);
    }
}


/* the cleanup of the configuration */

static void
ngx_http_token_warm_end(void *data)
{
    ngx_http_token_warm_t  *warm = data;

    if (warm->event.timer_set) {
        ngx_del_timer(&warm->event);
    }
}
