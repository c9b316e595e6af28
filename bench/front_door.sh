#!/usr/bin/env bash
#
# What the front door costs: CPU time of nginx's worker per request, of a
# cached token, with an allow-list of 100 origins and without.
#
#     bench/front_door.sh [ROUNDS [SECONDS]]
#
# Both are measured in turn. Prints microseconds per request for both, and the
# median of the rounds' ratios, which other load on the machine moves least.
# Exits 1 if that is above BAR (1.03).

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROUNDS=${1:-31}
SECONDS_EACH=${2:-1}
BAR=${BAR:-1.03}
BUILD=${BUILD_DIR:-$ROOT/build}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
fail() { printf 'front_door.sh: %s\n' "$*" >&2; exit 1; }

# shellcheck source=../scripts/packages.sh
. "$ROOT/scripts/packages.sh"

command -v wrk > /dev/null || need_packages wrk

"$ROOT/build.sh" build > /dev/null
[[ -f $BUILD/ngx_http_token_module.so ]] || fail "no module in $BUILD"

dir=$(mktemp -d)
chmod 755 "$dir"
mkdir "$dir/logs"
trap 'stop; rm -rf "$dir"' EXIT


stop() {
    local pid

    pid=$(cat "$dir/nginx.pid" 2> /dev/null) || return 0
    kill -QUIT "$pid" 2> /dev/null || return 0
    while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
}


# A port that nobody listens on.
free_port() {
    local port

    while :; do
        port=$((20000 + RANDOM % 20000))
        (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }
    done
}


# The worker's CPU time so far, user's and system's, in nanoseconds: from the
# scheduler where it tells, since clock ticks are coarse.
cpu_time() {
    if [[ -r /proc/$worker/schedstat ]] && [[ $(cut -d ' ' -f 1 "/proc/$worker/schedstat") != 0 ]]; then
        cut -d ' ' -f 1 "/proc/$worker/schedstat"
    else
        awk -v hz="$(getconf CLK_TCK)" \
            '{ sub(/.*\) /, ""); printf "%.0f\n", ($12 + $13) * 1e9 / hz }' "/proc/$worker/stat"
    fi
}


# measure PATH: microseconds of CPU time per request.
measure() {
    local before after requests

    before=$(cpu_time)
    requests=$(wrk -t 1 -c 16 -d "${SECONDS_EACH}s" \
        -H 'Origin: https://app50.example.com' "http://127.0.0.1:$port$1" |
        awk '/ requests in / { print $1 } /Non-2xx/ { exit 1 }') ||
        fail "wrk found errors at $1"
    after=$(cpu_time)

    awk -v time=$((after - before)) -v n="$requests" 'BEGIN { printf "%.4f\n", time / 1000 / n }'
}


median() {
    sort -n | awk '{ a[NR] = $1 }
        END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'
}


port=$(free_port)
origins=$(for i in $(seq 100); do echo "https://app$i.example.com"; done)

cat > "$dir/nginx.conf" << END
load_module $BUILD/ngx_http_token_module.so;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/logs/error.log;
$( (( EUID )) || echo 'user root;' )
events { worker_connections 256; }
http {
    access_log off;
    keepalive_requests 100000000;
    $(for name in client_body proxy fastcgi uwsgi scgi; do
        echo "${name}_temp_path $dir/$name;"; done)
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      key;
    token_proxy_client_secret  secret;
    server {
        listen 127.0.0.1:$port;
        location = /endpoint {
            default_type application/json;
            return 200 '{"access_token":"$(printf 'a%.0s' {1..600})","expires_in":36000}';
        }
        location = /without {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$port/endpoint;
            token_proxy_cache     tokens;
        }
        location = /with {
            token_proxy              on;
            token_proxy_endpoint     http://127.0.0.1:$port/endpoint;
            token_proxy_cache        tokens;
            token_proxy_cors_origin  ${origins//$'\n'/ };
        }
    }
}
END

nginx -e "$dir/logs/error.log" -p "$dir" -c "$dir/nginx.conf"

for _ in $(seq 100); do
    worker=$(pgrep -P "$(cat "$dir/nginx.pid" 2> /dev/null || echo 0)" || true)
    [[ $worker ]] && break
    sleep 0.1
done
[[ $worker ]] || fail "nginx did not start"

# what is compared is two answers of the same token
curl -sf -o /dev/null "http://127.0.0.1:$port/without" || fail "no token"
curl -sf -o /dev/null -D "$dir/head" -H 'Origin: https://app50.example.com' \
    "http://127.0.0.1:$port/with" || fail "no token"
grep -qi '^access-control-allow-origin: https://app50' "$dir/head" ||
    fail "the list of origins is not used"

measure /with > /dev/null
measure /without > /dev/null

# in turn, and each round the other way round
for round in $(seq "$ROUNDS"); do
    paths=(with without)
    (( round % 2 )) || paths=(without with)

    for path in "${paths[@]}"; do
        measure "/$path" >> "$dir/$path"
    done

    say "round $round: with $(tail -n 1 "$dir/with"), without $(tail -n 1 "$dir/without") us per request"
done

paste "$dir/with" "$dir/without" | awk '{ print $1 / $2 }' > "$dir/ratios"

ratio=$(median < "$dir/ratios")

say "100 origins: $(median < "$dir/with") us, none: $(median < "$dir/without") us of CPU time per request"
say "ratio: $ratio (bar $BAR)"
awk -v r="$ratio" -v bar="$BAR" 'BEGIN { exit r > bar }' || fail "the ratio is above the bar"
