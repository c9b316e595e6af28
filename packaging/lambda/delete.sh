#!/usr/bin/env bash
#
# Removes from AWS what create.sh has made, and nothing else: what has the name
# and the tag. Says what it has removed.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=packaging/lambda/common.sh
. "$here/common.sh"


usage() {
    cat << 'END'
usage: delete.sh [options]

options:
  --name NAME           as create.sh had it (token)
  --region REGION       the AWS CLI's own, if it is not given
  --endpoint-url URL    in the place of AWS, for tests
  --dry-run             say what would be removed, and remove nothing
END
}


# shellcheck disable=SC2317  # called by the trap
clean_up() {
    [[ ! $PRIVATE ]] || rm -rf "$PRIVATE"
}


# remove WHAT NAME TAG FUNCTION...: if it is there, and was made by create.sh.
remove() {
    local what=$1 name=$2 tag=$3
    shift 3

    if [[ ! $name ]]; then
        return
    elif [[ $tag != "$NAME" ]]; then
        say "The $what $NAME stays: create.sh has not made it."
    elif [[ $ONLY_SAY ]]; then
        say "Would delete the $what $name."
        (( ++REMOVED ))
    else
        "$@" || fail "the $what $name was not deleted"
        (( ++REMOVED ))
    fi
}


ONLY_SAY=
REMOVED=0

while (( $# )); do
    case $1 in
        -h | --help)    usage; exit ;;
        --dry-run)      ONLY_SAY=yes; shift; continue ;;
        --*)            (( $# > 1 )) || fail "$1 needs a value" ;;
        *)              fail "there is no argument $1: --help lists all" ;;
    esac

    common_option "$1" "$2" || fail "there is no option $1: --help lists all"
    shift 2
done

check_common
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
make_private

# what fails to answer is no sign that there is nothing
api=$(find_api) || fail "API Gateway does not answer"
function=$(find_function) || fail "Lambda does not answer"
role=$(find_role) || fail "IAM does not answer"

remove "REST API" "$api" "$NAME" remove_api "$api"
read -r arn tag <<< "$function"
remove function "${arn:+$NAME}" "$tag" remove_function
read -r arn tag <<< "$role"
remove role "${arn:+$NAME}" "$tag" remove_role "$arn"

if (( ! REMOVED )); then
    say "There is nothing of the name $NAME."
elif [[ ! $ONLY_SAY ]]; then
    say "The log group /aws/lambda/$NAME, if Lambda has made one, stays."
fi
