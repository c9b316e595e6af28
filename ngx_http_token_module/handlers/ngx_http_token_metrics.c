
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_status for Prometheus, in its text format 0.0.4.
 */


#include "ngx_http_token_handlers.h"


typedef struct ngx_http_token_metric_s  ngx_http_token_metric_t;

typedef u_char *(*ngx_http_token_metric_pt)(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);

struct ngx_http_token_metric_s {
    char                           *name;
    char                           *type;
    char                           *help;
    ngx_uint_t                      per_endpoint;
    ngx_http_token_metric_pt        write;
};


static u_char *ngx_http_token_status_labels(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, char *suffix,
    ngx_http_token_view_t *view, ngx_uint_t n);
static u_char *ngx_http_token_metric_zone(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);
static u_char *ngx_http_token_metric_requests(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);
static u_char *ngx_http_token_metric_endpoint(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);
static u_char *ngx_http_token_metric_fetches(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);
static u_char *ngx_http_token_metric_duration(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n);


static ngx_http_token_metric_t  ngx_http_token_metrics[] = {

    { "token_proxy_cache_entries", "gauge",
      "Entries of a cache zone.", 0, ngx_http_token_metric_zone },
    { "token_proxy_cache_size_bytes", "gauge",
      "Size of a cache zone.", 0, ngx_http_token_metric_zone },
    { "token_proxy_cache_used_bytes", "gauge",
      "Pages in use of a cache zone.", 0, ngx_http_token_metric_zone },
    { "token_proxy_cache_evictions_total", "counter",
      "Entries that gave way to others.", 0, ngx_http_token_metric_zone },
    { "token_proxy_requests_total", "counter",
      "Callers, by what the cache had for them.", 1,
      ngx_http_token_metric_requests },
    { "token_proxy_refreshes_total", "counter",
      "Fetches ahead of an expiry.", 1, ngx_http_token_metric_endpoint },
    { "token_proxy_fetches_total", "counter",
      "Calls of a token endpoint that have ended, by how they did.", 1,
      ngx_http_token_metric_fetches },
    { "token_proxy_fetch_duration_seconds", "histogram",
      "Time that a token endpoint took.", 1, ngx_http_token_metric_duration },
    { "token_proxy_tokens", "gauge",
      "Tokens that are valid.", 1, ngx_http_token_metric_endpoint },
    { "token_proxy_earliest_expiry_seconds", "gauge",
      "Time until the first of the valid tokens expires.", 1,
      ngx_http_token_metric_endpoint },
    { "token_proxy_backoff_entries", "gauge",
      "Token requests that are not repeated yet after a failure.", 1,
      ngx_http_token_metric_endpoint },
    { NULL, NULL, NULL, 0, NULL }
};


u_char *
ngx_http_token_status_text(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n)
{
    ngx_uint_t                i, e;
    ngx_http_token_metric_t  *metric;

    for (metric = ngx_http_token_metrics; metric->name; metric++) {

        p = ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s %s\n",
                         metric->name, metric->help,
                         metric->name, metric->type);

        for (i = 0; i < n; i++) {

            if (!metric->per_endpoint) {
                p = metric->write(p, last, metric, &views[i], 0);
                continue;
            }

            for (e = 0; e < views[i].sh.nendpoints; e++) {
                p = metric->write(p, last, metric, &views[i], e);
            }
        }
    }

    return p;
}


/* name, suffix, and the labels that every series has, open for more */

static u_char *
ngx_http_token_status_labels(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, char *suffix,
    ngx_http_token_view_t *view, ngx_uint_t n)
{
    ngx_http_token_endpoint_t  *endpoint;

    p = ngx_slprintf(p, last, "%s%s{zone=\"", metric->name, suffix);
    p = ngx_http_token_status_name(p, last, view->name.data, view->name.len);

    if (metric->per_endpoint) {
        endpoint = &view->sh.endpoints[n];

        p = ngx_slprintf(p, last, "\",endpoint=\"");
        p = ngx_http_token_status_name(p, last, endpoint->name, endpoint->len);
    }

    return ngx_slprintf(p, last, "\"");
}


static u_char *
ngx_http_token_metric_zone(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n)
{
    uint64_t  values[] = {
        view->sh.entries, view->size, view->used, view->sh.evictions
    };

    p = ngx_http_token_status_labels(p, last, metric, "", view, n);

    return ngx_slprintf(p, last, "} %uL\n",
                        values[metric - ngx_http_token_metrics]);
}


static u_char *
ngx_http_token_metric_requests(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n)
{
    ngx_uint_t                  i;
    ngx_http_token_endpoint_t  *endpoint;

    static char  *status[] = { "hit", "miss", "wait", "reject" };

    endpoint = &view->sh.endpoints[n];

    ngx_uint_t  values[] = {
        endpoint->hits, endpoint->misses, endpoint->waits, endpoint->rejects
    };

    for (i = 0; i < 4; i++) {
        p = ngx_http_token_status_labels(p, last, metric, "", view, n);
        p = ngx_slprintf(p, last, ",status=\"%s\"} %ui\n", status[i],
                         values[i]);
    }

    return p;
}


static u_char *
ngx_http_token_metric_endpoint(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n)
{
    int64_t                  value;
    ngx_http_token_state_t  *state;

    state = &view->states[n];

    if (ngx_strcmp(metric->name, "token_proxy_refreshes_total") == 0) {
        value = view->sh.endpoints[n].refreshes;

    } else if (ngx_strcmp(metric->name, "token_proxy_tokens") == 0) {
        value = state->tokens;

    } else if (ngx_strcmp(metric->name, "token_proxy_backoff_entries") == 0) {
        value = state->backoffs;

    } else {

        /* there is no expiry where there is no token */

        if (state->earliest == 0) {
            return p;
        }

        value = (state->earliest - view->now) / 1000;
    }

    p = ngx_http_token_status_labels(p, last, metric, "", view, n);

    return ngx_slprintf(p, last, "} %L\n", value);
}


static u_char *
ngx_http_token_metric_fetches(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_TOKEN_OUTCOMES; i++) {
        p = ngx_http_token_status_labels(p, last, metric, "", view, n);
        p = ngx_slprintf(p, last, ",outcome=\"%s\"} %ui\n",
                         ngx_http_token_outcome_names[i],
                         view->sh.endpoints[n].outcomes[i]);
    }

    return p;
}


static u_char *
ngx_http_token_metric_duration(u_char *p, u_char *last,
    ngx_http_token_metric_t *metric, ngx_http_token_view_t *view,
    ngx_uint_t n)
{
    ngx_uint_t                  i, count;
    ngx_msec_t                  bound;
    ngx_http_token_endpoint_t  *endpoint;

    endpoint = &view->sh.endpoints[n];
    count = 0;

    for (i = 0; i < NGX_HTTP_TOKEN_BUCKETS; i++) {

        count += endpoint->buckets[i];

        p = ngx_http_token_status_labels(p, last, metric, "_bucket", view, n);

        if (i == NGX_HTTP_TOKEN_BUCKETS - 1) {
            p = ngx_slprintf(p, last, ",le=\"+Inf\"} %ui\n", count);
            break;
        }

        bound = ngx_http_token_stats_bounds[i];

        p = ngx_slprintf(p, last, ",le=\"%M.%03M\"} %ui\n", bound / 1000,
                         bound % 1000, count);
    }

    p = ngx_http_token_status_labels(p, last, metric, "_sum", view, n);
    p = ngx_slprintf(p, last, "} %uL.%03uL\n", endpoint->duration / 1000,
                     endpoint->duration % 1000);

    p = ngx_http_token_status_labels(p, last, metric, "_count", view, n);

    return ngx_slprintf(p, last, "} %ui\n", count);
}


/* names come from configurations and URLs: quotes and such are not written */

u_char *
ngx_http_token_status_name(u_char *p, u_char *last, u_char *name, size_t len)
{
    size_t  i;

    for (i = 0; i < len && p < last; i++) {
        *p++ = (name[i] <= 0x20 || name[i] >= 0x7f || name[i] == '"'
                || name[i] == '\\')
               ? '_' : name[i];
    }

    return p;
}
