# Sourced by build.sh: builds the fuzzers of t/fuzz with the objects of the
# nginx that has sanitizers, and runs them; or lets t/fuzz/callers.pl ask that
# nginx.
# shellcheck shell=bash

# fuzz [SECONDS [NAME...]]: every fuzzer, or those that are named.
fuzz() {
    local seconds=${1:-20} names=("${@:2}") name status=0

    if [[ $seconds == callers ]]; then
        fuzz_callers "${@:2}"
        return
    fi

    [[ $seconds =~ ^[0-9]+$ ]] || fail "fuzz takes a number of seconds, not $seconds"
    check_corpus
    (( ${#names[@]} )) || mapfile -t names < <(fuzzers)

    for name in "${names[@]}"; do
        [[ -d $ROOT/t/fuzz/corpus/$name ]] ||
            fail "no fuzzer $name: $(fuzzers | xargs)"
    done

    # another reader of JSON, for the fuzzers alone
    build libcjson-dev
    build_fuzzers

    export -f fuzz_one fuzz_options
    export ROOT WORK
    printf '%s\n' "${names[@]}" |
        xargs -P "$(nproc)" -I NAME bash -c 'fuzz_one "$@"' - NAME "$seconds" || status=$?

    (( status == 0 )) || fail "a fuzzer found something: see above"
    say "${#names[@]} fuzzers, $seconds seconds each: nothing found."
}


# fuzz_callers [SECONDS [SEED]]: random callers at random configurations.
fuzz_callers() {
    local seconds=${1:-120} status=0

    [[ $seconds =~ ^[0-9]+$ && ${2:-0} =~ ^[0-9]+$ ]] ||
        fail "fuzz callers takes a number of seconds, and a seed"

    build "${PERL_PACKAGES[@]}" redis-tools
    need_test_nginx
    new_reports

    export TEST_NGINX_BINARY=$NGINX
    export TEST_NGINX_LOAD_MODULES=$SO
    export TEST_NGINX_WORK=$BUILD/tests
    export CALLERS_REPORTS=$WORK/reports
    export CALLERS_PATIENCE=15

    cd "$ROOT" || exit 1
    perl t/fuzz/callers.pl "$seconds" "${@:2:1}" || status=$?

    show_reports && (( status == 0 )) || fail "callers: see above"
}


fuzzers() {
    (cd "$ROOT/t/fuzz" && grep -l '^fuzz_one(' -- *.c | sed 's/\.c$//')
}


# Each has a corpus, and each corpus a fuzzer.
check_corpus() {
    local name

    for name in $(fuzzers); do
        compgen -G "$ROOT/t/fuzz/corpus/$name/*" > /dev/null ||
            fail "the fuzzer $name has no corpus"
    done

    for name in "$ROOT/t/fuzz/corpus/"*; do
        [[ -f $ROOT/t/fuzz/${name##*/}.c ]] ||
            fail "the corpus ${name##*/} has no fuzzer"
    done
}


build_fuzzers() (
    local out=$WORK/fuzz stamp=$WORK/fuzz/built tree=$WORK/tree name

    [[ $CC == *clang* ]] || fail "fuzzers need clang"

    if [[ -f $stamp && -z $(find "$ROOT/$MODULE" "$ROOT/t/fuzz" "$WORK/nginx" \
        "$ROOT/scripts/fuzz.sh" -name '*.[ch]' -newer "$stamp") &&
        $WORK/nginx -ot $stamp ]]
    then
        return
    fi

    say "Building the fuzzers"
    rm -rf "$out"
    mkdir -p "$out/nginx" "$out/module"
    cd "$tree"

    mapfile -t NGINX_OBJECTS < <(find "$tree/objs/src" "$tree/objs/ngx_modules.o" -name '*.o' ! -name nginx.o)
    objcopy --redefine-sym main=nginx_main objs/src/core/nginx.o "$out/nginx/nginx.o"
    NGINX_OBJECTS+=("$out/nginx/nginx.o")

    mapfile -t FUZZ_LIBS < <(grep -o -- ' -l[a-z0-9-]*' objs/Makefile | sort -u)

    export -f fuzz_compile fuzz_flags
    export CC MODULE ROOT

    find_sources
    printf '%s\n' "${SOURCES[@]}" "$ROOT"/t/fuzz/{fuzz,json_check}.c |
        xargs -P "$(nproc)" -I SOURCE bash -c 'fuzz_compile "$@"' - SOURCE "$out/module" ||
        fail "the fuzzers were not built"

    for name in $(fuzzers); do
        link_fuzzer "$name"
    done

    touch "$stamp"
)


# A fuzzer that includes a room's .c file is linked without that room.
link_fuzzer() {
    local name=$1 included objects

    included=$(sed -n 's/^#include "\(ngx_http_token_.*\)\.c"$/\1/p' "$ROOT/t/fuzz/$name.c")
    mapfile -t objects < <(find "$out/module" -name '*.o' ! -name "${included:-none}.o")

    # shellcheck disable=SC2046  # flags
    "$CC" $(fuzz_flags fuzzer) "$ROOT/t/fuzz/$name.c" "${objects[@]}" \
        "${NGINX_OBJECTS[@]}" ${FUZZ_LIBS[@]} -lcjson -lcrypto -Wl,-E -o "$out/$name" ||
        fail "the fuzzer $name was not built"
}


fuzz_compile() {
    # shellcheck disable=SC2046  # flags
    "$CC" $(fuzz_flags fuzzer-no-link) -c "$1" -o "$2/$(basename "$1" .c).o"
}


fuzz_flags() {
    echo "-g -O1 -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1 -D_GNU_SOURCE
        -fsanitize=address,undefined,$1 -fno-sanitize-recover=undefined
        -W -Wall -Wno-unused-parameter -Wno-unused-function
        -I $ROOT/t/fuzz"

    # the module's own, in all of its folders
    find "$ROOT/$MODULE" -name '*.[ch]' -printf '-I %h\n' | sort -u

    # nginx's own directories, which depend on its modules
    sed -n '/^ALL_INCS = /,/^$/s/^[^-]*\(-I [^ ]*\).*/\1/p' objs/Makefile
}


# fuzz_one NAME SECONDS: what it finds is kept below build/, for the next run.
fuzz_one() {
    local name=$1 out=$WORK/fuzz found=$WORK/fuzz-corpus/$1 dict=() status=0

    mkdir -p "$found"
    [[ ! -f $ROOT/t/fuzz/dict/$name.dict ]] || dict=(-dict="$ROOT/t/fuzz/dict/$name.dict")

    fuzz_options
    "$out/$name" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 \
        -max_len=4096 -print_final_stats=1 -artifact_prefix="$WORK/fuzz-$name-" \
        "${dict[@]}" "$found" "$ROOT/t/fuzz/corpus/$name" > "$out/$name.log" 2>&1 || status=$?

    if (( status )); then
        grep -v '^#' "$out/$name.log" | tail -n 60
        echo "fuzz $name: FAILED, $ROOT/t/fuzz/$name.c"
        return 1
    fi

    sed -n "s/^stat::number_of_executed_units: */fuzz $name: inputs run: /p" "$out/$name.log"
}


fuzz_options() {
    export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:suppressions=$ROOT/t/sanitize/ubsan.supp
}
