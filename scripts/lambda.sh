# Sourced by build.sh: a zip for AWS Lambda.
# shellcheck shell=bash

LAMBDA_PACKAGES=(libcjson-dev binutils zip ca-certificates)

# Where Lambda unpacks it: the bootstrap's loader is found there.
LAMBDA_ROOT=/var/task


# build_lambda [CONF [CA]]: build/lambda/token.zip, with another nginx.conf, and
# with the authorities of CA in the place of the system's.
build_lambda() {
    local conf=${1:-$ROOT/packaging/lambda/nginx.conf}
    local authorities=${2:-/etc/ssl/certs/ca-certificates.crt}
    local work=$BUILD/lambda tree=$BUILD/lambda/tree loader

    [[ ! $VARIANT ]] || fail "lambda is built without --$VARIANT"
    [[ -f $conf ]] || fail "no file $conf"
    [[ -f $authorities || ! ${2-} ]] || fail "no file $authorities"
    [[ ! ${2-} ]] || grep -q '^-----BEGIN \(TRUSTED \)\?CERTIFICATE-----' "$authorities" ||
        fail "$authorities has no certificate in PEM"

    build "${LAMBDA_PACKAGES[@]}"
    [[ -f $authorities ]] || fail "no file $authorities"

    mkdir -p "$work"
    (
        flock 9
        rm -rf "$tree"
        mkdir -p "$tree/libs" "$tree/modules"

        loader=$(loader_of "$NGINX")
        [[ $loader ]] || fail "$NGINX has no dynamic loader"

        build_bootstrap "$tree/bootstrap"
        install -m 755 "$loader" "$tree/libs/ld.so"
        install -m 755 "$NGINX" "$tree/nginx"
        install -m 644 "$SO" "$tree/modules/$MODULE.so"
        strip -R .note.gnu.build-id "$tree/nginx" "$tree/modules/$MODULE.so" \
            "$tree/bootstrap"
        copy_libraries
        install -m 644 "$conf" "$tree/nginx.conf"
        install -m 644 "$authorities" "$tree/ca.pem"
        pack
    ) 9> "$work/lock"

    say "Built $work/token.zip ($(stat -c %s "$work/token.zip") bytes, for $(uname -m))"
}


loader_of() {
    readelf -lW "$1" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p'
}


# With the loader and the libraries of the zip, whatever the runtime has. Lambda
# sets LD_LIBRARY_PATH, and only what an RPATH says comes before that.
build_bootstrap() {
    "$CC" -std=gnu99 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror \
        -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -pie \
        -Wl,-z,relro,-z,now,--disable-new-dtags \
        -Wl,-rpath,"$LAMBDA_ROOT/libs" \
        -Wl,--dynamic-linker="$LAMBDA_ROOT/libs/ld.so" \
        -o "$1" "$ROOT"/packaging/lambda/*.c -lcjson ||
        fail "the bootstrap was not built"
}


# What nginx, the module and the bootstrap need. The loader has a name of its
# own in there, and is none of them.
copy_libraries() {
    local name path list

    list=$(ldd "$NGINX" "$SO"
           "$loader" --list "$tree/bootstrap") || fail "ldd failed"

    while read -r name path; do
        install -m 644 "$path" "$tree/libs/$name"
    done < <(sed -n 's/^[[:space:]]*\([^ /]*\) => \(\/[^ ]*\) (.*/\1 \2/p' <<< "$list" | sort -u)

    [[ -e $tree/libs/libcjson.so.1 && -e $tree/libs/libc.so.6 ]] ||
        fail "the libraries are not complete: $(ls "$tree/libs")"
}


# The same files make the same zip: no times, no owners, one order.
pack() {
    rm -f "$work/token.zip"
    find "$tree" -exec touch -h -d '1980-01-01 00:00:00 UTC' {} +
    (
        cd "$tree"
        export TZ=UTC
        find . -type f -printf '%P\n' | LC_ALL=C sort | zip -q -X -9 "$work/token.zip" -@
    ) || fail "zip failed"
}
