#!/usr/bin/env bash
#
# What a token for an API costs: CPU time of nginx's worker per request, of
# token_proxy_bearer with a cached token, and of a plain proxy_pass with a
# constant header Authorization of the same length.
#
#     bench/bearer.sh [ROUNDS [SECONDS]]
#
# Each has an nginx of its own. Both are under load at the same time, on one
# core, so that whatever else the machine does costs both the same. Prints
# microseconds per request for both, and the median of the rounds' ratios.
# Exits 1 if that is above BAR (1.03).

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROUNDS=${1:-9}
SECONDS_EACH=${2:-3}
BAR=${BAR:-1.03}

prepare

# the load and the servers on another core than what is measured, if there is one
(( $(nproc) == 1 )) || taskset -cp 1 $$ > /dev/null

endpoint_port=$(free_port)
api_port=$(free_port)

start_nginx servers 1 << END
    $(endpoint "$endpoint_port")
    server {
        listen 127.0.0.1:$api_port;
        location / {
            if (\$http_authorization != 'Bearer $TOKEN') { return 401; }
            return 200 '$(printf 'x%0255d' 0)';
        }
    }
END

# start_proxy NAME: the same but for the location that will be asked.
start_proxy() {
    local port
    port=$(free_port)

    start_nginx "$1" 1 'worker_cpu_affinity 01;' << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      key;
    token_proxy_client_secret  secret;
    upstream api { server 127.0.0.1:$api_port; keepalive 64; keepalive_requests 100000000; }
    server {
        listen 127.0.0.1:$port;
        proxy_http_version 1.1;
        location = /token {
            internal;
            token_proxy on;
            token_proxy_endpoint http://127.0.0.1:$endpoint_port;
            token_proxy_cache tokens;
        }
        location /with/ {
            token_proxy_bearer /token;
            proxy_set_header Connection '';
            proxy_pass http://api/;
        }
        location /plain/ {
            proxy_set_header Connection '';
            proxy_set_header Authorization 'Bearer $TOKEN';
            proxy_pass http://api/;
        }
    }
END

    URLS[$1]=http://127.0.0.1:$port/$1/
    WORKERS[$1]=$(workers "$PID" | tr -d ' ')
}

declare -A URLS WORKERS
start_proxy with
start_proxy plain

same_answer "${URLS[with]}" "${URLS[plain]}"
machine

compare with plain "$ROUNDS" "$SECONDS_EACH" "$BAR"
