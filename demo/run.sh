#!/usr/bin/env bash
#
# Runs the demo: nginx with the token module, in the foreground.
#
#   NGX_TOKEN_MODULE=/path/to/ngx_http_token_module.so demo/run.sh
#
# CONSUMER_KEY, CONSUMER_SECRET, TOKEN_ENDPOINT, CORS_ORIGIN and PORT come from
# the environment, or from .env in the working directory or else beside
# build.sh. Without the first three a stand-in takes the endpoint's place.
# CORS_ORIGIN names the origins whose pages may fetch tokens too. VOXEET=0 does
# without the Voxeet Web SDK.

set -euo pipefail
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sdk=$demo/node_modules/@voxeet/voxeet-web-sdk
lifetime=3600
dir=


fail() {
    echo "demo: $*" >&2
    exit 1
}


# shellcheck source=scripts/dotenv.sh
. "$demo/../scripts/dotenv.sh"


# One file is read, and not a mixture of two.
read_settings() {
    local names=(CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT CORS_ORIGIN PORT)
    local here=$PWD/.env checkout=${demo%/*}/.env

    if [[ ! ( -e $here || -L $here ) || $here -ef $checkout ]]; then
        here=$checkout
        checkout=
    fi

    [[ -e $here || -L $here ]] || return 0
    [[ -f $here && -r $here ]] || fail "$here cannot be read"

    if [[ $checkout && -e $checkout ]]; then
        echo "Settings: $here (and not $checkout)"
    else
        echo "Settings: $here"
    fi

    read_env_file "$here" "${names[@]}"
}


# Sets origins, what token_proxy_cors_origin is to be.
choose_origins() {
    local origin list

    IFS=$', \t\n' read -r -d '' -a list <<< "${CORS_ORIGIN-}" || true

    for origin in "${list[@]}"; do
        [[ $origin =~ ^(off|\*|null|https?://[]A-Za-z0-9.:_[-]+)$ ]] ||
            fail "CORS_ORIGIN: \"$origin\" is not an origin such as http://localhost:3000"
    done

    origins=${list[*]:-off}
}


# All three or none: half a set is a mistake, and not the stand-in.
choose_endpoint() {
    local name set=() missing=()

    for name in CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT; do
        if [[ ${!name-} ]]; then set+=("$name"); else missing+=("$name"); fi
    done

    if (( ${#missing[@]} == 0 )); then
        [[ $TOKEN_ENDPOINT =~ ^https?://[^[:space:]\"\'\;{}\$\\]+$ ]] ||
            fail "TOKEN_ENDPOINT is not an http or https URL"
        echo "Token endpoint: $TOKEN_ENDPOINT"
        return
    fi

    if (( ${#set[@]} )); then
        fail "${set[*]} set, but not ${missing[*]}:" \
             "set all three for a real endpoint, none for the stand-in"
    fi

    CONSUMER_KEY='demo-key'
    CONSUMER_SECRET='demo-secret'
    TOKEN_ENDPOINT=http://unix:stand-in.sock:/v1/oauth2/token
    stand_in=1
    echo "Stand-in token endpoint: CONSUMER_KEY, CONSUMER_SECRET and" \
         "TOKEN_ENDPOINT are not set, so the tokens are only for show."
}


# The page works without the SDK, up to its second button. npm is not installed
# for it unless that is asked for (build.sh).
install_sdk() {
    [[ -f $sdk/dist/voxeet-sdk.js || ${VOXEET-} == 0 ]] && return

    if ! command -v npm > /dev/null; then
        echo "No Voxeet Web SDK, which the page's second button needs:" \
             "VOXEET=1 ./build.sh run installs npm and the SDK."
        return
    fi

    echo "Installing the Voxeet Web SDK from npm into demo/node_modules" \
         "(VOXEET=0 does without) ..."
    npm install --prefix "$demo" --ignore-scripts --no-package-lock \
        --no-audit --no-fund --fetch-retries=0 --fetch-timeout=30000 \
        --loglevel=error > "$dir/npm.log" 2>&1 &
    wait $! || echo "The SDK could not be installed ($(grep -m1 . "$dir/npm.log")):" \
                    "the demo goes on without it."
}


write_files() {
    local conf

    mkdir "$dir/html"
    cp "$demo"/*.{html,css,js,svg} "$dir/html/"
    [[ -d $sdk/dist ]] && cp -r "$sdk/dist" "$dir/html/sdk"
    [[ $stand_in ]] && cp "$demo/stand-in.conf" "$dir/"

    conf=$(< "$demo/nginx.conf")
    conf=${conf//@MODULE@/"$NGX_TOKEN_MODULE"}
    conf=${conf//@PORT@/"$PORT"}
    conf=${conf//@ENDPOINT@/"$TOKEN_ENDPOINT"}
    conf=${conf//@ORIGINS@/"$origins"}
    printf '%s\n' "$conf" > "$dir/nginx.conf"

    # nginx's workers are another user's when it is started by root.
    chmod -R a+rX "$dir"
}


base64url() {
    printf %s "$1" | base64 -w 0 | tr '+/' '-_' | tr -d '='
}


# A JWT by its looks, without a signature.
write_token() {
    local now claims token

    printf -v now '%(%s)T' -1
    printf -v claims '{"iss":"stand-in","sub":"demo-key","iat":%d,"exp":%d}' \
        "$now" $((now + lifetime))
    token=$(base64url '{"alg":"none","typ":"JWT"}').$(base64url "$claims").stand-in

    printf '{"token_type":"Bearer","access_token":"%s","refresh_token":"%s","expires_in":%d}\n' \
        "$token" "$(od -An -N 16 -t x1 /dev/urandom | tr -d ' ')" $((lifetime - 60)) > "$dir/token.new"
    mv "$dir/token.new" "$dir/token.json"
}


start_nginx() {
    if (: < "/dev/tcp/localhost/$PORT") 2> /dev/null; then
        fail "port $PORT is in use: choose another one with PORT"
    fi

    export CONSUMER_KEY CONSUMER_SECRET
    cd "$dir"
    nginx -e stderr -p "$dir/" -c nginx.conf -g 'daemon off;' &
    nginx=$!

    # The pid file is written once the sockets listen.
    until [[ -s nginx.pid ]]; do
        kill -0 "$nginx" 2> /dev/null || fail "nginx did not start"
        sleep 0.05
    done
}


# shellcheck disable=SC2317  # called by the trap
clean_up() {
    local status=$? jobs

    set +e
    trap '' INT TERM HUP
    jobs=$(jobs -p)
    # shellcheck disable=SC2086  # one word for each process
    [[ $jobs ]] && kill $jobs 2> /dev/null
    wait
    [[ $dir ]] && rm -rf "$dir"
    exit "$status"
}


(( $# == 0 )) || fail "no argument $1: PORT and the other settings are variables"
read_settings
PORT=${PORT:-8080}
stand_in=

if [[ ! $PORT =~ ^[1-9][0-9]{0,4}$ ]] || (( PORT > 65535 )); then
    fail "PORT is not a port number: $PORT"
fi

[[ -f ${NGX_TOKEN_MODULE-} ]] ||
    fail "NGX_TOKEN_MODULE does not name the built module: use ./build.sh run"
command -v nginx > /dev/null || fail "nginx is not installed"
choose_endpoint
choose_origins

trap clean_up EXIT
trap 'exit 0' INT TERM HUP
dir=$(mktemp -d "${TMPDIR:-/tmp}/token-demo.XXXXXX")

install_sdk
write_files
[[ $stand_in ]] && write_token
start_nginx

echo "Token URL: http://localhost:$PORT/token"
echo "Demo page: http://localhost:$PORT/"
if [[ $origins == off ]]; then
    echo "Pages of other origins may not ask:" \
         "CORS_ORIGIN=http://localhost:3000 lets those of one."
else
    echo "Pages of other origins that may ask: $origins"
fi
echo "nginx's error log is in this terminal. Ctrl-C ends the demo."

while kill -0 "$nginx" 2> /dev/null; do
    sleep 50 &
    wait -n || true
    [[ $stand_in ]] && write_token
done

fail "nginx ended"
