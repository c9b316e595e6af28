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

perl_with_tests "$ROOT/bench/stress.pl" "${1:-60}"
