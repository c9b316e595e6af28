#!/usr/bin/env bash
#
# Eight workers, whose tokens are renewed, replaced, refused and evicted at
# once, with reloads and killed workers in between. Ends with 1 if a token was
# served after its expiry, or after another one had been, or was sent to the API
# after that had accepted a newer one.
#
#     bench/stress.sh [SECONDS]     # 60

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prepare "${PERL_PACKAGES[@]}"

machine
say

export TEST_NGINX_BINARY=$NGINX
export TEST_NGINX_LOAD_MODULES=$SO
export TEST_NGINX_WORK=$BENCH

perl -I "$ROOT/t/lib" "$ROOT/bench/stress.pl" "${1:-60}"
