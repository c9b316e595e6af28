#!/usr/bin/env bash
#
# What a hit costs: CPU time per request of the workers, against "return 200"
# with the same body and headers in the same nginx, in turn; the medians.
#
#     bench/cache.sh [ROUNDS] [SECONDS] ["WORKERS ..."]

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${1:-9}
seconds=${2:-2}

prepare wrk

measure() {
    local workers=$1 port endpoint name round hit return
    local list=()

    port=$(free_port)
    endpoint=$(free_port)

    start_nginx "cache$workers" "$workers" << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    server {
        listen 127.0.0.1:$port;

        location = /hit {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            token_proxy_cache     tokens;
        }

        location = /return {
            $HEADERS
            return 200 '$ANSWER';
        }
    }

$(endpoint "$endpoint")
END

    read -ra list <<< "$(workers "$PID")"

    same_answer "http://127.0.0.1:$port/hit" "http://127.0.0.1:$port/return"

    for name in hit return; do
        load 1 "http://127.0.0.1:$port/$name" "${list[@]}"
    done

    : > "$BENCH/pairs"

    for (( round = 0; round < rounds; round++ )); do

        # each goes first in every other round
        if (( round % 2 )); then
            load "$seconds" "http://127.0.0.1:$port/hit" "${list[@]}"
            hit=$COST
            load "$seconds" "http://127.0.0.1:$port/return" "${list[@]}"
            return=$COST
        else
            load "$seconds" "http://127.0.0.1:$port/return" "${list[@]}"
            return=$COST
            load "$seconds" "http://127.0.0.1:$port/hit" "${list[@]}"
            hit=$COST
        fi

        (( FAILED == 0 )) || fail "$FAILED requests failed"
        say "$hit $return $(ratio "$hit" "$return")" >> "$BENCH/pairs"
    done

    hit=$(cut -d ' ' -f 1 "$BENCH/pairs" | median)
    return=$(cut -d ' ' -f 2 "$BENCH/pairs" | median)

    say "| $workers | $(us "$hit") | $(us "$return") |" \
        "$(cut -d ' ' -f 3 "$BENCH/pairs" | median) |" \
        "$(cut -d ' ' -f 3 "$BENCH/pairs" | sort -g | sed -n '1p;$p' | paste -sd- | sed 's/-/ to /') |"
}


machine
say "Medians of $rounds rounds of $seconds s; CPU time in microseconds per request."
say
say '| workers | hit | return 200 | ratio | of single pairs |'
say '|---|---|---|---|---|'
for workers in ${3:-1 2}; do
    measure "$workers"
done
