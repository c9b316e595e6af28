# Sourced by build.sh: the source of the installed nginx, for an nginx that is
# built in another way than Debian's.
# shellcheck shell=bash

# need_nginx_source: sets SOURCE to the full source of the installed nginx's
# version: --nginx-source, or Debian's source package, unpacked below build/.
need_nginx_source() {
    local version archive

    [[ $NGINX_SOURCE ]] && return

    need_packages nginx
    version=$(installed_version)
    SOURCE=$BUILD/source/nginx-$version

    [[ -f $SOURCE/src/core/nginx.c ]] && return

    need_packages dpkg-dev xz-utils
    say "Fetching Debian's source of nginx $version"
    fetch_source "$version" ||
        fail "no source of nginx $version: --nginx-source DIR names one (see $BUILD/apt.log)"

    archive=$(find "$BUILD/source/apt" -name "nginx_$version.orig.tar.*z" | head -n 1)
    rm -rf "$SOURCE.new"
    mkdir "$SOURCE.new"
    tar -C "$SOURCE.new" --strip-components=1 -xf "$archive"
    [[ -e $SOURCE.new/configure ]] || ln -s auto/configure "$SOURCE.new/configure"
    rm -rf "$SOURCE"
    mv "$SOURCE.new" "$SOURCE"
    rm -rf "$BUILD/source/apt"
}


# apt with a configuration of its own: the machine's suites, as deb-src. The
# original tarball is what is needed, of any revision of the package; apt
# checks it against the signed index, and goes on when another file is missing.
fetch_source() {
    local version=$1 apt=$BUILD/source/apt options revision

    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    source_lines > "$apt/sources.list"

    options=(-o "Dir::Etc::sourcelist=$apt/sources.list"
             -o "Dir::Etc::sourceparts=/dev/null"
             -o "Dir::State::Lists=$apt/lists"
             -o "Dir::Cache=$apt/cache"
             -o "APT::Sandbox::User="
             -o "Acquire::Languages=none")

    (
        cd "$apt"
        apt-get "${options[@]}" update

        for revision in $(apt-cache "${options[@]}" showsrc nginx |
            sed -n "s/^Version: \($version-.*\)/\1/p" | sort -Vru)
        do
            apt-get "${options[@]}" source --download-only "nginx=$revision"
            compgen -G "nginx_$version.orig.tar.*z" && break
        done
    ) > "$BUILD/apt.log" 2>&1 || true

    compgen -G "$apt/nginx_$version.orig.tar.*z" > /dev/null
}


# deb-src lines for the suites of this machine, however they are written.
source_lines() {
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg signed=

    [[ -f $keys ]] && signed="[signed-by=$keys] "

    # shellcheck disable=SC2016  # apt's variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' |
        awk -v signed="$signed" '
            $3 == "main" && !seen[$0]++ { print "deb-src " signed $1, $2, $3 }'
}
