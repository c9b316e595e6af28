#!/usr/bin/env bash
#
# Creates on AWS what serves tokens from build/lambda/token.zip, or updates it,
# and prints the URL: create.sh --help. delete.sh removes it.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=packaging/lambda/common.sh
. "$here/common.sh"
# shellcheck source=scripts/dotenv.sh
. "$here/../../scripts/dotenv.sh"

ZIP=$here/../../build/lambda/token.zip
API=rest
AUTH=none
MEMORY=128
TIMEOUT=15
ARCHITECTURE=
ROLE=
SECRET_ID=
MORE=()
STAGE=prod

# The scripts' own variables, which hide those of the environment.
OWN=(TAG POLICY NAME REGION ENDPOINT_URL DRY_RUN PRIVATE SECRETS ZIP API AUTH
     MEMORY TIMEOUT ARCHITECTURE ROLE SECRET_ID MORE STAGE OWN NAMES MADE
     FUNCTION URL)


usage() {
    cat << 'END'
usage: create.sh [options]

CONSUMER_KEY, CONSUMER_SECRET and TOKEN_ENDPOINT, and CORS_ORIGIN where pages of
other origins may ask, come from the environment or from .env.

options:
  --name NAME           of all that is made (token)
  --region REGION       the AWS CLI's own, if it is not given
  --api rest|url        a REST API of API Gateway (the default), or a URL of the
                        function alone
  --auth none|iam       who may ask: everybody whom nginx.conf lets in (the
                        default), or those with a signature of IAM
  --memory MB           of the function (128)
  --architecture NAME   x86_64 or arm64; that of the zip, if it is not given
  --role ARN            a role that is there; one is made if it is not given
  --secret-id ID        key and secret are fetched when an instance starts: the
                        name or ARN of a secret of Secrets Manager, ssm:NAME or
                        the ARN of a parameter
  --env NAME            one more variable that nginx.conf needs; can be repeated
  --zip FILE            (build/lambda/token.zip)
  --endpoint-url URL    in the place of AWS, for tests
  --dry-run             print the commands, and do nothing
END
}


read_arguments() {
    while (( $# )); do
        case $1 in
            -h | --help)    usage; exit ;;
            --dry-run)      DRY_RUN=yes; shift; continue ;;
            --*)            (( $# > 1 )) || fail "$1 needs a value" ;;
            *)              fail "there is no argument $1: --help lists all" ;;
        esac

        case $1 in
            --api)          API=$2 ;;
            --auth)         AUTH=$2 ;;
            --memory)       MEMORY=$2 ;;
            --architecture) ARCHITECTURE=$2 ;;
            --role)         ROLE=$2 ;;
            --secret-id)    SECRET_ID=$2 ;;
            --env)          MORE+=("$2") ;;
            --zip)          ZIP=$2 ;;
            *)              common_option "$1" "$2" ||
                                fail "there is no option $1: --help lists all" ;;
        esac
        shift 2
    done
}


check_arguments() {
    local name

    [[ $API == @(rest|url) ]] || fail "--api has to be rest or url"
    [[ $AUTH == @(none|iam) ]] || fail "--auth has to be none or iam"
    [[ $MEMORY =~ ^[1-9][0-9]{2,4}$ ]] || fail "--memory has to be 128 to 10240"
    (( MEMORY >= 128 && MEMORY <= 10240 )) || fail "--memory has to be 128 to 10240"
    [[ ! $ROLE || $ROLE =~ ^arn:[a-z-]+:iam::[0-9]{12}:role/[^[:space:]]+$ ]] ||
        fail "--role has to be the ARN of a role"
    [[ $SECRET_ID != *[\"\\[:cntrl:]]* ]] || fail "--secret-id has a character that no name has"
    check_common

    for name in "${MORE[@]}"; do
        [[ $name =~ ^[A-Z][A-Z0-9_]*$ ]] || fail "--env has to be a name in capitals"
        [[ " ${OWN[*]} " != *" $name "* ]] ||
            fail "--env $name is a name that create.sh uses itself: take another one"
    done

    # a dry run needs no zip
    [[ -f $ZIP || $DRY_RUN ]] || fail "no file $ZIP: ./build.sh lambda makes it"
    [[ $ARCHITECTURE ]] || ARCHITECTURE=$(zip_architecture)
    [[ $ARCHITECTURE == @(x86_64|arm64) ]] || fail "--architecture has to be x86_64 or arm64"
}


# The machine that the bootstrap in it was built for, by its ELF header; without
# unzip, this one.
zip_architecture() {
    local machine

    machine=$(unzip -p "$ZIP" bootstrap 2> /dev/null |
        od -An -j 18 -N 2 -t u1 2> /dev/null) || machine=

    case $machine in
        *62*)   say x86_64 ;;
        *183*)  say arm64 ;;
        *)      uname -m | sed s/aarch64/arm64/ ;;
    esac
}


# Names of the function's environment.
choose_environment() {
    local name

    NAMES=(TOKEN_ENDPOINT CORS_ORIGIN "${MORE[@]}")
    [[ $SECRET_ID ]] || NAMES+=(CONSUMER_KEY CONSUMER_SECRET)
    SECRETS+=("${MORE[@]}")
    [[ ! -f .env ]] || read_env_file .env "${NAMES[@]}"

    for name in "${NAMES[@]}"; do
        [[ ${!name-} || $name == CORS_ORIGIN ]] ||
            fail "$name is not set, in the environment or in .env"
        [[ ${!name-} != *[[:cntrl:]]* ]] ||
            fail "$name has a line break or a control character"
    done
}


# In a file of its own, which nobody else can read.
write_environment() {
    local name separator=''

    {
        printf '{"Variables":{'

        for name in "${NAMES[@]}"; do
            [[ ${!name-} ]] || continue
            printf '%s"%s":%s' "$separator" "$name" "$(json_string "${!name}")"
            separator=,
        done

        [[ ! $SECRET_ID ]] ||
            printf '%s"TOKEN_SECRET_ID":%s' "$separator" "$(json_string "$SECRET_ID")"

        printf '}}\n'
    } > "$PRIVATE/environment.json"
}


json_string() {
    local text=$1

    text=${text//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}


# What this run has made is removed again if it fails.
MADE=()

# shellcheck disable=SC2317  # called by the trap
clean_up() {
    local status=$? i

    set +e
    trap '' INT TERM HUP

    if (( status && ${#MADE[@]} )); then
        say "${0##*/}: what was made is removed again" >&2

        for (( i = ${#MADE[@]} - 1; i >= 0; i-- )); do
            # shellcheck disable=SC2086  # a function and its argument
            remove_${MADE[i]} >&2 ||
                say "${0##*/}: something is left: delete.sh --name $NAME removes it" >&2
        done
    fi

    [[ ! $PRIVATE ]] || rm -rf "$PRIVATE"
    exit "$status"
}


make_role() {
    local answer tag arn

    [[ ! $ROLE ]] || return 0

    answer=$(find_role) || fail "IAM does not answer"
    read -r arn tag <<< "$answer"

    if [[ $arn ]]; then
        [[ $tag == "$NAME" ]] ||
            fail "there is a role $NAME that create.sh has not made: --name or --role names another"
        ROLE=$arn
    else
        say "Creating the role $NAME"
        ROLE=$(ask iam create-role --role-name "$NAME" --tags "Key=$TAG,Value=$NAME" \
            --description "of the function $NAME" --assume-role-policy-document \
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}' \
            --query Role.Arn) || fail "the role was not made"
        ROLE=${ROLE:-arn:aws:iam::ACCOUNT:role/$NAME}
        MADE+=("role $ROLE")
        ask iam attach-role-policy --role-name "$NAME" --policy-arn "$(policy_arn "$ROLE")" ||
            fail "the role cannot write logs"
    fi

    if [[ $SECRET_ID ]]; then
        ask iam put-role-policy --role-name "$NAME" --policy-name "$TAG" \
            --policy-document "$(secret_policy)" || fail "the role cannot read the secret"
    elif (( ! ${#MADE[@]} )); then
        gone iam delete-role-policy --role-name "$NAME" --policy-name "$TAG" ||
            fail "the role still may read a secret"
    fi
}


# To read that one secret, and nothing else.
secret_policy() {
    local part account action=secretsmanager:GetSecretValue resource=$SECRET_ID

    part=$(partition "$ROLE")
    account=$(cut -d : -f 5 <<< "$ROLE")

    case $SECRET_ID in
        arn:*:ssm:*)    action=ssm:GetParameter ;;
        arn:*)          ;;
        ssm:*)          action=ssm:GetParameter
                        resource=${SECRET_ID#ssm:}
                        resource=arn:$part:ssm:$REGION:$account:parameter/${resource#/} ;;
        # Secrets Manager adds six characters to a name
        *)              resource=arn:$part:secretsmanager:$REGION:$account:"secret:$SECRET_ID-??????" ;;
    esac

    printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"%s","Resource":"%s"}]}' \
        "$action" "$resource"
}


make_function() {
    local answer tag settings

    settings=(--role "$ROLE" --memory-size "$MEMORY" --timeout "$TIMEOUT"
              --environment "file://$PRIVATE/environment.json")
    answer=$(find_function) || fail "Lambda does not answer"
    read -r FUNCTION tag <<< "$answer"

    if [[ ! $FUNCTION ]]; then
        say "Creating the function $NAME"
        create_function
        FUNCTION=${FUNCTION:-arn:aws:lambda:$REGION:ACCOUNT:function:$NAME}
        return
    fi

    [[ $tag == "$NAME" ]] ||
        fail "there is a function $NAME that create.sh has not made: --name names another"

    say "Updating the function $NAME"
    ask lambda update-function-code --function-name "$NAME" --zip-file "fileb://$ZIP" \
        --architectures "$ARCHITECTURE" > /dev/null || fail "the function was not updated"
    ask lambda wait function-updated-v2 --function-name "$NAME" ||
        fail "the function was not updated"

    # the answer has the environment in it
    ask lambda update-function-configuration --function-name "$NAME" "${settings[@]}" \
        > /dev/null || fail "the function was not updated"
    ask lambda wait function-updated-v2 --function-name "$NAME" ||
        fail "the function was not updated"
}


# A role that is new is not known everywhere for some seconds.
create_function() {
    local try

    for try in {1..15}; do
        if FUNCTION=$(try lambda create-function --function-name "$NAME" \
            --runtime provided.al2023 --handler bootstrap --architectures "$ARCHITECTURE" \
            --zip-file "fileb://$ZIP" --tags "$TAG=$NAME" "${settings[@]}" \
            --query FunctionArn)
        then
            MADE+=("function")
            ask lambda wait function-active-v2 --function-name "$NAME" ||
                fail "the function does not become active"
            return
        fi

        grep -q 'cannot be assumed by Lambda' "$PRIVATE/error" || break
        (( try == 15 )) || sleep "${ROLE_WAIT:-2}"
    done

    tell_error
    fail "the function was not made"
}


# /token, with every method, and nothing else.
make_rest_api() {
    local answer api root resource type wanted part account

    api=$(find_api) || fail "API Gateway does not answer"
    part=$(partition "$FUNCTION")
    account=$(cut -d : -f 5 <<< "$FUNCTION")
    wanted=NONE
    [[ $AUTH == none ]] || wanted=AWS_IAM

    if [[ ! $api ]]; then
        say "Creating the REST API $NAME"
        api=$(ask apigateway create-rest-api --name "$NAME" --tags "$TAG=$NAME" \
            --endpoint-configuration types=REGIONAL --query id) || fail "the REST API was not made"
        api=${api:-API_ID}
        MADE+=("api $api")
    fi

    answer=$(found apigateway get-resources --rest-api-id "$api" --embed methods --query \
        "[items[?path=='/'].id | [0], items[?path=='/token'].id | [0], items[?path=='/token'].resourceMethods.ANY.authorizationType | [0]]") ||
        fail "API Gateway does not answer"
    read -r root resource type <<< "${answer:-ROOT_ID None None}"

    if [[ $resource == None ]]; then
        resource=$(ask apigateway create-resource --rest-api-id "$api" --parent-id "$root" \
            --path-part token --query id) || fail "the resource /token was not made"
        resource=${resource:-RESOURCE_ID}
    fi

    if [[ $type != @(None|"$wanted") ]]; then
        ask apigateway delete-method --rest-api-id "$api" --resource-id "$resource" \
            --http-method ANY || fail "the method of /token was not changed"
        type=None
    fi

    if [[ $type == None ]]; then
        ask apigateway put-method --rest-api-id "$api" --resource-id "$resource" \
            --http-method ANY --authorization-type "$wanted" > /dev/null ||
            fail "the method of /token was not made"
    fi

    ask apigateway put-integration --rest-api-id "$api" --resource-id "$resource" \
        --http-method ANY --type AWS_PROXY --integration-http-method POST \
        --uri "arn:$part:apigateway:$REGION:lambda:path/2015-03-31/functions/$FUNCTION/invocations" \
        > /dev/null || fail "the integration of /token was not made"

    allow "token-proxy-$api" --action lambda:InvokeFunction --principal apigateway.amazonaws.com \
        --source-arn "arn:$part:execute-api:$REGION:$account:$api/*/*/token"

    ask apigateway create-deployment --rest-api-id "$api" --stage-name "$STAGE" > /dev/null ||
        fail "the REST API was not deployed"

    URL=https://$api.execute-api.$REGION.$(domain "$part")/$STAGE/token
}


make_url() {
    local answer type=NONE is

    [[ $AUTH == none ]] || type=AWS_IAM
    answer=$(found lambda get-function-url-config --function-name "$NAME" \
        --query '[FunctionUrl, AuthType]') || fail "Lambda does not answer"
    read -r URL is <<< "$answer"

    if [[ ! $URL ]]; then
        say "Creating the URL of the function $NAME"
        URL=$(ask lambda create-function-url-config --function-name "$NAME" --auth-type "$type" \
            --query FunctionUrl) || fail "the URL was not made"
        URL=${URL:-https://URL_ID.lambda-url.$REGION.on.aws/}
    elif [[ $is != "$type" ]]; then
        ask lambda update-function-url-config --function-name "$NAME" --auth-type "$type" \
            > /dev/null || fail "the URL was not changed"
    fi

    # for everybody: the URL needs both; without a signature nothing else may
    # invoke the function
    if [[ $AUTH == none ]]; then
        allow token-proxy-url --action lambda:InvokeFunctionUrl --principal '*' \
            --function-url-auth-type NONE
        allow_by_url
    else
        forbid token-proxy-url
        forbid token-proxy-invoke
    fi

    URL=${URL%/}/token
}


# AWS asks for it since October 2025; an AWS CLI of before does not know it.
allow_by_url() {
    if [[ ! $DRY_RUN ]] &&
        ! aws lambda add-permission --generate-cli-skeleton input 2> /dev/null |
            grep -q InvokedViaFunctionUrl
    then
        say "This AWS CLI cannot give lambda:InvokeFunction for the URL alone. If the URL" \
            "answers 403, run create.sh again with a newer one." >&2
        return
    fi

    allow token-proxy-invoke --action lambda:InvokeFunction --principal '*' \
        --invoked-via-function-url
}


# A permission that is there is as it should be: its name says what it is for.
allow() {
    local status=0 id=$1
    shift

    try lambda add-permission --function-name "$NAME" --statement-id "$id" "$@" \
        > /dev/null || status=$?
    (( status == 0 || status == 3 )) && return

    tell_error
    fail "the permission was not given"
}


forbid() {
    gone lambda remove-permission --function-name "$NAME" --statement-id "$1" ||
        fail "a permission was not taken back"
}


domain() {
    if [[ $1 == aws-cn ]]; then say amazonaws.com.cn; else say amazonaws.com; fi
}


# One kind at a time: what is reachable is what the last line says.
check_kind() {
    local other

    [[ ! $DRY_RUN ]] || return 0

    if [[ $API == rest ]]; then
        other=$(found lambda get-function-url-config --function-name "$NAME" \
            --query FunctionUrl) || fail "Lambda does not answer"
    else
        other=$(find_api) || fail "API Gateway does not answer"
    fi

    [[ ! $other ]] ||
        fail "$NAME is there with another --api ($other): delete.sh --name $NAME removes it"
}


exec 3>&1
read_arguments "$@"
check_arguments
choose_environment

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
make_private
write_environment

check_kind
make_role
make_function

if [[ $API == rest ]]; then
    make_rest_api
else
    make_url
fi

say "$URL"
