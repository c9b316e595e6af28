#!/usr/bin/env bash
#
# What a store costs those who do not need it: CPU time of nginx's worker for
# a hit of the cache, where token_proxy_cache_store is set, and where it is not.
#
#     bench/store.sh [ROUNDS [SECONDS]]
#
# Each has an nginx of its own. Both are under load at the same time, on one
# core, so that whatever else the machine does costs both the same. Prints
# microseconds per request for both, and the median of the rounds' ratios.
# Exits 1 if that is above BAR (1.01).

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROUNDS=${1:-11}
SECONDS_EACH=${2:-2}
BAR=${BAR:-1.01}

prepare wrk redis-tools

# the load and the servers on another core than what is measured, if there is one
(( $(nproc) == 1 )) || taskset -cp 1 $$ > /dev/null

endpoint_port=$(free_port)
store_port=$(free_port)

endpoint "$endpoint_port" | start_nginx endpoint 1

# the server is the same program by another name
( exec -a redis-server redis-check-rdb --port "$store_port" --bind 127.0.0.1 \
    --save '' --dir "$BENCH" > "$BENCH/redis.log" ) &
STARTED+=($!)
wait_until "redis-cli -p $store_port ping > /dev/null 2>&1"

# start_cache NAME [DIRECTIVE]
start_cache() {
    local port
    port=$(free_port)

    start_nginx "$1" 1 'worker_cpu_affinity 01;' << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      key;
    token_proxy_client_secret  secret;
    ${2:-}
    server {
        listen 127.0.0.1:$port;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint_port;
            token_proxy_cache     tokens;
        }
    }
END

    URLS[$1]=http://127.0.0.1:$port/token
    WORKERS[$1]=$(workers "$PID" | tr -d ' ')
}

declare -A URLS WORKERS
start_cache with "token_proxy_cache_store redis://127.0.0.1:$store_port;"
start_cache without

same_answer "${URLS[with]}" "${URLS[without]}"
[[ $(redis-cli -p "$store_port" dbsize) == 1 ]] || fail "the store has no token"
machine

compare with without "$ROUNDS" "$SECONDS_EACH" "$BAR"
