#!/usr/bin/env bash
#
# Memory and descriptors of the workers over a million hits and 20,000 misses,
# with callers who leave and an endpoint that fails in between. Ends with 1 if
# they grow.
#
#     bench/soak.sh [HITS] [MISSES]

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HITS=${1:-1000000}
MISSES=${2:-20000}
ROUNDS=10

# How much a worker's own memory may grow from the first round to the last, in
# kB: malloc() keeps what the busiest moment needed.
SLACK=1024

prepare wrk

port=$(free_port)
endpoint=$(free_port)

start_nginx soak 2 << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_retry_backoff  1ms 10ms;
    proxy_read_timeout         500ms;

    split_clients \$request_id \$fault {
        15%  closed;
        15%  500;
        15%  429;
        15%  junk;
        10%  short;
        5%   slow;
        *    token;
    }

    server {
        listen 127.0.0.1:$port;

        location = /hit {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            token_proxy_cache     tokens;
        }

        location = /miss {
            token_proxy            on;
            token_proxy_endpoint   http://127.0.0.1:$endpoint/token;
            token_proxy_cache      tokens;
            token_proxy_cache_key  \$request_id;
        }

        location = /faulty_miss {
            token_proxy            on;
            token_proxy_endpoint   http://127.0.0.1:$endpoint/faulty;
            token_proxy_cache      tokens;
            token_proxy_cache_key  \$request_id;
        }

        location = /faulty {
            token_proxy            on;
            token_proxy_endpoint   http://127.0.0.1:$endpoint/faulty;
        }

        location = /status { stub_status; }
    }

    server {
        listen 127.0.0.1:$endpoint;
        default_type application/json;

        location = /faulty        { rewrite ^ /faults/\$fault last; }
        location = /faults/closed { return 444; }
        location = /faults/500    { return 500; }
        location = /faults/429    { return 429 '{"error":"slow_down"}'; }
        location = /faults/junk   { return 200 '{"access_token":'; }
        location = /faults/short  { add_header X-Accel-Limit-Rate 1; return 200 '{}'; }
        location = /faults/slow   { proxy_pass http://127.0.0.1:$endpoint/never; }
        location = /never         { auth_delay 2s; auth_basic x; auth_basic_user_file /dev/null; }
        location / {
            return 200 '${ANSWER%\}},"expires_in":3600,"token_type":"Bearer"}';
        }
    }
END

read -ra list <<< "$(workers "$PID")"


# requests PATH COUNT: at least so many, in a bounded number of steps. DONE is
# how many there were.
requests() {
    local path=$1 count=$2 step

    DONE=0

    for (( step = 0; step < 120 && DONE < count; step++ )); do
        load 1 "http://127.0.0.1:$port$path" "${list[@]}"
        DONE=$(( DONE + REQUESTS ))
    done

    (( DONE >= count )) || fail "only $DONE of $count requests in two minutes"
}


# What the worker has for itself, in kB; and its descriptors.
own_memory() {
    awk '/^(Private|Anonymous)/ && /^Private/ { n += $2 } END { print n }' "/proc/$1/smaps_rollup"
}

descriptors() {
    find "/proc/$1/fd" -mindepth 1 2> /dev/null | wc -l
}


# Callers who leave: connections that are closed with a request under way.
leave() {
    local i

    for (( i = 0; i < 50; i++ )); do
        (
            exec 3<> "/dev/tcp/127.0.0.1/$port"
            printf 'GET /faulty HTTP/1.1\r\nHost: soak\r\n\r\n' >&3
        )
    done
}


say "$(machine)"
say ""
say "| round | hits | misses | misses with faults | calls with faults | kB of the workers | descriptors |"
say "|---|---|---|---|---|---|---|"

for (( round = 0; round <= ROUNDS; round++ )); do
    requests /hit $(( HITS / ROUNDS ));               hits=$DONE
    requests /miss $(( MISSES / ROUNDS ));            misses=$DONE
    requests /faulty_miss $(( MISSES / ROUNDS / 4 )); faulty_misses=$DONE
    requests /faulty $(( MISSES / ROUNDS / 4 ));      faulty=$DONE
    leave

    # what was under way ends, the endpoint's slow answers included
    sleep 3

    memory=(); fds=()
    for pid in "${list[@]}"; do
        memory+=("$(own_memory "$pid")")
        fds+=("$(descriptors "$pid")")
    done

    # the first round is for what is allocated once
    if (( round == 0 )); then
        first_memory=("${memory[@]}")
        first_fds=("${fds[@]}")
    fi

    say "| $round | $hits | $misses | $faulty_misses | $faulty | ${memory[*]} | ${fds[*]} |"
done

say ""
[[ $(workers "$PID") == "${list[*]} " ]] || fail "workers have died"

active=$(curl -s "http://127.0.0.1:$port/status" | awk '/^Active/ { print $3 }')
(( active == 1 )) || fail "$active connections are left"

for i in "${!list[@]}"; do
    (( memory[i] <= first_memory[i] + SLACK )) ||
        fail "worker ${list[i]} has grown from ${first_memory[i]} to ${memory[i]} kB"
    (( fds[i] <= first_fds[i] )) ||
        fail "worker ${list[i]} has ${fds[i]} descriptors, and had ${first_fds[i]}"
done

say "Flat: the workers' memory and descriptors after the first round and the last."
