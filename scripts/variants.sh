# Sourced by build.sh: an nginx of our own, with its module, that watches
# itself while the tests run.
# shellcheck shell=bash

# Makes ready what VARIANT is built with.
need_variant() {
    need_nginx_source

    case $VARIANT in
        sanitize)   need_sanitizers ;;
        valgrind)   need_packages valgrind libc6-dbg ;;
        coverage)   need_packages gcovr ;;
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
            # ASan's crypt_r() needs the library's, though configure finds it
            # enough; ngx_modules of the module is not nginx's
            ld="$SANITIZERS $WORK/options.o -Wl,--no-as-needed -lcrypt -Wl,-Bsymbolic"
            ;;
        coverage)
            cc="-g -O0 --coverage -fprofile-update=atomic"
            ld="--coverage"
            ;;
    esac

    grep -Ev '^--with-(cc|ld)-opt=' <<< "$1"
    say "--with-cc-opt=$cc -Wno-error"
    say "--with-ld-opt=$ld"
}


# The tests, but for those of pages in a browser and of servers that others
# wrote, where nginx does no more than in the others, and those that hold nginx to
# the clients' own time limits: it is several times slower here, and "fuzz
# callers" asks it the same. Nor those that do not ask nginx.
NOT_IN_VARIANTS='browser|compiles|/lint|/run\.t|callers|clients|lambda|load_http2|e2e_[dg]|e2e_oauth2|e2e_client_assertion|kubernetes|providers'


variant_tests() {
    case $VARIANT in
        valgrind)   printf 't/%s.t\n' "${VALGRIND_TESTS[@]}" ;;
        *)          (cd "$ROOT" && printf '%s\n' t/*.t | grep -Ev "$NOT_IN_VARIANTS") ;;
    esac
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

    # nginx's makefile does not know it
    if ! cmp -s "$WORK/options.o.new" "$WORK/options.o"; then
        mv "$WORK/options.o.new" "$WORK/options.o"
        rm -f "$WORK/tree/objs/nginx"
    fi
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
    local report reports

    # The pool that main() of a failed start or of "nginx -s" leaves to the
    # kernel; a suppression cannot name main() without naming everything.
    for report in $(grep -lE '^    #[0-9] .* in main .*nginx\.c' "$WORK/reports/"* 2> /dev/null); do
        awk '/^Direct leak/ { direct = NR; n++ }
             direct && NR == direct + 4 && / in main .*nginx\.c/ { n-- }
             /ERROR: AddressSanitizer|runtime error/ { n = 1 }
             END { exit n != 0 }' "$report" && rm "$report"
    done

    reports=("$WORK/reports/"*)

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


# Valgrind's memcheck. Workers and the binaries that nginx starts are watched
# as well; nginx is a script that starts it.

VALGRIND_TESTS=(answer methods errors request client_abort cache cache_key
                cache_workers cache_refresh cache_backoff bearer bearer_cached
                status tenants faults)


run_valgrind() {
    local status=0

    new_reports

    cat > "$WORK/nginx-valgrind" << END
#!/bin/sh
case " \$* " in *" -V "* | *" -v "*) exec "$NGINX" "\$@" ;; esac
exec valgrind --quiet --child-silent-after-fork=no --trace-children=yes \\
    --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \\
    --errors-for-leak-kinds=definite --num-callers=30 \\
    --suppressions="$ROOT/t/sanitize/valgrind.supp" \\
    --log-file="$WORK/reports/report.%p" "$NGINX" "\$@"
END
    chmod +x "$WORK/nginx-valgrind"

    TEST_NGINX_BINARY=$WORK/nginx-valgrind TEST_NGINX_TIMEOUT=20 "$@" || status=$?

    find "$WORK/reports" -size 0 -delete
    show_reports && (( status == 0 ))
}


# gcov, for the module alone.

run_coverage() {
    local status=0 objects=()

    # a directory for each folder of the module
    mapfile -t objects < <(find "$WORK/tree/objs/addon" -name 'ngx_http_token_*.gcno' -printf '%h\n' | sort -u)
    (( ${#objects[@]} )) || fail "no .gcno files in $WORK/tree/objs/addon"
    find "$WORK/tree/objs" -name '*.gcda' -delete

    # the workers of another user write here too
    chmod -R a+rwX "$WORK/tree/objs"

    "$@" || status=$?

    (
        # where the compiler ran, since gcov looks for nginx's headers from there
        cd "$WORK/tree"
        gcovr --root "$ROOT" --filter "$ROOT/$MODULE/" "${objects[@]}" \
            --print-summary --txt "$WORK/coverage.txt" --html-details "$WORK/coverage.html"
        cat "$WORK/coverage.txt"
    )

    return "$status"
}
