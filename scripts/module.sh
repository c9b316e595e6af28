# Sourced by build.sh: configures nginx's source and builds the module with it.
# shellcheck shell=bash

# The modules of nginx that the tests use, for an nginx built from source.
SOURCE_FLAGS=(--error-log-path=stderr --with-compat --with-debug --with-threads
              --with-http_ssl_module --with-http_v2_module
              --with-http_addition_module --with-http_auth_request_module
              --with-http_gunzip_module --with-http_gzip_static_module
              --with-http_realip_module --with-http_slice_module
              --with-http_stub_status_module --with-http_sub_module)


# Sets NGINX, the binary; SOURCE, nginx's source; WORK, where it is built; and
# SO, the module.
choose_build() {
    choose_packages
    OWN_NGINX=${VARIANT:-$NGINX_SOURCE}

    if [[ $VARIANT ]]; then
        SOURCE=$NGINX_SOURCE
        WORK=$BUILD/$VARIANT${NGINX_SOURCE:+-$(basename "$NGINX_SOURCE")}
        NGINX=$WORK/nginx
        SO=$WORK/$MODULE.so

    elif [[ $NGINX_SOURCE ]]; then
        SOURCE=$NGINX_SOURCE
        WORK=$BUILD/$(basename "$SOURCE")
        NGINX=$WORK/nginx
        SO=$WORK/$MODULE.so

    else
        SOURCE=/usr/share/nginx/src
        WORK=$BUILD/installed
        NGINX=nginx
        SO=$BUILD/$MODULE.so
    fi
}


# Sets SOURCES and HEADERS, the module's in whatever folder. Where there are
# few, they are not where they are looked for.
find_sources() {
    mapfile -t SOURCES < <(find "$ROOT/$MODULE" -name '*.c' | sort)
    mapfile -t HEADERS < <(find "$ROOT/$MODULE" -name '*.h' | sort)

    (( ${#SOURCES[@]} >= 20 && ${#HEADERS[@]} )) ||
        fail "$MODULE has ${#SOURCES[@]} sources and ${#HEADERS[@]} headers"
}


# One build at a time in one tree.
build_module() {
    mkdir -p "$WORK"
    ( flock 9; build_locked ) 9> "$WORK/lock"
    [[ $OWN_NGINX ]] || NGINX=$(command -v nginx)
}


build_locked() {
    local tree=$WORK/tree stamp=$WORK/configured built=no flags state

    [[ -f $SOURCE/src/core/nginx.h ]] ||
        fail "no nginx source in $SOURCE: --nginx-source DIR names one"

    flags=$(nginx_flags)
    [[ ! $VARIANT ]] || flags=$(variant_flags "$flags")
    [[ $WERROR == yes ]] || flags=$(without_werror "$flags")

    state=$(fingerprint)
    if [[ $state != "$(cat "$stamp" 2> /dev/null)" ]]; then
        say "Configuring nginx $(source_version)"
        rm -f "$stamp"
        configure
        say "$state" > "$stamp"
    fi

    if [[ $OWN_NGINX ]]; then
        compile binary "nginx $(source_version)"
        publish "$tree/objs/nginx" "$NGINX"
    fi

    compile modules "$MODULE"
    check_loads "$tree/objs/$MODULE.so"
    publish "$tree/objs/$MODULE.so" "$SO"

    if [[ $built == yes ]]; then
        say "Built $SO"
    else
        say "Nothing to do: $SO is up to date."
    fi
}


# compile TARGET NAME: runs make if there is something to do for it.
compile() {
    make -q -C "$tree" -f objs/Makefile "$1" > /dev/null 2>&1 && return

    say "Building $2"
    make -s -C "$tree" -f objs/Makefile -j "$(nproc)" --no-print-directory "$1" \
        > "$WORK/make.log" 2>&1 || { cat "$WORK/make.log" >&2; fail "$2 was not built"; }
    built=yes
}


# The linker does not mind what a module lacks; nginx does when it loads it.
check_loads() {
    cmp -s "$1" "$SO" && return

    say "load_module '$1'; error_log stderr; pid '$WORK/check.pid'; events {}" \
        > "$WORK/check.conf"
    ASAN_OPTIONS=detect_leaks=0 "$NGINX" -t -q -p "$WORK" -c "$WORK/check.conf" ||
        fail "$NGINX cannot load the module"
}


# A running nginx may have the old file mapped: it is replaced, not changed.
publish() {
    cmp -s "$1" "$2" && return

    cp "$1" "$2.new"
    mv "$2.new" "$2"
    built=yes
}


# nginx's configure writes beside its sources: it gets a directory of links. It
# does not quote the module's path: one with a space gets a link in there.
configure() {
    local entry list module=$ROOT

    rm -rf "$tree"
    mkdir -p "$tree"

    for entry in "$SOURCE"/*; do
        [[ ${entry##*/} == @(Makefile|objs) ]] || ln -s "$entry" "$tree/"
    done

    [[ -e $tree/configure ]] || ln -s auto/configure "$tree/configure"

    if [[ $ROOT =~ [^A-Za-z0-9_/.,+@-] ]]; then
        module=$MODULE
        ln -s "$ROOT" "$tree/$module"
    fi

    mapfile -t list <<< "$flags"

    (
        cd "$tree"
        ./configure --with-cc="$CC" "${list[@]}" --add-dynamic-module="$module"
    ) > "$WORK/configure.log" 2>&1 ||
        { tail -n 12 "$WORK/configure.log" >&2; fail "nginx's configure failed: see $WORK/configure.log"; }
}


# All that a configured tree depends on; sources and headers of the module
# are make's business.
fingerprint() {
    say "$ROOT $SOURCE $CC"
    say "$flags"
    "${CC%% *}" --version
    cksum "$ROOT/config"
    find_sources
    say "${SOURCES[*]} ${HEADERS[*]}"
    find -L "$SOURCE/src" "$SOURCE/auto" -type f -printf '%P %s %T@\n' | sort | cksum
}


# The flags of ./configure, one a line: the installed nginx's own for its own
# version, so that the module loads into it, or else SOURCE_FLAGS. Left out
# are the modules that Debian builds apart, and bundled libraries.
nginx_flags() {
    if [[ $(installed_version) != "$(source_version)" ]]; then
        printf '%s\n' "${SOURCE_FLAGS[@]}"
        return
    fi

    nginx -V 2>&1 | sed -n 's/^configure arguments: //p' | xargs printf '%s\n' |
        grep -Ev '=dynamic$|^--add-(dynamic-)?module=|^--with-(openssl|pcre|zlib|cc)=|^--with-perl|^--builddir='
}


without_werror() {
    if grep -q '^--with-cc-opt=' <<< "$1"; then
        sed '/^--with-cc-opt=/s/$/ -Wno-error/' <<< "$1"
    else
        printf '%s\n' "$1" --with-cc-opt=-Wno-error
    fi
}


installed_version() {
    nginx -v 2>&1 | sed -n 's,^nginx version: [^/]*/\([0-9.]*\).*,\1,p'
}


source_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$SOURCE/src/core/nginx.h"
}


modules_path() {
    local version flags path

    version=$(installed_version)
    [[ $version == "$(source_version)" ]] ||
        fail "the installed nginx is ${version:-missing}, and the module is for $(source_version)"

    flags=$(nginx_flags)
    path=$(sed -n 's/^--modules-path=//p' <<< "$flags")
    say "${path:-$(sed -n 's/^--prefix=//p' <<< "$flags")/modules}"
}
