#!/usr/bin/env bash
#
# What a request costs in instructions of user mode: a hit beside "return 200"
# with the same answer, an uncached token beside a bare proxy_pass to the same
# endpoint, a request to an API with a cached token beside one with the same
# header as a constant, and a hit of a location for many tenants beside one whose
# token request is constant. Fails if a hit is above HIT (1.05), an uncached token
# above MISS (1.46), with connections to the endpoint that are kept, a request to
# an API above BEARER (1.04), or a tenant's hit above TENANT (1.30).
#
#     bench/instructions.sh [REQUESTS]
#
# One nginx process serves all of them, under valgrind's callgrind. It counts
# every instruction of nginx, the module and the libraries, and none of the
# kernel's. Each location is the only one of its server, so that finding it
# costs the same. One kept connection asks REQUESTS (500) times, and then twice
# as often: the difference has neither nginx's start in it nor the connection,
# and is divided by REQUESTS.
#
# Load of other processes is not counted, and delays alone change the order of
# events a little: runs differ by 0.3 percent at most. PROFILE=DIR keeps
# callgrind's files, NAME.1 and NAME.2, for callgrind_annotate; an nginx that is
# not stripped is named by BINARY=FILE.

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

requests=${1:-500}

prepare valgrind

NGINX=${BINARY:-$NGINX}
endpoint=$(free_port)
api=$(free_port)

start_nginx servers 1 << END
    $(endpoint "$endpoint")

    server {
        listen 127.0.0.1:$api;

        location / {
            if (\$http_authorization != 'Bearer $TOKEN') { return 401; }
            return 200 '$(printf 'x%0255d' 0)';
        }
    }
END

# server NAME: whose location comes from standard input.
server() {
    PORTS[$1]=$(free_port)

    cat >> "$BENCH/http" << END
    server {
        listen 127.0.0.1:${PORTS[$1]};

        location = /token {
            $(cat)
        }
    }
END
}

declare -A PORTS

cat > "$BENCH/http" << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    proxy_http_version  1.1;
    proxy_set_header    Connection '';

    upstream endpoint { server 127.0.0.1:$endpoint; keepalive 4; keepalive_requests 100000000; }
    upstream api { server 127.0.0.1:$api; keepalive 4; keepalive_requests 100000000; }
END

server hit << END
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            token_proxy_cache     tokens;
END

server tenant << END
            token_proxy            on;
            token_proxy_endpoint   http://127.0.0.1:$endpoint/token;
            token_proxy_client_id  id-\$host;
            token_proxy_param      scope \$request_method;
            token_proxy_cache      tokens;
END

server return << END
            $HEADERS
            return 200 '$ANSWER';
END

server token_kept <<< "token_proxy on; token_proxy_endpoint http://endpoint/token;"
server proxy_kept <<< "proxy_pass http://endpoint/token;"

server token_new << END
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            proxy_set_header      Connection close;
END

server proxy_new << END
            proxy_pass            http://127.0.0.1:$endpoint/token;
            proxy_set_header      Connection close;
END

for name in kept new; do
    to=http://api/
    connection=
    [[ $name == kept ]] || to=http://127.0.0.1:$api/ connection=close

    server "bearer_$name" << END
            token_proxy_bearer  /hit;
            proxy_set_header    Connection '$connection';
            proxy_pass          $to;
        }

        location = /hit {
            internal;
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            token_proxy_cache     tokens;
END

    server "header_$name" << END
            proxy_set_header  Authorization 'Bearer $TOKEN';
            proxy_set_header  Connection '$connection';
            proxy_pass        $to;
        }

        location = /hit {
            internal;
END
done

# The start is counted too, and takes part in no difference.
printf '#!/bin/sh\nexec valgrind -q --tool=callgrind --callgrind-out-file=%q --dump-before=ngx_reopen_files %q "$@"\n' \
    "$BENCH/counts" "$NGINX" > "$BENCH/callgrind"
chmod +x "$BENCH/callgrind"

NGINX=$BENCH/callgrind

# without workers, this one process serves
start_nginx counted 0 'master_process off;' < "$BENCH/http"

url() {
    say "http://127.0.0.1:${PORTS[$1]}/token"
}

PARTS=0

# count NAME PART N: INSTRUCTIONS are those since the last count, after N
# requests on one connection.
count() {
    local answers i url

    url=$(url "$1")

    for (( i = 0; i < $3; i++ )); do
        printf 'url = "%s"\noutput = /dev/null\n' "$url"
    done > "$BENCH/curl"

    answers=$(curl -s -w '%{http_code} %{num_connects}\n' -K "$BENCH/curl" | sort | uniq -c | xargs)

    [[ $answers == "$(( $3 - 1 )) 200 0 1 200 1" ]] || fail "$1: not what was expected: $answers"

    kill -USR1 "$PID"
    PARTS=$(( PARTS + 1 ))
    wait_until "grep -qs ^totals: '$BENCH/counts.$PARTS'"

    INSTRUCTIONS=$(sed -n 's/^totals: //p' "$BENCH/counts.$PARTS")
    [[ ! ${PROFILE:-} || $2 == 0 ]] || cp "$BENCH/counts.$PARTS" "$PROFILE/$1.$2"
}

# COSTS[NAME]
measure() {
    local once

    count "$1" 0 20
    count "$1" 1 "$requests"
    once=$INSTRUCTIONS
    count "$1" 2 $(( 2 * requests ))
    COSTS[$1]=$(( (INSTRUCTIONS - once) / requests ))
}

declare -A COSTS
status=0

# row TITLE NAME BARE [LIMIT]
row() {
    local ratio

    measure "$2"
    measure "$3"
    ratio=$(ratio "${COSTS[$2]}" "${COSTS[$3]}")
    say "| $1 | ${COSTS[$2]} | ${COSTS[$3]} | $ratio | ${4:-} |"

    [[ ! ${4:-} ]] || awk -v r="$ratio" -v l="$4" 'BEGIN { exit r > l }' || status=1
}

same_answer "$(url hit)" "$(url return)"
same_answer "$(url hit)" "$(url tenant)"
same_answer "$(url bearer_kept)" "$(url header_kept)"
same_answer "$(url bearer_new)" "$(url header_new)"
[[ $(curl -s "$(url token_kept)") == "$ANSWER" && $(curl -s "$(url token_new)") == "$ANSWER" ]] ||
    fail "no token from the token locations"

machine
say "Instructions in user mode per request, of $requests."
say
say '| | with the module | without | ratio | at most |'
say '|---|---|---|---|---|'
row 'hit, beside `return 200`' hit return "${HIT:-1.05}"
row "a tenant's hit, beside one of a constant request" tenant hit "${TENANT:-1.30}"
row 'uncached token, beside `proxy_pass`, connections kept' token_kept proxy_kept "${MISS:-1.46}"
row '..., a new connection each' token_new proxy_new
row 'bearer, beside a constant header, connections kept' bearer_kept header_kept \
    "${BEARER:-1.04}"
row '..., a new connection each' bearer_new header_new

(( status == 0 )) || fail "above what it may be at most"
