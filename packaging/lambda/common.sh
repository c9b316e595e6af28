# Sourced by create.sh and delete.sh: how AWS is asked, and what is found there.
# shellcheck shell=bash

# What was made has this tag, with the name as its value.
TAG=token-proxy
POLICY=arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole

NAME=token
REGION=
ENDPOINT_URL=
DRY_RUN=
PRIVATE=


say() {
    printf '%s\n' "$*"
}


fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}


# common_option OPTION VALUE: 1 if it is none of those that both scripts have.
common_option() {
    case $1 in
        --name)             NAME=$2 ;;
        --region)           REGION=$2 ;;
        --endpoint-url)     ENDPOINT_URL=$2 ;;
        *)                  return 1 ;;
    esac
}


check_common() {
    [[ $NAME =~ ^[a-zA-Z0-9_-]{1,48}$ ]] ||
        fail "--name has to be 1 to 48 letters, digits, - and _"
    [[ ! $REGION || $REGION =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] ||
        fail "\"$REGION\" is no region"
    [[ ! $ENDPOINT_URL || $ENDPOINT_URL =~ ^https?:// ]] ||
        fail "--endpoint-url has to be a URL"

    if [[ ! $DRY_RUN ]]; then
        command -v aws > /dev/null ||
            fail "the AWS CLI is missing: apt-get install awscli"
        REGION=${REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}
        [[ $REGION ]] || fail "no region: --region names one"
    fi

    REGION=${REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION:-REGION}}}

    # answers are read here, and by no pager
    export AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off
}


# A folder that nobody else can read, for what must be in no list of arguments.
make_private() {
    umask 077
    PRIVATE=$(mktemp -d "${TMPDIR:-/tmp}/token-lambda.XXXXXX")
}


# try SERVICE COMMAND...: the AWS CLI; its answer is text. 2 if what is asked for
# is not there, 3 if it is there already. A secret is never among its arguments:
# they name a file.
try() {
    local status=0
    local command=(aws --region "$REGION" --output text
                   ${ENDPOINT_URL:+--endpoint-url "$ENDPOINT_URL"} "$@")

    if [[ $DRY_RUN ]]; then
        { printf '%q ' "${command[@]}"; echo; } >&3
        return 0
    fi

    "${command[@]}" 2> "$PRIVATE/error" || status=$?
    (( status )) || return 0

    case $(< "$PRIVATE/error") in
        *"(ResourceNotFoundException)"* | *"(NoSuchEntity)"* | *"(NotFoundException)"*)
            return 2
            ;;
        *"(ResourceConflictException)"*)
            return 3
            ;;
    esac

    return 1
}


# ask SERVICE COMMAND...: the same, and what is wrong is told.
ask() {
    local status=0

    try "$@" || status=$?
    (( status == 0 )) || tell_error
    return "$status"
}


# What the AWS CLI has said, without secrets.
tell_error() {
    local text name

    text=$(< "$PRIVATE/error")

    for name in "${SECRETS[@]}"; do
        [[ ! ${!name-} ]] || text=${text//"${!name}"/***}
    done

    printf '%s\n' "$text" >&2
}

SECRETS=(CONSUMER_KEY CONSUMER_SECRET)


# What a query has found. The CLI writes None for null, and a line for each page
# that it has read.
found() {
    local value status=0

    value=$(try "$@") || status=$?

    if (( status != 0 && status != 2 )); then
        tell_error
        return 1
    fi

    sed '/^None$/d; q' <<< "$value"
}


# The ARN and the tag of what has the name; empty if there is nothing.
find_role() {
    found iam get-role --role-name "$NAME" \
        --query "[Role.Arn, Role.Tags[?Key=='$TAG'].Value | [0]]"
}


find_function() {
    found lambda get-function --function-name "$NAME" \
        --query "[Configuration.FunctionArn, Tags.\"$TAG\"]"
}


# The id of the REST API, by its tag: names are not unique there.
find_api() {
    found apigateway get-rest-apis \
        --query "items[?tags.\"$TAG\"=='$NAME'].id | [0]"
}


# Each removes one thing, and says so. What has gone already is no failure.

remove_api() {
    gone apigateway delete-rest-api --rest-api-id "$1" || return 1
    say "Deleted the REST API $1."
}


remove_function() {
    # its URL goes with it
    gone lambda delete-function --function-name "$NAME" || return 1
    say "Deleted the function $NAME."
}


remove_role() {
    gone iam delete-role-policy --role-name "$NAME" --policy-name "$TAG" &&
        gone iam detach-role-policy --role-name "$NAME" --policy-arn "$(policy_arn "$1")" &&
        gone iam delete-role --role-name "$NAME" || return 1
    say "Deleted the role $NAME."
}


gone() {
    local status=0

    try "$@" > /dev/null || status=$?
    # in a trap, a bare "return" has the status of before
    (( status != 0 && status != 2 )) || return 0

    tell_error
    return 1
}


# The partition of an ARN (aws, aws-cn, aws-us-gov) is that of its neighbours.
partition() {
    cut -d : -f 2 <<< "$1"
}


policy_arn() {
    say "arn:$(partition "$1"):${POLICY#*:*:}"
}
