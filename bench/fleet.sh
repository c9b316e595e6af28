#!/usr/bin/env bash
#
# What machines with one store ask for: calls of the endpoint, commands of the
# store. First nginx itself, then a simulation of more machines than this one
# holds: connections that run the module's scripts at a real store as a worker
# does.
#
#     bench/fleet.sh [SECONDS [MACHINES...]]     # 20; 1 3 10 real ones
#     SIMULATED="10 100 1000" bench/fleet.sh

set -euo pipefail

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-20}
machines=("${@:2}")
(( ${#machines[@]} )) || machines=(1 3 10)
read -ra simulated <<< "${SIMULATED:-10 100 1000}"

prepare perl redis-tools

# a connection for each simulated machine, here and in the store
ulimit -S -n 4096 || fail "\"ulimit -n 4096\" is refused"

export TEST_NGINX_WORK=$BENCH/work

machine
say
say "| machines | all at once, no token: endpoint calls | commands of a machine, mean |" \
    "most | all served after, ms | $seconds s of renewals: endpoint calls |" \
    "commands of a machine and renewal |"
say "|---|---|---|---|---|---|---|"

for n in "${machines[@]}"; do
    perl_with_tests "$ROOT/bench/fleet.pl" real "$n" "$seconds"
done

for n in "${simulated[@]}"; do
    perl_with_tests "$ROOT/bench/fleet.pl" simulated "$n" "$seconds"
done
