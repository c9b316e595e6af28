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

perl_with_tests "$ROOT/bench/year.pl"
