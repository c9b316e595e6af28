#!/usr/bin/env bash
#
# Runs prove on several test files at once, since tests wait more than they
# compute. Those that fail are run again one by one: what fails then is not kept
# from its time by a neighbour. No second run makes up for an nginx that crashed:
# Token::Server notes it in TEST_CRASHES.
#
#     scripts/prove.sh [ARG...] FILE...
#
# TEST_JOBS is how many at once (3). With -j among the arguments, or a single
# file, this is prove as it is.

set -euo pipefail

jobs=${TEST_JOBS:-3}
files=()
options=()

for arg; do
    case $arg in
        -j*)    jobs=1; options+=("$arg") ;;
        *.t)    files+=("$arg") ;;
        *)      options+=("$arg") ;;
    esac
done

if (( jobs == 1 || ${#files[@]} < 2 )); then
    exec prove "$@"
fi

log=$(mktemp)
TEST_CRASHES=$(mktemp)
export TEST_CRASHES
trap 'rm -f "$log" "$TEST_CRASHES"' EXIT


crashes() {
    [[ -s $TEST_CRASHES ]] || return 0

    printf '\nnginx has crashed:\n'
    sort -u "$TEST_CRASHES"
    exit 1
}


if prove "${options[@]}" -j "$jobs" "${files[@]}" | tee "$log"; then
    crashes
    exit
fi

mapfile -t failed < <(awk '/^Test Summary Report$/ { summary = 1 }
    summary && / \(Wstat: / { print $1 }' "$log")

# none, or too many for a matter of time
(( ${#failed[@]} > 0 && ${#failed[@]} < 9 )) || exit 1

printf '\nThese again, one by one: %s\n' "${failed[*]}"
prove "${options[@]}" "${failed[@]}" || exit
crashes
