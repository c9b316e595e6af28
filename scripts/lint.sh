# Sourced by build.sh: what can be said of the sources without running them.
# shellcheck shell=bash

lint() {
    local status=0 list lambda=("$ROOT"/packaging/lambda/*.c)

    need_packages cppcheck clang-tidy shellcheck libcjson-dev
    build
    find_sources

    say "Style"
    perl "$ROOT/scripts/style.pl" "${SOURCES[@]}" "${HEADERS[@]}" \
        "${lambda[@]}" "$ROOT"/packaging/lambda/*.h || status=1

    say "Layers"
    perl "$ROOT/scripts/layers.pl" "$ROOT/$MODULE" || status=1

    cd "$WORK/tree" || exit 1
    mapfile -t list < <(sed -n '/^ALL_INCS = /,/^$/s/^[^-]*-I \([^ ]*\).*/-I\n\1/p' objs/Makefile)

    # nginx's headers are read, and not judged
    say "cppcheck"
    cppcheck --quiet --std=c99 --max-configs=1 --error-exitcode=1 -j "$(nproc)" \
        --enable=warning,performance,portability --inline-suppr \
        --suppress='*:src/*' --suppress='*:objs/*' --suppress=missingIncludeSystem \
        -D__linux__ -D__x86_64__ "${list[@]}" "${SOURCES[@]}" || status=1
    cppcheck --quiet --std=c99 --max-configs=1 --error-exitcode=1 \
        --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem -D_GNU_SOURCE "${lambda[@]}" || status=1

    say "clang-tidy"
    printf '%s\n' "${SOURCES[@]}" |
        xargs -P "$(nproc)" -I FILE clang-tidy --quiet --config-file="$ROOT/.clang-tidy" \
            FILE -- "${list[@]}" 2> /dev/null || status=1
    printf '%s\n' "${lambda[@]}" |
        xargs -P "$(nproc)" -I FILE clang-tidy --quiet --config-file="$ROOT/.clang-tidy" \
            FILE -- -std=gnu99 -D_GNU_SOURCE 2> /dev/null || status=1

    say "shellcheck"
    (cd "$ROOT" && shellcheck -x -S warning build.sh .ci/run demo/run.sh bench/*.sh \
        packaging/image/*.sh packaging/lambda/*.sh) || status=1

    (( status == 0 )) || fail "lint: see above"
    say "Nothing to complain about."
}
