#!/bin/bash
#
# The image's entrypoint: writes nginx's configuration from the environment, and
# becomes nginx. A configuration of one's own, /etc/nginx/token/nginx.conf, is
# used as it is. With arguments it becomes the command that they are.
#
# A value gets into the configuration only if each of its characters may stand
# in such a value: none can end its directive, begin another, or name a
# variable. The client's id and secret do not get there at all.

set -euo pipefail
export LC_ALL=C
umask 077

own=/etc/nginx/token/nginx.conf
template=/etc/nginx/token.conf.template
secrets=/run/secrets
dir=/tmp/token
options=


fail() {
    printf 'entrypoint: %s\n' "$*" >&2
    exit 1
}


# check NAME PATTERN WHAT: the variable's value, all of it, is such a thing. It
# is not shown, since it may be a secret that stands in the wrong place.
check() {
    [[ ${!1} =~ ^($2)$ ]] || fail "$1 is not $3"
}


check_port() {
    check "$1" '[1-9][0-9]{0,4}' 'a port'
    (( ${!1} < 65536 )) || fail "$1 is not a port"
}


# quote TEXT: as a string of nginx's configuration.
quote() {
    local text=${1//\\/\\\\}

    printf '"%s"' "${text//\"/\\\"}"
}


# value NAME: what the directive is to take the client's id or secret from.
value() {
    local file=$secrets/${1,,}

    if [[ -e $file ]]; then
        [[ -r $file ]] ||
            fail "user $(id -u) may not read $file: mount it for this user" \
                 "(podman: --secret ${1,,},uid=$(id -u),mode=0400)"
        printf 'file:%s' "$file"

    elif [[ ${!1-} ]]; then
        printf 'env:%s' "$1"

    else
        fail "there is neither a file $file nor a variable $1"
    fi
}


listen() {
    printf 'listen  %s;' "$1"

    # without IPv6, the address cannot be listened on
    if grep -q . /proc/net/if_inet6 2> /dev/null; then
        printf ' listen  [::]:%s;' "$1"
    fi
}


read_environment() {
    : "${TOKEN_ENDPOINT:=}" "${CORS_ORIGIN:=off}" "${TOKEN_SCOPE:=}"
    : "${TOKEN_AUTH_METHOD:=client_secret_basic}" "${TOKEN_CA_FILE:=}"
    : "${RESOLVER:=}" "${PORT:=8080}" "${STATUS_PORT:=8081}"
    : "${WORKER_PROCESSES:=1}"

    [[ $TOKEN_ENDPOINT ]] ||
        fail "TOKEN_ENDPOINT is not set: the URL of the token endpoint"
    check TOKEN_ENDPOINT 'https?://[][A-Za-z0-9._~:/?&=%+,!*()-]+' \
        'an http or https URL'
    check WORKER_PROCESSES 'auto|[1-9][0-9]{0,2}' 'a number of workers, or auto'
    check_port PORT
    check_port STATUS_PORT
    [[ $PORT != "$STATUS_PORT" ]] || fail 'PORT and STATUS_PORT are the same'

    check TOKEN_AUTH_METHOD \
        'client_secret_basic( encoding=(raw|form))?|client_secret_post' \
        'client_secret_basic or client_secret_post'
    options+="token_proxy_auth_method  $TOKEN_AUTH_METHOD;"

    read_origins

    if [[ $TOKEN_SCOPE ]]; then
        check TOKEN_SCOPE '[!-~ ]+' 'a scope of printable characters'
        options+=" token_proxy_param  scope $(quote "literal:$TOKEN_SCOPE");"
    fi

    if [[ $TOKEN_CA_FILE ]]; then
        check TOKEN_CA_FILE '/[A-Za-z0-9._/-]+' \
            'an absolute path of letters, digits, ".", "_" and "-"'
        options+=" token_proxy_ssl_trusted_certificate  $TOKEN_CA_FILE;"
    fi

    if [[ $RESOLVER ]]; then
        check RESOLVER '[][0-9A-Fa-f.: ]+' 'a list of addresses'
        options+=" resolver  $RESOLVER;"
    fi
}


read_origins() {
    local origin origins=()

    check CORS_ORIGIN '[!-~ ]*[!-~][!-~ ]*' 'a list of origins'
    read -ra origins <<< "$CORS_ORIGIN"
    options+=' token_proxy_cors_origin '

    for origin in "${origins[@]}"; do
        [[ $origin =~ ^(off|\*|null|~.+|[A-Za-z][A-Za-z0-9+.-]*://[][A-Za-z0-9.:-]+)$ ]] ||
            fail 'CORS_ORIGIN is not a list of origins with spaces between them'
        options+=" $(quote "$origin")"
    done

    options+=';'
}


write_configuration() {
    local conf key secret

    [[ -r $template ]] || fail "there is no $template"

    key=$(value CONSUMER_KEY)
    secret=$(value CONSUMER_SECRET)

    conf=$(< "$template")
    conf=${conf//@DIR@/"$dir"}
    conf=${conf//@WORKER_PROCESSES@/"$WORKER_PROCESSES"}
    conf=${conf//@LISTEN@/"$(listen "$PORT")"}
    conf=${conf//@STATUS_LISTEN@/"$(listen "$STATUS_PORT")"}
    conf=${conf//@CONSUMER_KEY@/"$key"}
    conf=${conf//@CONSUMER_SECRET@/"$secret"}
    conf=${conf//@TOKEN_ENDPOINT@/"$TOKEN_ENDPOINT"}
    conf=${conf//@OPTIONS@/"$options"}

    printf '%s\n' "$conf" > "$dir/nginx.conf"
}


(( $# == 0 )) || exec "$@"

mkdir -p "$dir" 2> /dev/null && [[ -w $dir ]] ||
    fail "$dir cannot be written: mount a tmpfs at /tmp"

if [[ -e $own ]]; then
    conf=$own
else
    read_environment
    write_configuration
    conf=$dir/nginx.conf
fi

exec nginx -e stderr -c "$conf" -g 'daemon off;'
