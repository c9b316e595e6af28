#!/usr/bin/env bash
#
# What a hit costs with 1, 2, 4 and 8 workers, in instructions of user mode and
# in CPU time; how often hits take the lock of the zone; and what a hit costs in
# CPU time when there are many other entries. Ends with 1 if instructions with
# 8 workers are above SCALE (1.05) of those with one, or if hits of 8 workers
# take the lock at all.
#
#     bench/scale.sh [HITS [ENTRIES]]     # 100000 170000

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

hits=${1:-100000}
entries=${2:-170000}
status=0

prepare valgrind wrk perl

port=$(free_port)
endpoint=$(free_port)


# config ZONE: the http block of all of these.
config() {
    cat << END
    token_proxy_cache_zone     zone=tokens:$1;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_cache          tokens;
    proxy_http_version         1.1;
    proxy_set_header           Connection '';

    upstream endpoint { server 127.0.0.1:$endpoint; keepalive 16; keepalive_requests 100000000; }

    server {
        listen 127.0.0.1:$port reuseport;

        location = /token {
            token_proxy           on;
            token_proxy_endpoint  http://endpoint/token;
        }

        location = /key {
            token_proxy            on;
            token_proxy_endpoint   http://endpoint/key;
            token_proxy_cache_key  \$arg_key;
        }

        location = /status {
            token_proxy_status;
        }
    }

    server {
        listen 127.0.0.1:$endpoint;
        default_type application/json;

        location / {
            return 200 '${ANSWER%\}},"expires_in":3600,"token_type":"Bearer"}';
        }

        location = /key {
            return 200 '{"access_token":"\$request_id","expires_in":3600}';
        }
    }
END
}


stop_nginx() {
    kill "$PID"
    wait_until "! kill -0 $PID 2> /dev/null"
}


# ask N: on 16 connections, so that each worker gets some. Fails if one fails.
ask() {
    local i answers

    for (( i = 0; i < 16; i++ )); do
        seq "$(( $1 / 16 ))" | sed "s|.*|url = \"http://127.0.0.1:$port/token\"\noutput = /dev/null|" \
            > "$BENCH/curl"
        answers=$(curl -s -w '%{http_code}\n' -K "$BENCH/curl" | sort | uniq -c | xargs)
        [[ $answers == "$(( $1 / 16 )) 200" ]] || fail "not what was expected: $answers"
    done
}


# counted N: instructions of all processes for N hits.
counted() {
    ask "$1"
    kill -USR1 "$PID"
    parts=$(( parts + 1 ))
    wait_until "(( \$(grep -ls ^totals: '$BENCH'/counts.*.$parts | wc -l) > workers ))"
    COUNT=$(cat "$BENCH"/counts.*."$parts" | awk '/^totals:/ { n += $2 } END { print n }')
}


# The difference of two counts has nothing in it but hits.
instructions() {
    local once
    workers=$1
    parts=0

    NGINX=$BENCH/callgrind
    start_nginx "counted$1" "$1" < <(config 1m)
    NGINX=$nginx
    counted 480
    counted 800
    once=$COUNT
    counted 1600
    INSTRUCTIONS=$(( (COUNT - once) / 800 ))
    stop_nginx
    rm -f "$BENCH"/counts.*
}


printf '#!/bin/sh\nexec valgrind -q --trace-children=yes --tool=callgrind --callgrind-out-file=%q.%%p --dump-before=ngx_reopen_files %q "$@"\n' \
    "$BENCH/counts" "$NGINX" > "$BENCH/callgrind"
chmod +x "$BENCH/callgrind"

nginx=$NGINX

machine
say
say '| workers | instructions | compared with one worker | µs of CPU |'
say '|---|---|---|---|'

for n in 1 2 4 8; do
    instructions "$n"
    [[ $n != 1 ]] || first=$INSTRUCTIONS

    start_nginx "scale$n" "$n" < <(config 1m)
    read -ra list <<< "$(workers "$PID")"
    load 1 "http://127.0.0.1:$port/token" "${list[@]}"
    load 4 "http://127.0.0.1:$port/token" "${list[@]}"
    (( FAILED == 0 )) || fail "$FAILED requests failed"
    stop_nginx

    say "| $n | $INSTRUCTIONS | $(ratio "$INSTRUCTIONS" "$first") | $(us "$COST") |"
done

awk -v r="$(ratio "$INSTRUCTIONS" "$first")" -v l="${SCALE:-1.05}" 'BEGIN { exit r > l }' || status=1


# a build that counts
locks() {
    curl -s "http://127.0.0.1:$port/status" | sed -n 's/.*"locks":\([0-9]*\).*/\1/p'
}

BUILD_DIR=$BENCH/counting CC="$CC -DNGX_HTTP_TOKEN_COUNT_LOCKS=1" "$ROOT/build.sh" build > /dev/null
SO=$BENCH/counting/ngx_http_token_module.so
start_nginx locks 8 < <(config 1m)
SO=$BUILD/ngx_http_token_module.so
ask 480

before=$(locks)
read -ra list <<< "$(workers "$PID")"
asked=0

while (( asked < hits )); do
    load 1 "http://127.0.0.1:$port/token" "${list[@]}"
    (( FAILED == 0 )) || fail "$FAILED requests failed"
    asked=$(( asked + REQUESTS ))
done

# the status takes it as well
taken=$(( $(locks) - before - 1 ))
stop_nginx

say
say "$asked hits of 8 workers: the lock was taken $taken times."
(( taken == 0 )) || status=1


# The same token with other entries beside it. Filling a zone takes too long
# where instructions are counted.
fill() {
    perl -MIO::Socket::INET -e '
        my ($port, $n) = @ARGV;
        my $socket = IO::Socket::INET->new("127.0.0.1:$port") or die "connect: $!\n";

        for (my $key = 1; $key <= $n; $key += 50) {
            my ($got, $answers) = (0, "");

            syswrite $socket, join "", map {
                "GET /key?key=$_ HTTP/1.1\r\nHost: a\r\n\r\n" } $key .. $key + 49;

            while ($got < 50) {
                sysread $socket, $answers, 262144, length $answers or die "closed\n";
                $got = () = $answers =~ /"access_token":"\w+"\}/g;
            }
        }' "$port" "$1"
}

say
say '| entries | µs of CPU |'
say '|---|---|'

start_nginx growth 1 < <(config 128m)
read -ra list <<< "$(workers "$PID")"
load 1 "http://127.0.0.1:$port/token" "${list[@]}"

for filled in 0 "$entries"; do
    fill "$filled"
    : > "$BENCH/costs"

    for _ in 1 2 3 4 5; do
        load 1 "http://127.0.0.1:$port/token" "${list[@]}"
        say "$COST" >> "$BENCH/costs"
    done

    say "| $(curl -s "http://127.0.0.1:$port/status" | sed 's/.*"entries":\([0-9]*\).*/\1/') |" \
        "$(us "$(median < "$BENCH/costs")") |"
done

stop_nginx

(( status == 0 )) || fail "above what it may be at most"
