#!/usr/bin/env bash
#
# Load over ten lifetimes of a token whose endpoint takes half a second, and
# reloads under load: failed requests, latency, calls of the endpoint.
#
#     bench/load.sh [SECONDS [RELOAD_SECONDS]]

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-60}
reload_seconds=${2:-30}
lifetime=$(( seconds / 10 ))

# Each waits a little before its next request: at a load that takes the whole
# machine, latency is the time in which others have the cores.
CONNECTIONS=16
PAUSE=2

prepare wrk perl

port=$(free_port)
endpoint=$(free_port)

# Each location has a token of its own: one that is renewed, one that is not.
start_nginx load 2 << END
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_cache          tokens;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    server {
        listen 127.0.0.1:$port;

        location = /renewed {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/renewed;
        }

        location = /lasting {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/lasting;
        }
    }
END
nginx=$PID

start_nginx endpoint 1 << END
    server {
        listen 127.0.0.1:$endpoint;
        access_log $BENCH/calls;

        # refuses after half a second, and answers with a token then
        auth_basic            endpoint;
        auth_basic_user_file  /dev/null;
        auth_delay            500ms;
        default_type          application/json;

        location = /renewed {
            error_page  401 =200 @renewed;
        }

        location = /lasting {
            error_page  401 =200 @lasting;
        }

        location @renewed {
            return  200 '${ANSWER%\}},"expires_in":$lifetime}';
        }

        location @lasting {
            return  200 '${ANSWER%\}},"expires_in":3600}';
        }
    }
END

cat > "$BENCH/latency.lua" << END
function delay()
    return $PAUSE
end

function done(summary, latency, requests)
    io.write(string.format("latency %.2f %.2f %.2f\n",
        latency:percentile(99) / 1000, latency:percentile(99.9) / 1000,
        latency.max / 1000))
end
END
# shellcheck disable=SC2034
WRK=(-s "$BENCH/latency.lua")

calls() {
    grep -c "/$1 " "$BENCH/calls" || true
}

measure() {
    curl -so /dev/null "http://127.0.0.1:$port/$1"
    load "$2" "http://127.0.0.1:$port/$1" "$nginx"
    say "| $3 | $REQUESTS | $FAILED |" \
        "$(awk '/^latency/ { print $2 " | " $3 " | " $4 }' "$BENCH/wrk") |" \
        "$(calls "$1") |"
}

machine
say "2 workers, $CONNECTIONS connections with a request $PAUSE ms after the last answer;" \
    "the endpoint takes 500 ms."
say
say '| load | requests | failed | p99, ms | p99.9, ms | slowest, ms | endpoint calls |'
say '|---|---|---|---|---|---|---|'
measure lasting "$(( seconds / 4 ))" "$(( seconds / 4 )) s, no renewal"
measure renewed "$seconds" "$seconds s, tokens with a lifetime of $lifetime s"

# A client that knows when to ask again on a new connection, RFC 9112 9.3.1.
: > "$BENCH/calls"
kill -USR1 "$PID"

perl -I "$ROOT/t/lib" -MToken::Client -e '
    my ($port, $nginx, $seconds) = @ARGV;
    my @loads = map { Token::Client->load($port, "/renewed", seconds => 600,
        processes => 1, close => $_) } 0, 1;
    my $end = time + $seconds;

    while (time < $end) {
        sleep 1;
        kill HUP => $nginx;
    }

    for (@loads) {
        my $all = $_->stop;
        my $times = $all->{times};
        printf "%d %d %.2f %.2f %.2f\n", $all->{requests}, $all->{failed},
            map { 1000 * $times->[$_ * $#$times] } .99, .999, 1;
    }
' "$port" "$nginx" "$reload_seconds" > "$BENCH/reload"

what=('connections that are kept' 'a new connection for each request')
number=0

while read -r requests failed p99 p999 slowest; do
    say "| $reload_seconds s, a reload every second, ${what[number++]} | $requests |" \
        "$failed | $p99 | $p999 | $slowest | $(calls renewed) |"
done < "$BENCH/reload"

say
say "A token that lives $lifetime s is renewed each $(( lifetime / 2 )) s or a little later:" \
    "at most $(( 2 * seconds / lifetime + 1 )) calls in $seconds s," \
    "$(( 2 * reload_seconds / lifetime + 1 )) in $reload_seconds s."
