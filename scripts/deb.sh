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
    deb_version "$work/source/debian/changelog"

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


# deb_version CHANGELOG: the version gets the date and the number of the commit,
# so that a package of a later one is an upgrade, and its date, so that the same
# commit makes the same package. Without git it stays as it is.
deb_version() {
    local day number date

    day=$(git -C "$ROOT" log -1 --format=%cd --date=format:%Y%m%d 2> /dev/null) &&
        number=$(git -C "$ROOT" rev-list --count HEAD 2> /dev/null) &&
        date=$(git -C "$ROOT" log -1 --format=%cD 2> /dev/null) || return 0

    sed -i -E "1 s/\(([^)]*)\)/(\1+$day.$number)/
               0,/^ -- / s/^( -- .*>  ).*/\1$date/" "$1"
}
