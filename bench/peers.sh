#!/usr/bin/env bash
#
# What a cached token costs in other ways to serve one: CPU time per request of
# the server, in turn; the medians, and how they compare with the module's.
#
#     bench/peers.sh [ROUNDS] [SECONDS]

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${1:-7}
seconds=${2:-2}

prepare wrk libnginx-mod-http-js libnginx-mod-http-lua lua-cjson "${NODE_PACKAGES[@]}"
npm_ci "$ROOT/bench/peers" > /dev/null

modules=$(nginx -V 2>&1 | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
port=$(free_port)
endpoint=$(free_port)
express=$(free_port)

start_nginx peers 1 "
load_module $modules/ngx_http_js_module.so;
load_module $modules/ndk_http_module.so;
load_module $modules/ngx_http_lua_module.so;" << END
    token_proxy_cache_zone     zone=module:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    proxy_cache_path  $BENCH/cache keys_zone=proxy:1m;
    lua_shared_dict   tokens 1m;
    js_path           $ROOT/bench/peers;
    js_import         peer from token.js;

    server {
        listen 127.0.0.1:$port;

        location = /return {
            $HEADERS
            return 200 '$ANSWER';
        }

        location = /module {
            token_proxy           on;
            token_proxy_endpoint  http://127.0.0.1:$endpoint/token;
            token_proxy_cache     module;
        }

        location = /lua {
            content_by_lua_file  $ROOT/bench/peers/token.lua;
        }

        location = /proxy_cache {
            $HEADERS
            proxy_pass           http://127.0.0.1:$endpoint/token;
            proxy_method         POST;
            proxy_set_body       grant_type=client_credentials;
            proxy_set_header     Authorization "Basic bXkta2V5Om15LXNlY3JldA==";
            proxy_cache          proxy;
            proxy_cache_methods  GET HEAD POST;
            proxy_cache_key      token;
            proxy_cache_valid    200 1h;
        }

        location = /njs {
            js_content  peer.token;
        }

        location = /endpoint {
            internal;
            proxy_pass           http://127.0.0.1:$endpoint/token;
            proxy_method         POST;
            proxy_set_body       grant_type=client_credentials;
            proxy_set_header     Authorization "Basic bXkta2V5Om15LXNlY3JldA==";
            proxy_cache          proxy;
            proxy_cache_methods  GET HEAD POST;
            proxy_cache_key      endpoint;
            proxy_cache_valid    200 1h;
        }
    }

$(endpoint "$endpoint")
END

node "$ROOT/bench/peers/server.js" "http://127.0.0.1:$endpoint/token" "$express" &
STARTED+=($!)
node=$!

read -ra nginx <<< "$(workers "$PID")"
wait_until "curl -so /dev/null http://127.0.0.1:$express/token"

# NAME, URL, processes
peers=(
    "ngx_http_token_module|http://127.0.0.1:$port/module|${nginx[*]}"
    "return 200|http://127.0.0.1:$port/return|${nginx[*]}"
    "nginx Lua, shared dict|http://127.0.0.1:$port/lua|${nginx[*]}"
    "proxy_cache|http://127.0.0.1:$port/proxy_cache|${nginx[*]}"
    "nginx JavaScript, proxy_cache|http://127.0.0.1:$port/njs|${nginx[*]}"
    "Express, axios, a variable|http://127.0.0.1:$express/token|$node"
)

run() {
    local name url pids

    IFS='|' read -r name url pids <<< "$1"
    read -ra pids <<< "$pids"

    load "$2" "$url" "${pids[@]}"
    (( FAILED == 0 )) || fail "$name: $FAILED requests failed"
}

for peer in "${peers[@]}"; do
    IFS='|' read -r name url _ <<< "$peer"
    curl -s "$url" | grep -q "\"access_token\":\"$TOKEN\"" ||
        fail "$name does not answer with the token: $(curl -si "$url")"
    run "$peer" 1
done

for (( round = 0; round < rounds; round++ )); do
    for (( i = 0; i < ${#peers[@]}; i++ )); do
        n=$(( (i + round) % ${#peers[@]} ))
        run "${peers[n]}" "$seconds"
        say "$COST" >> "$BENCH/cost.$n"
        say "$(( REQUESTS / seconds ))" >> "$BENCH/rate.$n"
    done
done

machine
say "Medians of $rounds rounds of $seconds s, one worker each."
say
say '| who | CPU time per request, microseconds | compared with the module | requests/s |'
say '|---|---|---|---|'

module=$(median < "$BENCH/cost.0")

for (( i = 0; i < ${#peers[@]}; i++ )); do
    cost=$(median < "$BENCH/cost.$i")
    say "| ${peers[i]%%|*} | $(us "$cost") |" \
        "$(awk -v a="$cost" -v b="$module" 'BEGIN { printf "%.2f", a / b }') |" \
        "$(median < "$BENCH/rate.$i") |"
done
