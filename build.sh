#!/usr/bin/env bash
#
# Builds, runs, tests and installs ngx_http_token_module: ./build.sh help

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILD=$(realpath -m -- "${BUILD_DIR:-$ROOT/build}")
MODULE=ngx_http_token_module
MARKER=.made-by-$MODULE
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin


usage() {
    cat << 'END'
usage: ./build.sh [options] [command] [arguments]

commands:
  build            build build/ngx_http_token_module.so for the installed nginx
                   (the default)
  run              build, then serve the demo. Variables, also from .env:
                   PORT (8080); CORS_ORIGIN, an origin whose pages may fetch
                   tokens too; CONSUMER_KEY, CONSUMER_SECRET, TOKEN_ENDPOINT.
                   VOXEET=1 also installs npm, for the Voxeet Web SDK
  test [ARG...]    build, then run the tests; ARGs are prove's: t/basic.t, -v
    --sanitize     ... with an nginx and a module that have AddressSanitizer,
                   LeakSanitizer and UndefinedBehaviorSanitizer
    --valgrind     ... of a named set, under valgrind's memcheck
    --suite NAME   ... with the nginx of another suite of Debian (trixie,
                   forky), in a folder below build/
    --coverage     ... and print which lines and branches were run
  fuzz [SECONDS [NAME...]]
                   run the fuzzers of t/fuzz, 20 seconds each
  fuzz callers [SECONDS [SEED]]
                   ask an nginx with sanitizers in random ways, 120 seconds;
                   what is wrong names a seed, which plays it again
  deb              build a Debian package, libnginx-mod-http-token, for the
                   installed nginx: it is in build/deb/
  image            build a container image from Debian's packages, without a
                   registry: build/image/nginx-token.tar (root)
  lambda [CONF [CA]]
                   make a zip for AWS Lambda, build/lambda/token.zip, with
                   packaging/lambda/nginx.conf or CONF, and the system's
                   authorities or those of CA
  lint             check the sources: style, cppcheck, clang-tidy, shellcheck
  install          build, then copy the module to nginx's modules
  clean            remove what was built: the directory below, if build.sh made
                   it
  help             show this text

options:
  --nginx-source DIR  build for the nginx whose source is in DIR, and that
                      nginx as well: both are in build/NAME-OF-DIR/
  --cc CC             the compiler; the environment's CC, or gcc (clang for
                      sanitizers)
  --no-werror         do not stop at compiler warnings (--werror does, and is
                      the default)

BUILD_DIR in the environment names another directory than build/.
END
}


say() {
    printf '%s\n' "$*"
}


fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}


# shellcheck source=scripts/packages.sh
. "$ROOT/scripts/packages.sh"
# shellcheck source=scripts/module.sh
. "$ROOT/scripts/module.sh"
# shellcheck source=scripts/source.sh
. "$ROOT/scripts/source.sh"
# shellcheck source=scripts/variants.sh
. "$ROOT/scripts/variants.sh"
# shellcheck source=scripts/fuzz.sh
. "$ROOT/scripts/fuzz.sh"
# shellcheck source=scripts/suite.sh
. "$ROOT/scripts/suite.sh"
# shellcheck source=scripts/deb.sh
. "$ROOT/scripts/deb.sh"
# shellcheck source=scripts/image.sh
. "$ROOT/scripts/image.sh"
# shellcheck source=scripts/lambda.sh
. "$ROOT/scripts/lambda.sh"
# shellcheck source=scripts/lint.sh
. "$ROOT/scripts/lint.sh"
# shellcheck source=scripts/tests.sh
. "$ROOT/scripts/tests.sh"


build() {
    [[ ! $VARIANT ]] || need_variant
    need_packages "${BUILD_PACKAGES[@]}" "$@"
    build_module
}


# Node's hundreds of packages are installed for one button, so only when that
# is asked for.
run() {
    if [[ ${VOXEET-} == 1 ]]; then build "${NODE_PACKAGES[@]}"; else build; fi
    PATH=$(dirname "$NGINX"):$PATH
    export NGX_TOKEN_MODULE=$SO
    exec "$ROOT/demo/run.sh"
}


# With --nginx-source the module goes to the installed nginx all the same.
install_module() {
    local modules

    build
    modules=$(modules_path)
    install -d "$modules"
    install -m 644 "$SO" "$modules/$MODULE.so"

    say "Installed $modules/$MODULE.so. At the top of nginx.conf goes:"
    say "load_module $modules/$MODULE.so;"
}


# A directory that was not there before is the script's own, and gets a file
# that says so. BUILD_DIR may name any other.
own_build_dir() {
    [[ ! -e $BUILD ]] || return 0

    mkdir -p -- "$BUILD" || fail "$BUILD cannot be made"
    say "Made by build.sh, whose command \"clean\" deletes this directory." \
        > "$BUILD/$MARKER"
}


# build/ beside this script is ours by its place.
clean() {
    if [[ ! -e $BUILD || -f $BUILD/$MARKER || $BUILD == "$ROOT/build" ]]; then
        remove "$BUILD" "$ROOT/t/node_modules"
    else
        fail "$BUILD was not made by build.sh: nothing is deleted"
    fi
}


# Nothing is deleted through what is mounted below it.
remove() {
    local name mounted

    for name; do
        mounted=$(awk -v name="$(realpath -m "$name")" \
            'index($5, name "/") == 1 { print $5; exit }' /proc/self/mountinfo)
        [[ ! $mounted ]] || fail "$mounted is mounted: umount it first"
    done

    rm -rf --one-file-system "$@"
}


# Options may stand before the command or after it; what follows a command
# and is not one of them belongs to the command.
COMMAND=
ARGS=()
NGINX_SOURCE=
VARIANT=
SUITE=
CC=${CC:-}
WERROR=yes

while (( $# )); do
    case $1 in
        --nginx-source | --cc | --suite)
            (( $# > 1 )) || fail "$1 needs a value"
            if [[ $1 == --cc ]]; then
                CC=$2
            elif [[ $1 == --suite ]]; then
                SUITE=$2
            else
                NGINX_SOURCE=$(cd "$2" 2> /dev/null && pwd) || fail "no directory $2"
            fi
            shift
            ;;
        --sanitize | --valgrind | --coverage)
            VARIANT=${1#--}
            ;;
        --werror)               WERROR=yes ;;
        --no-werror)            WERROR=no ;;
        -h | --help)            COMMAND=help ;;
        *)
            if [[ $COMMAND ]]; then
                ARGS+=("$1")
            elif [[ $1 == -* ]]; then
                fail "no option $1: ./build.sh help lists them"
            else
                COMMAND=$1
            fi
            ;;
    esac
    shift
done

if [[ $COMMAND == run ]] && (( ${#ARGS[@]} )); then
    fail "run takes no argument ${ARGS[0]}: its settings are variables, as in PORT=9090 ./build.sh run"
fi

if [[ $COMMAND != @(|test|fuzz|lambda) ]] && (( ${#ARGS[@]} )); then
    fail "$COMMAND takes no argument ${ARGS[0]}: ./build.sh help tells more"
fi

[[ $COMMAND != fuzz ]] || VARIANT=sanitize

if [[ ! $CC ]]; then
    [[ $VARIANT == sanitize ]] && CC=clang || CC=gcc
fi

choose_build

[[ $COMMAND == @(clean|help) ]] || own_build_dir

case ${COMMAND:-build} in
    build)      build ;;
    run)        run ;;
    test)       if [[ $SUITE ]]; then suite_tests "$SUITE" "${ARGS[@]}"; else run_tests "${ARGS[@]}"; fi ;;
    fuzz)       fuzz "${ARGS[@]}" ;;
    deb)        build_deb ;;
    image)      build_image ;;
    lambda)     build_lambda "${ARGS[@]}" ;;
    lint)       lint ;;
    install)    install_module ;;
    clean)      clean ;;
    help)       usage ;;
    *)          fail "no command $COMMAND: ./build.sh help lists them" ;;
esac
