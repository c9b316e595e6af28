#!/usr/bin/env bash
#
# What a token location without a cache costs beside a bare proxy_pass to the
# same upstream: the worker's CPU time for a request. Fails above LIMIT (1.10).
#
#     bench/passthrough.sh [ROUNDS [SECONDS]]

set -euo pipefail

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${1:-9}
seconds=${2:-2}
limit=${LIMIT:-1.10}

# One at a time: with many, what it costs to wake the upstream and wrk depends
# on how long they have slept, which differs with the speed of what is measured.
CONNECTIONS=${CONNECTIONS:-1}

prepare

port=$(free_port)
endpoint=$(free_port)

start_nginx endpoint 1 <<< "$(endpoint "$endpoint")"

start_nginx passthrough 1 << END
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    upstream kept {
        server     127.0.0.1:$endpoint;
        keepalive  64;
    }

    server {
        listen 127.0.0.1:$port;

        location = /kept/token {
            token_proxy           on;
            token_proxy_endpoint  http://kept/token;
        }

        location = /kept/bare {
            proxy_pass          http://kept/token;
            proxy_http_version  1.1;
            proxy_set_header    Connection "";
        }

        location = /new/token {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
        }

        location = /new/bare {
            proxy_pass  http://127.0.0.1:$endpoint/token;
        }
    }
END

worker=$(workers "$PID" | tr -d ' ')
worst=0

# What is measured is what it is taken for.
[[ $(curl -s "http://127.0.0.1:$port/kept/token") == "$ANSWER" ]] ||
    fail "no token from the token location"
[[ $(curl -s "http://127.0.0.1:$port/kept/bare") == *"$TOKEN"* ]] ||
    fail "no token through proxy_pass"

measure() {
    local name=$1 round

    : > "$BENCH/bare"
    : > "$BENCH/token"
    : > "$BENCH/ratio"

    # The first round warms both up.
    for (( round = 0; round <= rounds; round++ )); do
        load "$seconds" "http://127.0.0.1:$port/$name/bare" "$worker"
        (( FAILED == 0 )) || fail "$FAILED requests failed"
        bare=$COST

        load "$seconds" "http://127.0.0.1:$port/$name/token" "$worker"
        (( FAILED == 0 )) || fail "$FAILED requests failed"

        (( round )) || continue
        echo "$bare" >> "$BENCH/bare"
        echo "$COST" >> "$BENCH/token"
        say "$(ratio "$COST" "$bare")" >> "$BENCH/ratio"
    done

    middle=$(median < "$BENCH/ratio")
    worst=$(printf '%s\n' "$worst" "$middle" | sort -g | tail -n 1)

    say "| $2 | $(us "$(median < "$BENCH/bare")") | $(us "$(median < "$BENCH/token")") |" \
        "$middle | $(sort -g "$BENCH/ratio" | head -n 1) to $(sort -g "$BENCH/ratio" | tail -n 1) |"
}

machine
say "$rounds pairs of $seconds s in turn, connections: $CONNECTIONS."
say
say '| connections to the endpoint | proxy_pass, µs of CPU | token location, µs of CPU | ratio, median | of the pairs |'
say '|---|---|---|---|---|'
measure kept 'kept (`keepalive`)'
measure new 'a new one each time'

say
say "ratio: $worst, at most $limit"
awk -v ratio="$worst" -v limit="$limit" 'BEGIN { exit ratio > limit }' ||
    fail "more than $limit"
