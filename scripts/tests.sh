# Sourced by build.sh: prepares and runs the tests.
# shellcheck shell=bash

# run_tests [ARG...]: prove, on all of t/ where no ARG is a file.
run_tests() {
    local arg files=()

    cd "$ROOT" || exit 1
    files=(t/*.t)
    [[ ! $VARIANT ]] || mapfile -t files < <(variant_tests)

    build "${TEST_PACKAGES[@]}" "${NODE_PACKAGES[@]}" "${LAMBDA_PACKAGES[@]}"
    need_test_nginx
    npm_ci "$ROOT/t" || say "npm has not installed them: tests that need them are skipped."
    fetch_glewlwyd || say "There is no glewlwyd: tests that need it are skipped."
    need_django_oauth

    for arg; do
        [[ -e $arg ]] && files=()
    done

    export TEST_NGINX_BINARY=$NGINX
    export TEST_NGINX_LOAD_MODULES=$SO
    export TEST_NGINX_WORK=$BUILD/tests
    export TEST_GLEWLWYD=$BUILD/glewlwyd

    [[ $VARIANT ]] || exec scripts/prove.sh "$@" "${files[@]}"

    run_variant scripts/prove.sh "$@" "${files[@]}"
}
