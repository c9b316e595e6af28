# Sourced by build.sh: what is needed from elsewhere, and how it gets here.
# shellcheck shell=bash

# What the tests need, besides Test::Nginx itself, with any nginx.
PERL_PACKAGES=(perl libtest-base-perl libtext-diff-perl libtest-longstring-perl
               liblist-moreutils-perl libwww-perl libipc-run-perl liburi-perl
               libio-socket-ssl-perl curl openssl)
TEST_PACKAGES=("${PERL_PACKAGES[@]}" prometheus
               # clients that t/clients.t asks
               python3-requests python3-aiohttp wrk nghttp2-client
               # a sandbox, and what is in a zip
               bubblewrap unzip
               # an HTTP proxy, without its service, and a tunnel through it
               socat tinyproxy-bin
               # Redis and its sentinel, without their services; other clocks
               redis-tools libfaketime)


# Packages that may be had in other ways, and so are asked for only where
# their commands are missing.
choose_packages() {
    BUILD_PACKAGES=(make libssl-dev libpcre2-dev zlib1g-dev)
    [[ $NGINX_SOURCE ]] || BUILD_PACKAGES+=(nginx nginx-dev)

    case ${CC%% *} in
        *clang*)    BUILD_PACKAGES+=(clang) ;;
        *gcc*)      BUILD_PACKAGES+=(gcc) ;;
    esac

    NODE_PACKAGES=()
    if ! node -e 'process.exit(parseInt(process.versions.node) < 18)' 2> /dev/null; then
        NODE_PACKAGES+=(nodejs)
    fi
    command -v npm > /dev/null || NODE_PACKAGES+=(npm)
    command -v chromium > /dev/null || TEST_PACKAGES+=(chromium)
}


is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null) == installed ]]
}


# need_packages NAME...: installs those that are missing, or says how. Where
# there is no dpkg, the compiler or nginx's configure tells what is missing.
need_packages() {
    local name missing=() as_root=()

    command -v dpkg-query > /dev/null || return 0

    for name; do
        is_installed "$name" || missing+=("$name")
    done

    (( ${#missing[@]} )) || return 0

    if (( EUID != 0 )); then
        if ! sudo -n true 2> /dev/null; then
            say "apt-get install -y --no-install-recommends ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo -n)
    fi

    say "Installing Debian packages: ${missing[*]}"
    mkdir -p "$BUILD"

    # Where the lists of packages are missing or old, the first try fails.
    if ! apt_install "${missing[@]}" > "$BUILD/apt.log" 2>&1; then
        if ! { "${as_root[@]}" apt-get update && apt_install "${missing[@]}"; } \
            > "$BUILD/apt.log" 2>&1
        then
            tail -n 20 "$BUILD/apt.log" >&2
            fail "apt-get could not install ${missing[*]}"
        fi
    fi
}


apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" < /dev/null
}


# glewlwyd, an authorization server, into build/glewlwyd, and the libraries that
# it needs. As an installed package it would be a service of the machine, whose
# administrator has a password that everyone knows. Not every suite has it.
fetch_glewlwyd() {
    local dir=$BUILD/glewlwyd libraries

    if [[ ! -x $dir/usr/bin/glewlwyd ]]; then
        command -v dpkg-deb > /dev/null &&
            apt-cache show glewlwyd > /dev/null 2>&1 || return 1

        say "Fetching glewlwyd from Debian"
        rm -rf "$dir"
        mkdir -p "$dir"

        (
            cd "$dir"
            apt-get -o APT::Sandbox::User= download glewlwyd &&
            mv glewlwyd_*.deb glewlwyd.deb &&
            dpkg-deb -x glewlwyd.deb .
        ) > "$BUILD/apt.log" 2>&1 || { tail -n 5 "$BUILD/apt.log" >&2; return 1; }
    fi

    mapfile -t libraries < <(dpkg-deb -f "$dir/glewlwyd.deb" Depends | tr , '\n' |
        sed -nE 's/^ *(z?lib[^ ]+).*/\1/p')
    need_packages sqlite3 "${libraries[@]}"
}


# A library, of those suites that have it.
need_django_oauth() {
    local name=python3-django-oauth-toolkit

    if apt-cache show "$name" > /dev/null 2>&1; then
        need_packages "$name"
    else
        say "There is no $name: tests that need it are skipped."
    fi
}


# npm_ci DIR: the packages of DIR's package-lock.json, when it has changed.
# Where npm cannot be reached, there are none.
npm_ci() {
    local lock=$1/package-lock.json stamp=$1/node_modules/.installed-lock

    ! cmp -s "$lock" "$stamp" || return 0

    say "Installing npm packages in ${1#"$ROOT/"}"

    if npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund \
        --prefer-offline --fetch-retries=1 --fetch-timeout=60000 --loglevel=error
    then
        cp "$lock" "$stamp"
    else
        rm -rf "$1/node_modules"
        return 1
    fi
}


# Test::Nginx, in order: as installed; from this machine's suite; from a newer
# suite of Debian, into build/testlib; from CPAN, into build/testlib.
need_test_nginx() {
    local testlib=$BUILD/testlib

    export PERL5LIB=$testlib/usr/share/perl5:$testlib/lib/perl5${PERL5LIB:+:$PERL5LIB}

    has_test_nginx && return

    if command -v dpkg-query > /dev/null &&
        apt-cache show libtest-nginx-perl > /dev/null 2>&1
    then
        need_packages libtest-nginx-perl
        return
    fi

    for suite in forky sid; do
        fetch_test_nginx "$suite" && has_test_nginx && return
    done

    say "Installing Test::Nginx from CPAN"
    cpanm --quiet --notest --local-lib-contained "$testlib" Test::Nginx ||
        fail "Test::Nginx is missing: cpanm Test::Nginx installs it"
}


has_test_nginx() {
    perl -e 'use Test::Nginx::Util; print $Test::Nginx::Util::VERSION' > /dev/null 2>&1
}


# A single package of another suite of Debian, without a change of the
# machine: apt works with a configuration, lists and a cache under build/.
fetch_test_nginx() {
    local suite=$1 apt=$BUILD/apt mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
    local options

    mirror=$(debian_mirror)
    [[ $mirror && -f $keys ]] || return 1

    say "Fetching libtest-nginx-perl from Debian's suite $suite"
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    say "deb [signed-by=$keys] $mirror $suite main" > "$apt/sources.list"

    options=(-o "Dir::Etc::sourcelist=$apt/sources.list"
             -o "Dir::Etc::sourceparts=/dev/null"
             -o "Dir::State::Lists=$apt/lists"
             -o "Dir::Cache=$apt/cache"
             -o "APT::Sandbox::User="
             -o "Acquire::Languages=none")

    (
        cd "$apt"
        apt-get "${options[@]}" update &&
        apt-get "${options[@]}" download libtest-nginx-perl &&
        dpkg-deb -x libtest-nginx-perl_*_all.deb "$BUILD/testlib"
    ) > "$BUILD/apt.log" 2>&1 || { tail -n 5 "$BUILD/apt.log" >&2; return 1; }

    rm -rf "$apt"
}


# The mirror of this machine's own suite, however its sources are written.
debian_mirror() {
    local codename

    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && [[ $ID == debian ]] && echo "$VERSION_CODENAME")

    # shellcheck disable=SC2016  # apt's variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 2> /dev/null |
        awk -v suite="$codename" '
            $3 == "main" && ($2 == suite || $2 ~ /^(old)*stable$/) { print $1; exit }'
}
