# Sourced by build.sh: a Debian package for the installed nginx.
# shellcheck shell=bash

DEB_PACKAGES=(build-essential debhelper nginx-dev libssl-dev lintian)


module_version() {
    sed -n 's/^#define NGX_HTTP_TOKEN_VERSION *"\(.*\)"$/\1/p' "$ROOT/$MODULE/ngx_http_token.h"
}


# build_deb: build/deb/libnginx-mod-http-token_VERSION_ARCH.deb, with dh_nginx.
build_deb() {
    local work=$BUILD/deb

    need_packages "${DEB_PACKAGES[@]}"

    rm -rf "$work"
    mkdir -p "$work/source"
    cp -r "$ROOT/config" "$ROOT/$MODULE" "$ROOT/docs" "$ROOT/LICENSE" \
        "$ROOT/packaging/debian" "$work/source/"

    say "Building libnginx-mod-http-token"
    (
        cd "$work/source"
        # the number of the module, whatever comes after it
        sed -i -E "1 s/\([0-9.]+/($(module_version)/" debian/changelog
        dpkg-buildpackage --build=binary --no-sign
    ) > "$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; fail "no package: see $work/build.log"; }

    lintian --allow-root --fail-on error "$work"/libnginx-mod-http-token_*.deb ||
        fail "lintian found errors"

    say "Built $(echo "$work"/libnginx-mod-http-token_*.deb)"
}
