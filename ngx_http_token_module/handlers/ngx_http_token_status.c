
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_status: what an operator sees, as JSON or for Prometheus.
 */


#include "ngx_http_token_handlers.h"


/*
 * The room for what is written of a zone, of an endpoint, and how many lines
 * have the name of a zone: more than enough, a number has at most 20 digits.
 */

#define NGX_HTTP_TOKEN_STATUS_ZONE      4096
#define NGX_HTTP_TOKEN_STATUS_ENDPOINT  8192
#define NGX_HTTP_TOKEN_STATUS_LINES     64


static ngx_http_token_view_t *ngx_http_token_status_views(
    ngx_http_request_t *r, ngx_array_t *zones);
static void ngx_http_token_status_view(ngx_shm_zone_t *shm_zone,
    ngx_http_token_view_t *view);
static size_t ngx_http_token_status_size(ngx_http_token_view_t *views,
    ngx_uint_t n);
static ngx_uint_t ngx_http_token_status_wants_text(ngx_http_request_t *r);
static ngx_uint_t ngx_http_token_status_accepts(ngx_str_t *accept, char *type);
static u_char *ngx_http_token_status_json(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n);
static u_char *ngx_http_token_status_json_store(u_char *p, u_char *last,
    ngx_http_token_store_stats_t *store);
static u_char *ngx_http_token_status_json_endpoint(u_char *p, u_char *last,
    ngx_http_token_view_t *view, ngx_uint_t n);


char *
ngx_http_token_set_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "cannot share a location with another content handler";
    }

    clcf->handler = ngx_http_token_status_handler;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_token_status_handler(ngx_http_request_t *r)
{
    u_char                      *p, *last;
    size_t                       size;
    ngx_int_t                    rc;
    ngx_str_t                    body, type;
    ngx_uint_t                   n;
    ngx_http_token_view_t       *views;
    ngx_http_token_main_conf_t  *tmcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_http_token_add_header(r, "Allow", &allow) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    tmcf = ngx_http_get_module_main_conf(r, ngx_http_token_module);

    n = tmcf->zones.nelts;

    views = ngx_http_token_status_views(r, &tmcf->zones);
    if (views == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    size = ngx_http_token_status_size(views, n);

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;
    last = p + size;

    if (ngx_http_token_status_wants_text(r)) {
        ngx_str_set(&type, "text/plain; version=0.0.4");
        p = ngx_http_token_status_text(p, last, views, n);

    } else {
        type = ngx_http_token_json_type;
        p = ngx_http_token_status_json(p, last, views, n);
    }

    body.len = p - body.data;

    return ngx_http_token_send(r, NGX_HTTP_OK, &type, &body);
}


static size_t
ngx_http_token_status_size(ngx_http_token_view_t *views, ngx_uint_t n)
{
    size_t      size;
    ngx_uint_t  i, endpoints;

    size = NGX_HTTP_TOKEN_STATUS_ZONE;

    for (i = 0; i < n; i++) {
        endpoints = views[i].sh.nendpoints;

        size += NGX_HTTP_TOKEN_STATUS_ZONE
                + endpoints * NGX_HTTP_TOKEN_STATUS_ENDPOINT
                + (endpoints + 1) * NGX_HTTP_TOKEN_STATUS_LINES
                  * views[i].name.len;
    }

    return size;
}


static ngx_http_token_view_t *
ngx_http_token_status_views(ngx_http_request_t *r, ngx_array_t *zones)
{
    ngx_uint_t               i;
    ngx_shm_zone_t         **shm_zone;
    ngx_http_token_view_t   *views;

    views = ngx_pcalloc(r->pool, (zones->nelts + 1)
                                 * sizeof(ngx_http_token_view_t));
    if (views == NULL) {
        return NULL;
    }

    shm_zone = zones->elts;

    for (i = 0; i < zones->nelts; i++) {
        ngx_http_token_status_view(shm_zone[i], &views[i]);
    }

    return views;
}


static void
ngx_http_token_status_view(ngx_shm_zone_t *shm_zone,
    ngx_http_token_view_t *view)
{
    ngx_queue_t             *q;
    ngx_http_token_node_t   *tn;
    ngx_http_token_zone_t   *zone;
    ngx_http_token_shctx_t  *sh;
    ngx_http_token_state_t  *state;

    zone = shm_zone->data;

    view->name = shm_zone->shm.name;
    view->size = shm_zone->shm.size;
    view->now = ngx_http_token_now();
    view->store = (zone->store != NULL);

    sh = ngx_http_token_zone_lock(zone);

    view->sh = *sh;
    view->evictions = zone->unlocked->evictions;
#if (NGX_HTTP_TOKEN_COUNT_LOCKS)
    view->locks = zone->unlocked->locks;
#endif
    view->used = view->size - zone->shpool->pfree * ngx_pagesize;

    for (q = ngx_queue_head(&sh->queue);
         q != ngx_queue_sentinel(&sh->queue);
         q = ngx_queue_next(q))
    {
        tn = ngx_queue_data(q, ngx_http_token_node_t, queue);

        state = &view->states[tn->endpoint];

        if (ngx_http_token_node_backoff(tn, view->now)) {
            state->backoffs++;
        }

        /* that of a worker that has died runs out */

        if (tn->lease_until > view->now) {
            state->fetching++;
        }

        ngx_http_token_node_age(zone, tn, view->now);

        if (tn->stored && tn->stored->expires > view->now) {
            state->tokens++;

            if (tn->secret) {
                state->secrets[tn->secret - 1]++;
            }

            if (state->earliest == 0 || tn->stored->expires < state->earliest)
            {
                state->earliest = tn->stored->expires;
            }
        }
    }

    ngx_http_token_zone_unlock(zone, sh);

    ngx_http_token_stats_add_hits(zone, &view->sh);
}


/* whether the request asks for Prometheus' format, by argument or "Accept" */

static ngx_uint_t
ngx_http_token_status_wants_text(ngx_http_request_t *r)
{
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) == NGX_OK) {
        return ngx_http_token_equals(&value, "prometheus");
    }

    h = ngx_http_token_find_header(&r->headers_in.headers, "Accept");

    return (h && !ngx_http_token_status_accepts(&h->value, "application/json")
            && (ngx_http_token_status_accepts(&h->value, "text/plain")
                || ngx_http_token_status_accepts(&h->value,
                                              "application/openmetrics-text")));
}


static ngx_uint_t
ngx_http_token_status_accepts(ngx_str_t *accept, char *type)
{
    return ngx_strlcasestrn(accept->data, accept->data + accept->len,
                            (u_char *) type, ngx_strlen(type) - 1)
           != NULL;
}


static u_char *
ngx_http_token_status_json(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n)
{
    ngx_uint_t              i, e;
    ngx_http_token_view_t  *view;

    p = ngx_slprintf(p, last, "{\"version\":\"" NGX_HTTP_TOKEN_VERSION "\","
                     "\"zones\":{");

    for (i = 0; i < n; i++) {
        view = &views[i];

        p = ngx_slprintf(p, last, "%s\"", i ? "," : "");
        p = ngx_http_token_status_name(p, last, view->name.data,
                                       view->name.len);
        p = ngx_slprintf(p, last, "\":{\"entries\":%ui,\"size_bytes\":%uz,"
                         "\"used_bytes\":%uz,\"evictions\":%ui,",
                         view->sh.entries, view->size, view->used,
                         view->evictions);

        if (view->store) {
            p = ngx_http_token_status_json_store(p, last, &view->sh.store);
        }

        p = ngx_slprintf(p, last, "\"endpoints\":{");

#if (NGX_HTTP_TOKEN_COUNT_LOCKS)

        /* of a build for bench/scale.sh */

        p = ngx_slprintf(p, last, "\"\":{\"locks\":%ui}%s", view->locks,
                         view->sh.nendpoints ? "," : "");
#endif

        for (e = 0; e < view->sh.nendpoints; e++) {
            p = ngx_slprintf(p, last, "%s", e ? "," : "");
            p = ngx_http_token_status_json_endpoint(p, last, view, e);
        }

        p = ngx_slprintf(p, last, "}}");
    }

    return ngx_slprintf(p, last, "}}\n");
}


static u_char *
ngx_http_token_status_json_store(u_char *p, u_char *last,
    ngx_http_token_store_stats_t *store)
{
    static char  *states[] = { "unknown", "down", "up" };

    return ngx_slprintf(p, last, "\"store\":{\"state\":\"%s\","
                        "\"commands\":%ui,\"errors\":%ui,"
                        "\"tokens_taken\":%ui,"
                        "\"command_seconds\":%uL.%06uL},",
                        states[store->state], store->commands, store->errors,
                        store->taken, store->duration / 1000000,
                        store->duration % 1000000);
}


static u_char *
ngx_http_token_status_json_endpoint(u_char *p, u_char *last,
    ngx_http_token_view_t *view, ngx_uint_t n)
{
    ngx_uint_t                  i;
    ngx_http_token_state_t     *state;
    ngx_http_token_endpoint_t  *endpoint;

    state = &view->states[n];
    endpoint = &view->sh.endpoints[n];

    p = ngx_slprintf(p, last, "\"");
    p = ngx_http_token_status_name(p, last, endpoint->name, endpoint->len);
    p = ngx_slprintf(p, last, "\":{\"hits\":%ui,\"misses\":%ui,\"waits\":%ui,"
                     "\"rejects\":%ui,\"refreshes\":%ui,\"fetches\":{",
                     endpoint->hits, endpoint->misses, endpoint->waits,
                     endpoint->rejects, endpoint->renewals);

    for (i = 0; i < NGX_HTTP_TOKEN_OUTCOMES; i++) {
        p = ngx_slprintf(p, last, "%s\"%s\":%ui", i ? "," : "",
                         ngx_http_token_outcome_names[i],
                         endpoint->outcomes[i]);
    }

    p = ngx_slprintf(p, last, "},\"fetch_seconds\":%uL.%03uL,\"tokens\":%ui,",
                     endpoint->duration / 1000, endpoint->duration % 1000,
                     state->tokens);

    if (state->earliest) {
        p = ngx_slprintf(p, last, "\"earliest_expiry_seconds\":%L,",
                         (int64_t) (state->earliest - view->now) / 1000);
    }

    return ngx_slprintf(p, last, "\"backoff_entries\":%ui,\"fetching\":%ui,"
                        "\"client_secret_tokens\":{\"first\":%ui,"
                        "\"second\":%ui},\"client_secret_retries\":%ui}",
                        state->backoffs, state->fetching, state->secrets[0],
                        state->secrets[1], endpoint->retries);
}
