# Sourced by build.sh: the tests with the nginx of another suite of Debian, in
# a folder of its own that is kept between runs.
# shellcheck shell=bash

# What is installed in it. Pages are not tested there, so there is no browser.
SUITE_PACKAGES=(nginx nginx-dev gcc make libssl-dev libpcre2-dev zlib1g-dev
                "${PERL_PACKAGES[@]}" nodejs psmisc procps ca-certificates
                socat tinyproxy-bin valkey-tools libfaketime)

# What only some suites have: the AWS CLI, and a stand-in for AWS with what its
# server needs.
declare -A SUITE_MORE=(
    [trixie]="awscli python3-moto python3-flask-cors python3-openapi-spec-validator python3-yaml"
)

# Where not all tests are run: what most depends on the version of nginx, and of
# the store, which is Valkey there.
SHORT_TESTS=(compiles answer methods request errors client_abort credentials
             tls http2 cache cache_workers cache_reload cors_preflight
             cors_responses basic_auth bearer bearer_upstream bearer_retry
             bearer_errors bearer_subrequest directives unused callers
             lambda_scripts store store_auth store_down store_keys store_odd
             store_sentinel store_workers)

# These wait for time, or for a server that others wrote, and not for nginx: the
# suite's nginx makes no difference to them.
WAITING_TESTS=(bearer_before cache_frozen cache_warm credentials_rotate
               e2e_client_assertion e2e_django_oauth e2e_glewlwyd
               e2e_oauth2_server fleet kubernetes providers run store_load
               store_slow)


# suite_tests NAME [ARG...]
suite_tests() {
    local name=$1 dir=$BUILD/suites/$1 arg files=()
    shift

    [[ $name =~ ^[a-z]+$ ]] || fail "\"$name\" is no name of a suite"
    (( EUID == 0 )) || fail "--suite needs root, for debootstrap and chroot"
    apart true 2> /dev/null ||
        fail "--suite needs a machine, or a container, where root may mount (\"unshare --mount-proc --pid --fork true\" fails)"

    need_packages "${NODE_PACKAGES[@]}"
    npm_ci "$ROOT/t" || say "npm has not installed them: tests that need them are skipped."
    need_suite "$name"

    # not every suite has it
    [[ -d $BUILD/testlib ]] || fetch_test_nginx forky || fetch_test_nginx sid ||
        fail "no Test::Nginx: see $BUILD/apt.log"

    for arg; do
        [[ ! -e $ROOT/$arg ]] || files+=("$arg")
    done

    if (( ${#files[@]} == 0 )); then
        mapfile -t files < <(cd "$ROOT" && suite_files "$name")
        set -- "$@" "${files[@]}"
    fi

    # a copy, so that nothing of this machine's is built or changed in there
    mkdir -p "$dir/src"
    find "$dir/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
    tar -C "$ROOT" --exclude=./build --exclude=./.git -cf - . | tar -C "$dir/src" -xf -
    mkdir -p "$dir/src/build"
    cp -r "$BUILD/testlib" "$dir/src/build/"

    # shellcheck disable=SC2016  # the other shell's
    in_suite "$dir" '
        cd /src
        . /etc/os-release
        echo "$PRETTY_NAME, $(nginx -v 2>&1), $(gcc --version | head -n 1)"
        ./build.sh build
        export TEST_NGINX_BINARY=/usr/sbin/nginx TEST_NGINX_WORK=/src/build/tests
        export TEST_NGINX_LOAD_MODULES=/src/build/ngx_http_token_module.so
        exec scripts/prove.sh "$@"
    ' "$@"
}


suite_files() {
    local file

    for file in t/*.t; do
        [[ $file != *browser* ]] || continue
        [[ " ${WAITING_TESTS[*]} " != *" $(basename "$file" .t) "* ]] || continue
        [[ $1 == forky || " ${SHORT_TESTS[*]} " == *" $(basename "$file" .t) "* ]] || continue
        echo "$file"
    done
}


need_suite() {
    local name=$1 dir=$BUILD/suites/$1 mirror stamp=$BUILD/suites/$1.packages packages

    read -ra packages <<< "${SUITE_PACKAGES[*]} ${SUITE_MORE[$name]-}"
    [[ "${packages[*]}" == "$(cat "$stamp" 2> /dev/null)" ]] && return

    need_packages debootstrap
    mirror=$(debian_mirror)
    [[ $mirror ]] || fail "this machine's sources name no mirror of Debian"

    if [[ ! -e $BUILD/suites/$name.made ]]; then
        say "Making a folder of Debian's suite $name"
        remove "$dir" "$stamp"
        mkdir -p "$dir"

        # shellcheck disable=SC2016  # the other shell's
        apart 'timeout --foreground 15m debootstrap --variant=minbase "$@" \
                   /usr/share/debootstrap/scripts/sid' \
            "$name" "$dir" "$mirror" > "$BUILD/suites/$name.log" 2>&1 ||
            suite_failed "debootstrap failed"
        touch "$BUILD/suites/$name.made"
    fi

    say "Installing packages in it"
    cp /etc/resolv.conf /etc/hosts "$dir/etc/"
    printf '#!/bin/sh\nexit 101\n' > "$dir/usr/sbin/policy-rc.d"
    chmod +x "$dir/usr/sbin/policy-rc.d"

    # how this machine gets packages is how they are got in there
    { apt-config dump | grep -E '^Acquire::(Check-Valid-Until|https?::Proxy)' || true; } \
        > "$dir/etc/apt/apt.conf.d/90machine"

    # the lists that debootstrap has fetched will do, unless they are old by now
    in_suite "$dir" '
        export DEBIAN_FRONTEND=noninteractive
        install=(timeout --foreground 15m apt-get install -y --no-install-recommends "$@")
        "${install[@]}" < /dev/null || { apt-get update; "${install[@]}" < /dev/null; }
    ' "${packages[@]}" >> "$BUILD/suites/$name.log" 2>&1 ||
        suite_failed "apt-get failed in it"

    echo "${packages[*]}" > "$stamp"
}


suite_failed() {
    tail -n 5 "$BUILD/suites/$name.log" >&2
    fail "$1: see $BUILD/suites/$name.log"
}


# in_suite DIR SCRIPT [ARG...]: runs a script of the other suite's bash in its
# folder.
in_suite() {
    # shellcheck disable=SC2016  # the other shell's
    apart '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
            HOME=/root CI="${CI-}" bash -euo pipefail -c "${@:2}"
    ' "$1" "$2" - "${@:3}"
}


# apart SCRIPT [ARG...]: runs a script with mounts and processes of its own.
# Whatever ends it, nothing stays mounted and nothing that it started stays.
apart() {
    unshare --mount-proc --pid --fork --kill-child \
        bash -euc "trap 'exit 130' INT; trap 'exit 143' TERM; $1" - "${@:2}"
}
