
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * token_proxy_status for Prometheus, in its text format 0.0.4.
 */


#include "ngx_http_token_handlers.h"


/* of what there is a series each */

#define NGX_HTTP_TOKEN_PER_ZONE      0
#define NGX_HTTP_TOKEN_PER_ENDPOINT  1
#define NGX_HTTP_TOKEN_PER_STORE     2  /* a zone that has a store */


typedef struct ngx_http_token_metric_s  ngx_http_token_metric_t;

/* the text that is written, and what the next series in it is about */

typedef struct {
    u_char                         *p;
    u_char                         *last;
    ngx_http_token_metric_t        *metric;
    ngx_http_token_view_t          *view;
    ngx_http_token_state_t         *state;
    ngx_http_token_endpoint_t      *endpoint;  /* NULL if it is the zone */
} ngx_http_token_series_t;


struct ngx_http_token_metric_s {
    char                           *name;
    char                           *type;
    char                           *help;
    ngx_uint_t                      per;      /* a zone, an endpoint, a store */
    void                          (*write)(ngx_http_token_series_t *s);
};


static void ngx_http_token_metric_line(ngx_http_token_series_t *s,
    char *suffix, const char *fmt, ...);
static void ngx_http_token_metric_zone(ngx_http_token_series_t *s);
static void ngx_http_token_metric_requests(ngx_http_token_series_t *s);
static void ngx_http_token_metric_endpoint(ngx_http_token_series_t *s);
static void ngx_http_token_metric_fetches(ngx_http_token_series_t *s);
static void ngx_http_token_metric_duration(ngx_http_token_series_t *s);
static void ngx_http_token_metric_secrets(ngx_http_token_series_t *s);
static void ngx_http_token_metric_store(ngx_http_token_series_t *s);
static void ngx_http_token_metric_store_duration(ngx_http_token_series_t *s);


static ngx_http_token_metric_t  ngx_http_token_metrics[] = {

    { "token_proxy_cache_entries", "gauge",
      "Entries of a cache zone.",
      NGX_HTTP_TOKEN_PER_ZONE, ngx_http_token_metric_zone },
    { "token_proxy_cache_size_bytes", "gauge",
      "Size of a cache zone.",
      NGX_HTTP_TOKEN_PER_ZONE, ngx_http_token_metric_zone },
    { "token_proxy_cache_used_bytes", "gauge",
      "Pages in use of a cache zone.",
      NGX_HTTP_TOKEN_PER_ZONE, ngx_http_token_metric_zone },
    { "token_proxy_cache_evictions_total", "counter",
      "Entries that gave way to others.",
      NGX_HTTP_TOKEN_PER_ZONE, ngx_http_token_metric_zone },
    { "token_proxy_requests_total", "counter",
      "Callers, by what the cache had for them.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_requests },
    { "token_proxy_refreshes_total", "counter",
      "Fetches ahead of an expiry.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_fetches_total", "counter",
      "Calls of a token endpoint that have ended, by how they did.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_fetches },
    { "token_proxy_fetch_duration_seconds", "histogram",
      "Time that a token endpoint took.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_duration },
    { "token_proxy_tokens", "gauge",
      "Tokens that are valid.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_earliest_expiry_seconds", "gauge",
      "Time until the first of the valid tokens expires.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_backoff_entries", "gauge",
      "Token requests that are not repeated yet after a failure.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_fetching", "gauge",
      "Calls of a token endpoint that go on, for the cache.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_client_secret_tokens", "gauge",
      "Valid tokens, by which of two client secrets has fetched them.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_secrets },
    { "token_proxy_client_secret_retries_total", "counter",
      "Calls of a token endpoint with the other of two client secrets.",
      NGX_HTTP_TOKEN_PER_ENDPOINT, ngx_http_token_metric_endpoint },
    { "token_proxy_store_up", "gauge",
      "Whether the store that machines share is used.",
      NGX_HTTP_TOKEN_PER_STORE, ngx_http_token_metric_store },
    { "token_proxy_store_commands_total", "counter",
      "Commands to the store.",
      NGX_HTTP_TOKEN_PER_STORE, ngx_http_token_metric_store },
    { "token_proxy_store_errors_total", "counter",
      "Commands to the store that have failed.",
      NGX_HTTP_TOKEN_PER_STORE, ngx_http_token_metric_store },
    { "token_proxy_store_tokens_taken_total", "counter",
      "Tokens that another machine has fetched.",
      NGX_HTTP_TOKEN_PER_STORE, ngx_http_token_metric_store },
    { "token_proxy_store_command_duration_seconds", "histogram",
      "Time that a command to the store took.",
      NGX_HTTP_TOKEN_PER_STORE, ngx_http_token_metric_store_duration },
    { NULL, NULL, NULL, 0, NULL }
};


u_char *
ngx_http_token_status_text(u_char *p, u_char *last,
    ngx_http_token_view_t *views, ngx_uint_t n)
{
    ngx_uint_t                i, e;
    ngx_http_token_metric_t  *metric;
    ngx_http_token_series_t   s;

    s.p = ngx_slprintf(p, last,
                       "# HELP token_proxy_build_info Version of the module.\n"
                       "# TYPE token_proxy_build_info gauge\n"
                       "token_proxy_build_info{version=\""
                       NGX_HTTP_TOKEN_VERSION "\"} 1\n");
    s.last = last;

    for (metric = ngx_http_token_metrics; metric->name; metric++) {

        s.metric = metric;
        s.p = ngx_slprintf(s.p, last, "# HELP %s %s\n# TYPE %s %s\n",
                           metric->name, metric->help,
                           metric->name, metric->type);

        for (i = 0; i < n; i++) {

            s.view = &views[i];
            s.endpoint = NULL;

            if (metric->per == NGX_HTTP_TOKEN_PER_STORE && !views[i].store) {
                continue;
            }

            if (metric->per != NGX_HTTP_TOKEN_PER_ENDPOINT) {
                metric->write(&s);
                continue;
            }

            for (e = 0; e < views[i].sh.nendpoints; e++) {
                s.endpoint = &views[i].sh.endpoints[e];
                s.state = &views[i].states[e];

                metric->write(&s);
            }
        }
    }

    return s.p;
}


/* name, suffix and the labels of every series, then more labels and a value */

static void
ngx_http_token_metric_line(ngx_http_token_series_t *s, char *suffix,
    const char *fmt, ...)
{
    u_char   *p, *last;
    va_list   args;

    last = s->last;

    p = ngx_slprintf(s->p, last, "%s%s{zone=\"", s->metric->name, suffix);
    p = ngx_http_token_status_name(p, last, s->view->name.data,
                                   s->view->name.len);

    if (s->endpoint) {
        p = ngx_slprintf(p, last, "\",endpoint=\"");
        p = ngx_http_token_status_name(p, last, s->endpoint->name,
                                       s->endpoint->len);
    }

    p = ngx_slprintf(p, last, "\"");

    va_start(args, fmt);
    s->p = ngx_vslprintf(p, last, fmt, args);
    va_end(args);
}


static void
ngx_http_token_metric_zone(ngx_http_token_series_t *s)
{
    uint64_t  values[] = {
        s->view->sh.entries, s->view->size, s->view->used,
        s->view->evictions
    };

    ngx_http_token_metric_line(s, "", "} %uL\n",
                               values[s->metric - ngx_http_token_metrics]);
}


static void
ngx_http_token_metric_requests(ngx_http_token_series_t *s)
{
    char  *line = ",status=\"%s\"} %ui\n";

    ngx_http_token_metric_line(s, "", line, "hit", s->endpoint->hits);
    ngx_http_token_metric_line(s, "", line, "miss", s->endpoint->misses);
    ngx_http_token_metric_line(s, "", line, "wait", s->endpoint->waits);
    ngx_http_token_metric_line(s, "", line, "reject", s->endpoint->rejects);
}


static void
ngx_http_token_metric_endpoint(ngx_http_token_series_t *s)
{
    char     *name;
    int64_t   value;

    name = s->metric->name;

    if (ngx_strcmp(name, "token_proxy_refreshes_total") == 0) {
        value = s->endpoint->renewals;

    } else if (ngx_strcmp(name, "token_proxy_client_secret_retries_total")
               == 0)
    {
        value = s->endpoint->retries;

    } else if (ngx_strcmp(name, "token_proxy_tokens") == 0) {
        value = s->state->tokens;

    } else if (ngx_strcmp(name, "token_proxy_backoff_entries") == 0) {
        value = s->state->backoffs;

    } else if (ngx_strcmp(name, "token_proxy_fetching") == 0) {
        value = s->state->fetching;

    } else {

        /* there is no expiry where there is no token */

        if (s->state->earliest == 0) {
            return;
        }

        value = (s->state->earliest - s->view->now) / 1000;
    }

    ngx_http_token_metric_line(s, "", "} %L\n", value);
}


static void
ngx_http_token_metric_fetches(ngx_http_token_series_t *s)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_TOKEN_OUTCOMES; i++) {
        ngx_http_token_metric_line(s, "", ",outcome=\"%s\"} %ui\n",
                                   ngx_http_token_outcome_names[i],
                                   s->endpoint->outcomes[i]);
    }
}


static void
ngx_http_token_metric_duration(ngx_http_token_series_t *s)
{
    ngx_uint_t  i, count;
    ngx_msec_t  bound;

    count = 0;

    for (i = 0; i < NGX_HTTP_TOKEN_BUCKETS - 1; i++) {
        count += s->endpoint->buckets[i];
        bound = ngx_http_token_stats_bounds[i];

        ngx_http_token_metric_line(s, "_bucket", ",le=\"%M.%03M\"} %ui\n",
                                   bound / 1000, bound % 1000, count);
    }

    count += s->endpoint->buckets[i];

    ngx_http_token_metric_line(s, "_bucket", ",le=\"+Inf\"} %ui\n", count);
    ngx_http_token_metric_line(s, "_sum", "} %uL.%03uL\n",
                               s->endpoint->duration / 1000,
                               s->endpoint->duration % 1000);
    ngx_http_token_metric_line(s, "_count", "} %ui\n", count);
}


static void
ngx_http_token_metric_secrets(ngx_http_token_series_t *s)
{
    char  *line = ",secret=\"%s\"} %ui\n";

    ngx_http_token_metric_line(s, "", line, "first", s->state->secrets[0]);
    ngx_http_token_metric_line(s, "", line, "second", s->state->secrets[1]);
}


static void
ngx_http_token_metric_store(ngx_http_token_series_t *s)
{
    char                          *name;
    ngx_uint_t                     value;
    ngx_http_token_store_stats_t  *store;

    name = s->metric->name;
    store = &s->view->sh.store;

    if (ngx_strcmp(name, "token_proxy_store_up") == 0) {

        /* nobody has tried it yet */

        if (store->state == NGX_HTTP_TOKEN_STORE_NOT_KNOWN) {
            return;
        }

        value = (store->state == NGX_HTTP_TOKEN_STORE_IS_UP);

    } else if (ngx_strcmp(name, "token_proxy_store_commands_total") == 0) {
        value = store->commands;

    } else if (ngx_strcmp(name, "token_proxy_store_errors_total") == 0) {
        value = store->errors;

    } else {
        value = store->taken;
    }

    ngx_http_token_metric_line(s, "", "} %ui\n", value);
}


static void
ngx_http_token_metric_store_duration(ngx_http_token_series_t *s)
{
    ngx_uint_t                     i, count, bound;
    ngx_http_token_store_stats_t  *store;

    store = &s->view->sh.store;
    count = 0;

    for (i = 0; i < NGX_HTTP_TOKEN_BUCKETS - 1; i++) {
        count += store->buckets[i];
        bound = ngx_http_token_stats_store_bounds[i];

        ngx_http_token_metric_line(s, "_bucket", ",le=\"%ui.%06ui\"} %ui\n",
                                   bound / 1000000, bound % 1000000, count);
    }

    count += store->buckets[i];

    ngx_http_token_metric_line(s, "_bucket", ",le=\"+Inf\"} %ui\n", count);
    ngx_http_token_metric_line(s, "_sum", "} %uL.%06uL\n",
                               store->duration / 1000000,
                               store->duration % 1000000);
    ngx_http_token_metric_line(s, "_count", "} %ui\n", count);
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
