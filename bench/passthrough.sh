#!/usr/bin/env bash
#
# What a token location without a cache costs beside a bare proxy_pass to the
# same upstream: the worker's CPU time for a request. Fails if that is above
# LIMIT (1.10) with connections that are kept. With a new one for each request
# most of the time is connect()'s search for a port that is free, which depends
# on how many were used in the last minute: that is printed, and not judged.
#
#     bench/passthrough.sh [ROUNDS [SECONDS]]

set -euo pipefail

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${1:-9}
seconds=${2:-2}
limit=${LIMIT:-1.10}

prepare

endpoint=$(free_port)

start_nginx endpoint 1 <<< "$(endpoint "$endpoint")"

upstream="upstream kept {
        server     127.0.0.1:$endpoint;
        keepalive  64;
    }"

# Each has an nginx of its own: in one, what the first has left of the heap is
# too small for the other, and glibc gives memory back and takes it again.
proxy=$(free_port)

start_nginx proxy 1 << END
    $upstream

    server {
        listen 127.0.0.1:$proxy;

        location = /kept {
            proxy_pass          http://kept/token;
            proxy_http_version  1.1;
            proxy_set_header    Connection "";
        }

        location = /new {
            proxy_pass  http://127.0.0.1:$endpoint/token;
        }
    }
END

proxy_worker=$(workers "$PID" | tr -d ' ')
token=$(free_port)

start_nginx token 1 << END
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    $upstream

    server {
        listen 127.0.0.1:$token;

        location = /kept {
            token_proxy           on;
            token_proxy_endpoint  http://kept/token;
        }

        location = /new {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
        }
    }
END

token_worker=$(workers "$PID" | tr -d ' ')

# What is measured is what it is taken for.
[[ $(curl -s "http://127.0.0.1:$token/kept") == "$ANSWER" ]] ||
    fail "no token from the token location"
[[ $(curl -s "http://127.0.0.1:$proxy/kept") == *"$TOKEN"* ]] ||
    fail "no token through proxy_pass"

measure() {
    local name=$1 round

    : > "$BENCH/proxy.costs"
    : > "$BENCH/token.costs"
    : > "$BENCH/ratios"

    # The first round warms both up.
    for (( round = 0; round <= rounds; round++ )); do
        load "$seconds" "http://127.0.0.1:$proxy/$name" "$proxy_worker"
        (( FAILED == 0 )) || fail "$FAILED requests failed"
        bare=$COST

        load "$seconds" "http://127.0.0.1:$token/$name" "$token_worker"
        (( FAILED == 0 )) || fail "$FAILED requests failed"

        (( round )) || continue
        echo "$bare" >> "$BENCH/proxy.costs"
        echo "$COST" >> "$BENCH/token.costs"
        say "$(ratio "$COST" "$bare")" >> "$BENCH/ratios"
    done

    middle=$(median < "$BENCH/ratios")

    say "| $2 | $(us "$(median < "$BENCH/proxy.costs")") | $(us "$(median < "$BENCH/token.costs")") |" \
        "$middle | $(sort -g "$BENCH/ratios" | head -n 1) to $(sort -g "$BENCH/ratios" | tail -n 1) |"
}

machine
say "$rounds pairs of $seconds s in turn, connections: ${CONNECTIONS:-32}."
say
say '| connections to the endpoint | proxy_pass, µs of CPU | token location, µs of CPU | ratio, median | of the pairs |'
say '|---|---|---|---|---|'
measure kept 'kept (`keepalive`)'
kept=$middle
measure new 'a new one each time'

say
say "ratio: $kept, at most $limit"
awk -v ratio="$kept" -v limit="$limit" 'BEGIN { exit ratio > limit }' ||
    fail "more than $limit"
