#!/usr/bin/env bash
#
# What a token for an API costs: CPU time of nginx's worker per request, of
# token_proxy_bearer with a cached token, and of a plain proxy_pass with a
# constant header Authorization of the same length.
#
#     bench/bearer.sh [ROUNDS [SECONDS]]
#
# Prints microseconds per request for both, and the median of the rounds'
# ratios. Exits 1 if that is above BAR (1.03).

set -euo pipefail

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROUNDS=${1:-9}
SECONDS_EACH=${2:-3}
BAR=${BAR:-1.03}

prepare

endpoint_port=$(free_port)
api_port=$(free_port)
port=$(free_port)

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

start_nginx proxy 1 << END
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

read -r worker _ <<< "$(workers "$PID")"

with=http://127.0.0.1:$port/with/
plain=http://127.0.0.1:$port/plain/

same_answer "$with" "$plain"
machine

load 1 "$with" "$worker"
load 1 "$plain" "$worker"

# in turn, and each round the other way round
for round in $(seq "$ROUNDS"); do
    order=(with plain)
    (( round % 2 )) || order=(plain with)

    for what in "${order[@]}"; do
        load "$SECONDS_EACH" "${!what}" "$worker"
        (( FAILED == 0 )) || fail "$FAILED of $REQUESTS requests of $what failed"
        us "$COST" >> "$BENCH/$what"
        echo >> "$BENCH/$what"
    done

    a=$(tail -n 1 "$BENCH/with") b=$(tail -n 1 "$BENCH/plain")
    ratio "$a" "$b" >> "$BENCH/ratios"
    echo >> "$BENCH/ratios"
    say "round $round: with a token $a us, plain $b us, $(tail -n 1 "$BENCH/ratios")"
done

result=$(median < "$BENCH/ratios")

say "with a token: $(median < "$BENCH/with") us per request, plain:" \
    "$(median < "$BENCH/plain") us, median of the ratios $result (bar $BAR)"
awk -v r="$result" -v bar="$BAR" 'BEGIN { exit r > bar }' ||
    fail "the ratio is above the bar"
