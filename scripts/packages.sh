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
    local name missing=()

    command -v dpkg-query > /dev/null || return 0

    for name; do
        is_installed "$name" || missing+=("$name")
    done

    (( ${#missing[@]} )) || return 0

    AS_ROOT=()
    if (( EUID != 0 )); then
        if ! sudo -n true 2> /dev/null; then
            say "apt-get install -y --no-install-recommends ${missing[*]}" >&2
            [[ " ${missing[*]} " != *' nginx '* ]] ||
                say "# This starts an nginx on port 80: systemctl disable --now nginx ends it." >&2
            exit 1
        fi
        AS_ROOT=(sudo -n)
    fi

    mkdir -p "$BUILD"

    # Where the lists of packages are missing or old, the first try fails.
    if ! apt_install "${missing[@]}"; then
        say "Fetching Debian's lists of packages"
        if ! "${AS_ROOT[@]}" apt-get update > "$BUILD/apt.log" 2>&1 ||
            ! apt_install "${missing[@]}"
        then
            tail -n 20 "$BUILD/apt.log" >&2
            fail "apt-get could not install ${missing[*]}"
        fi
    fi
}


# Says what will be installed, and then installs it, without starting anything.
apt_install() {
    announce "$@" || return

    (
        trap allow_services EXIT
        forbid_services "$@" || exit

        "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "$@" \
            > "$BUILD/apt.log" 2>&1 < /dev/null
    ) || return

    if [[ " $* " == *' nginx '* && -d /run/systemd/system ]]; then
        say "nginx starts with the machine from now on, on port 80:" \
            "\"systemctl disable nginx\" ends that."
    fi
}


# apt-get ends with 1 when it only tells. There is no count if it cannot.
announce() {
    local plan count sizes

    plan=$(LC_ALL=C apt-get install --assume-no -o Debug::NoLocking=1 \
               --no-install-recommends "$@" 2>&1 < /dev/null || true)
    count=$(sed -nE 's/.*, ([0-9]+) newly installed.*/\1/p' <<< "$plan")
    sizes=$(sed -nE 's/^Need to get ([^/]*B)(\/.*)? of archives\.$/\1 to fetch/p
                     s/^After this operation, (.*B) of additional.*/\1 on the disk/p' <<< "$plan")

    if [[ ! $count ]]; then
        say "$plan" > "$BUILD/apt.log"
        return 1
    fi

    say "Installing Debian packages: $*"
    say "With what they need: $count packages${sizes:+, ${sizes//$'\n'/, }}."
}


# Debian's packages start their services when they are installed, and nginx
# would take port 80. This file forbids it, and is there for that time only.
POLICY=/usr/sbin/policy-rc.d

forbid_services() {
    local status=0

    OWN_POLICY=yes

    if [[ -e $POLICY ]] && ! grep -qs "$MODULE" "$POLICY"; then
        OWN_POLICY=
        [[ ! -x $POLICY ]] || "$POLICY" nginx start > /dev/null 2>&1 || status=$?
        [[ $status == 101 || " $* " != *' nginx '* ]] ||
            say "$POLICY lets services start: so nginx does, on port 80."
        return 0
    fi

    "${AS_ROOT[@]}" sh -c 'printf "#!/bin/sh\n# build.sh of %s; may be deleted\nexit 101\n" "$2" > "$1" &&
        chmod 755 "$1"' - "$POLICY" "$MODULE"
}


# shellcheck disable=SC2317  # called by the trap
allow_services() {
    [[ ! ${OWN_POLICY-} ]] || "${AS_ROOT[@]}" rm -f "$POLICY"
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
