# Sourced by build.sh: builds the fuzzers of t/fuzz with the objects of the
# nginx that has sanitizers, and runs them.
# shellcheck shell=bash

# fuzz [SECONDS [NAME...]]: every fuzzer, or those that are named.
fuzz() {
    local seconds=${1:-20} names=("${@:2}") name status=0

    [[ $seconds =~ ^[0-9]+$ ]] || fail "fuzz takes a number of seconds, not $seconds"
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


# Each has a corpus.
fuzzers() {
    (cd "$ROOT/t/fuzz/corpus" && printf '%s\n' *)
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

    printf '%s\n' "$ROOT/$MODULE/"*.c "$ROOT"/t/fuzz/{fuzz,json_check}.c |
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
        -I $ROOT/$MODULE -I $ROOT/t/fuzz"

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
