# Sourced by build.sh: the tests with the nginx of another suite of Debian, in
# a folder of its own that is kept between runs.
# shellcheck shell=bash

# What is installed in it. Pages are not tested there, so there is no browser.
SUITE_PACKAGES=(nginx nginx-dev gcc make libcjson-dev libssl-dev libpcre2-dev
                zlib1g-dev libtest-nginx-perl perl libwww-perl libipc-run-perl
                liburi-perl curl openssl nodejs psmisc procps ca-certificates)

# Where not all tests are run: what most depends on nginx's version.
SHORT_TESTS=(compiles answer methods request errors client_abort credentials
             tls http2 cache cache_workers cache_reload cors_preflight
             cors_responses basic_auth unused)


# suite_tests NAME [ARG...]
suite_tests() {
    local name=$1 dir=$BUILD/suites/$1 arg files=() status=0
    shift

    [[ $name =~ ^[a-z]+$ ]] || fail "\"$name\" is no name of a suite"
    (( EUID == 0 )) || fail "--suite needs root, for debootstrap and chroot"

    need_suite "$name"
    npm_ci "$ROOT/t"

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

    mount_suite "$dir"
    trap "unmount_suite '$dir'" EXIT

    # shellcheck disable=SC2016  # the other shell's
    chroot "$dir" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
        CI="${CI-}" bash -c '
            set -euo pipefail
            cd /src
            nginx -v
            ./build.sh build
            export TEST_NGINX_BINARY=/usr/sbin/nginx TEST_NGINX_WORK=/src/build/tests
            export TEST_NGINX_LOAD_MODULES=/src/build/ngx_http_token_module.so
            exec prove "$@"
        ' - "$@" || status=$?

    return "$status"
}


suite_files() {
    local file

    for file in t/*.t; do
        [[ $file != *browser* ]] || continue
        [[ $1 == forky || " ${SHORT_TESTS[*]} " == *" $(basename "$file" .t) "* ]] || continue
        echo "$file"
    done
}


need_suite() {
    local name=$1 dir=$BUILD/suites/$1 mirror stamp=$BUILD/suites/$1.packages

    [[ "${SUITE_PACKAGES[*]}" == "$(cat "$stamp" 2> /dev/null)" ]] && return

    need_packages debootstrap
    mirror=$(debian_mirror)
    [[ $mirror ]] || fail "this machine's sources name no mirror of Debian"

    if [[ ! -x $dir/usr/bin/apt-get ]]; then
        say "Making a folder of Debian's suite $name"
        rm -rf "$dir"
        mkdir -p "$dir"
        debootstrap --variant=minbase "$name" "$dir" "$mirror" \
            /usr/share/debootstrap/scripts/sid > "$BUILD/suites/$name.log" 2>&1 ||
            { tail -n 5 "$BUILD/suites/$name.log" >&2; fail "debootstrap failed"; }
    fi

    say "Installing packages in it"
    cp /etc/resolv.conf /etc/hosts "$dir/etc/"
    printf '#!/bin/sh\nexit 101\n' > "$dir/usr/sbin/policy-rc.d"
    chmod +x "$dir/usr/sbin/policy-rc.d"

    mount_suite "$dir"
    chroot "$dir" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${SUITE_PACKAGES[@]}" \
        < /dev/null >> "$BUILD/suites/$name.log" 2>&1 ||
        { tail -n 5 "$BUILD/suites/$name.log" >&2; unmount_suite "$dir"; fail "apt-get failed in it"; }
    unmount_suite "$dir"

    echo "${SUITE_PACKAGES[*]}" > "$stamp"
}


mount_suite() {
    mountpoint -q "$1/proc" || mount -t proc proc "$1/proc"
    mountpoint -q "$1/dev" || mount --rbind /dev "$1/dev"
}


unmount_suite() {
    ! mountpoint -q "$1/dev" || umount -l "$1/dev"
    ! mountpoint -q "$1/proc" || umount "$1/proc"
}
