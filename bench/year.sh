#!/usr/bin/env bash
#
# A year in two minutes: what happens to a token proxy, in turn and under load.
# Ends with 1 if a request has failed for which there could have been a token,
# or if there was a call of an endpoint without a reason.
#
#     bench/year.sh

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prepare "${PERL_PACKAGES[@]}"

machine
say

export TEST_NGINX_BINARY=$NGINX
export TEST_NGINX_LOAD_MODULES=$SO
export TEST_NGINX_WORK=$BENCH

perl -I "$ROOT/t/lib" "$ROOT/bench/year.pl"
