# Sourced by the benchmarks: an nginx to measure, load, CPU time, medians.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD_DIR:-$ROOT/build}
SO=$BUILD/ngx_http_token_module.so
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin


say() {
    printf '%s\n' "$*"
}


fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}


# what scripts/packages.sh wants to know
NGINX_SOURCE=
VARIANT=
CC=${CC:-gcc}

# shellcheck source=scripts/packages.sh
. "$ROOT/scripts/packages.sh"


choose_packages


# prepare PACKAGE...: the module, the packages, and a directory in BENCH.
prepare() {
    "$ROOT/build.sh" build > /dev/null
    need_packages curl "$@"
    NGINX=$(command -v nginx)

    BENCH=$(mktemp -d "${TMPDIR:-/tmp}/token-bench.XXXXXX")
    trap cleanup EXIT
    trap 'exit 130' INT TERM
}


# What was started, in order: pids of processes that end by TERM.
STARTED=()

cleanup() {
    local pid

    for pid in "${STARTED[@]}"; do
        kill "$pid" 2> /dev/null
    done

    for pid in "${STARTED[@]}"; do
        for _ in {1..100}; do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.05
        done
    done

    rm -rf "$BENCH"
}


free_port() {
    local port

    for _ in {1..100}; do
        port=$(( 10000 + RANDOM % 20000 ))
        if ! (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            echo "$port"
            return
        fi
    done

    fail "no free port"
}


# start_nginx NAME WORKERS [MAIN]: its http block comes from standard input,
# its pid goes to PID. Nothing is logged but errors. WORKER_CONNECTIONS may be
# set.
start_nginx() {
    local dir=$BENCH/$1 workers=$2 main=${3:-} user=

    (( EUID == 0 )) && user='user root;'
    mkdir -p "$dir"

    cat > "$dir/nginx.conf" << END
load_module $SO;
$main
$user
worker_processes $workers;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections ${WORKER_CONNECTIONS:-2048}; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    $(cat)
}
END

    "$NGINX" -e "$dir/error.log" -p "$dir" -c "$dir/nginx.conf" ||
        fail "nginx did not start"

    wait_until "[[ -s $dir/pid ]]"
    PID=$(cat "$dir/pid")
    STARTED+=("$PID")
    wait_until "(( \$(workers $PID | wc -w) == $workers ))"
}


# wait_until CONDITION: for ten seconds at most.
wait_until() {
    for _ in {1..200}; do
        eval "$1" && return
        sleep 0.05
    done

    fail "in vain: $1"
}


# workers PID: of that nginx, without its cache manager. Under valgrind processes
# have no titles.
workers() {
    local pid children

    # it does not end with a newline
    read -ra children < "/proc/$1/task/$1/children" || true

    for pid in "${children[@]}"; do
        tr '\0' ' ' < "/proc/$pid/cmdline" | grep -Eq 'worker process|valgrind' &&
            printf '%s ' "$pid"
    done

    return 0
}


# cpu PID...: nanoseconds of CPU time that the processes have used.
cpu() {
    local pid sum=0 ticks

    for pid; do
        if [[ -r /proc/$pid/schedstat ]]; then
            read -r ticks _ < "/proc/$pid/schedstat"
        else
            ticks=$(sed 's/.*) //' "/proc/$pid/stat" |
                awk -v hz="$(getconf CLK_TCK)" '{ printf "%d", ($12 + $13) * 1e9 / hz }')
        fi
        sum=$(( sum + ticks ))
    done

    echo "$sum"
}


# load SECONDS URL PID...: sets REQUESTS, FAILED (statuses other than 2xx and
# 3xx, socket errors) and COST, the processes' CPU time in nanoseconds for a
# request. CONNECTIONS and WRK, more of wrk's arguments, may be set.
load() {
    local seconds=$1 url=$2 before after
    shift 2

    before=$(cpu "$@")
    wrk -t 1 -c "${CONNECTIONS:-32}" -d "$seconds" "${WRK[@]}" "$url" \
        > "$BENCH/wrk" || fail "wrk: $(cat "$BENCH/wrk")"
    after=$(cpu "$@")

    REQUESTS=$(awk '/requests in/ { print $1 }' "$BENCH/wrk")
    FAILED=$(awk '/Non-2xx/ { n += $NF }
        /Socket errors/ { gsub(/,/, ""); n += $4 + $6 + $8 + $10 }
        END { print n + 0 }' "$BENCH/wrk")

    (( REQUESTS )) || fail "no answers from $url"
    COST=$(( (after - before) / REQUESTS ))
}

WRK=()


# median: of the numbers on standard input.
median() {
    sort -g | awk '{ v[NR] = $1 }
        END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}


ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'
}


# Nanoseconds as microseconds.
us() {
    awk -v n="$1" 'BEGIN { printf "%.2f", n / 1000 }'
}


# A JWT's worth of token.
TOKEN=$(printf 'eyJhbGciOiJSUzI1NiJ9.%0640d' 0)
ANSWER="{\"access_token\":\"$TOKEN\",\"refresh_token\":\"$(printf 'r%0126d' 0)\"}"


# An endpoint that answers at once, as a server block for port $1.
endpoint() {
    cat << END
    server {
        listen 127.0.0.1:$1;
        location / {
            default_type application/json;
            return 200 '${ANSWER%\}},"expires_in":3600,"token_type":"Bearer"}';
        }
    }
END
}


# The headers that a token gets, for what is compared with it.
HEADERS='default_type application/json;
        add_header Cache-Control no-store;
        add_header Pragma no-cache;
        add_header X-Content-Type-Options nosniff;'


# answer URL: its status, headers and body, but for what always differs.
answer() {
    curl -si "$1" | sed '/^Date:/d' | LC_ALL=C sort
}


same_answer() {
    [[ $(answer "$1") == "$(answer "$2")" ]] ||
        fail "$1 and $2 differ: $(diff <(answer "$1") <(answer "$2"))"
}


machine() {
    say "$(nproc --all) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)," \
        "Linux $(uname -r), $("$NGINX" -v 2>&1 | sed 's/nginx version: //')"
}


# perl_with_tests ARG...: perl with the tests' libraries, and the nginx and module of this bench.
perl_with_tests() {
    TEST_NGINX_BINARY=$NGINX TEST_NGINX_LOAD_MODULES=$SO \
        TEST_NGINX_WORK=${TEST_NGINX_WORK:-$BENCH} perl -I "$ROOT/t/lib" "$@"
}


# measure_one NAME SECONDS: microseconds of CPU a request of URLS[NAME], whose
# worker is WORKERS[NAME]. In a subshell, since two are measured at once.
measure_one() (
    BENCH=$BENCH/$1.load
    mkdir -p "$BENCH"

    CONNECTIONS=16 load "$2" "${URLS[$1]}" "${WORKERS[$1]}"
    (( FAILED == 0 )) || fail "$FAILED of $REQUESTS requests of $1 failed"
    us "$COST"
)


# compare A B ROUNDS SECONDS BAR: rounds of so many seconds of load on both at the
# same time. Fails if the median of their ratios is above BAR.
compare() {
    local rounds=$3 seconds=$4 bar=$5 round a b result

    # The first round warms both up.
    for round in $(seq 0 "$rounds"); do
        measure_one "$1" "$seconds" > "$BENCH/$1.us" &
        measure_one "$2" "$seconds" > "$BENCH/$2.us"
        wait $!
        (( round )) || continue

        a=$(< "$BENCH/$1.us") b=$(< "$BENCH/$2.us")
        say "$a" >> "$BENCH/$1.all"
        say "$b" >> "$BENCH/$2.all"
        say "$(ratio "$a" "$b")" >> "$BENCH/ratios"
        say "round $round: $1 $a us, $2 $b us, $(tail -n 1 "$BENCH/ratios")"
    done

    result=$(median < "$BENCH/ratios")

    say "$1: $(median < "$BENCH/$1.all") us per request, $2:" \
        "$(median < "$BENCH/$2.all") us, median of the ratios $result (bar $bar)"
    awk -v r="$result" -v bar="$bar" 'BEGIN { exit r > bar }' ||
        fail "the ratio is above the bar"
}
