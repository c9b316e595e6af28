# Sourced by build.sh: an nginx of our own, with its module, that watches
# itself while the tests run.
# shellcheck shell=bash

# Makes ready what VARIANT is built with.
need_variant() {
    need_nginx_source

    case $VARIANT in
        sanitize)   need_sanitizers ;;
    esac
}


# variant_flags FLAGS: nginx's flags, with the compiler's of this variant.
# Every allocation from a pool is a malloc() of its own (NGX_DEBUG_PALLOC), so
# that what reads past one, or after it, is seen.
variant_flags() {
    local cc="-g -O1 -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1" ld=

    case $VARIANT in
        sanitize)
            cc+=" $SANITIZERS"
            ld="$SANITIZERS $WORK/options.o"
            ;;
    esac

    grep -Ev '^--with-(cc|ld)-opt=' <<< "$1"
    say "--with-cc-opt=$cc -Wno-error"
    say "--with-ld-opt=$ld"
}


# run_variant COMMAND...: the tests, and then what the variant has found.
run_variant() {
    "run_$VARIANT" "$@"
}


# AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer.

SANITIZERS="-fsanitize=address,undefined"


# With clang, since gcc's UndefinedBehaviorSanitizer beside AddressSanitizer
# writes no report files. The options are compiled in: nginx clears the environment of a new binary.
need_sanitizers() {
    need_packages "${BUILD_PACKAGES[@]}" libclang-rt-dev llvm
    mkdir -p "$WORK"

    "$CC" -O1 -g -fPIC -DREPORTS="\"$WORK/reports/report\"" \
        -DSUPPRESSIONS="\"$ROOT/t/sanitize\"" \
        -c "$ROOT/t/sanitize/options.c" -o "$WORK/options.o.new"
    cmp -s "$WORK/options.o.new" "$WORK/options.o" ||
        mv "$WORK/options.o.new" "$WORK/options.o"
}


run_sanitize() {
    local status=0

    new_reports
    check_sanitizers

    new_reports
    "$@" || status=$?

    show_reports && (( status == 0 ))
}


# Workers write here too, whoever they are.
new_reports() {
    rm -rf "$WORK/reports"
    mkdir -p "$WORK/reports"
    chmod 1777 "$WORK/reports"
}


show_reports() {
    local reports=("$WORK/reports/"*)

    [[ -e ${reports[0]} ]] || { say "Sanitizers: no report."; return; }

    head -n 60 "${reports[@]:0:10}"
    say "Sanitizers: ${#reports[@]} reports, in $WORK/reports."
    return 1
}


# What is not found must be missing: each kind of fault is made once.
check_sanitizers() {
    local fault

    # shellcheck disable=SC2086  # flags
    "$CC" -O1 -g -fno-omit-frame-pointer $SANITIZERS \
        "$ROOT/t/sanitize/faults.c" "$WORK/options.o" -o "$WORK/faults"

    for fault in none overflow freed leak shift; do
        new_reports
        "$WORK/faults" "$fault" > /dev/null 2>&1 || true

        if compgen -G "$WORK/reports/*" > /dev/null; then
            [[ $fault != none ]] || fail "sanitizers report a fault that is none"
        else
            [[ $fault == none ]] || fail "sanitizers do not report the fault \"$fault\""
        fi
    done
}
