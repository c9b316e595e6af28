# Sourced by build.sh: the container image of packaging/Containerfile, without a
# registry and without a service.
# shellcheck shell=bash

# bubblewrap is what t/image.t runs it with.
IMAGE_PACKAGES=(mmdebstrap buildah bubblewrap)


# build_image: build/image/nginx-token.tar, which "podman load" and "docker
# load" take, and its files in build/image/root.
build_image() {
    local work=$BUILD/image container log=$BUILD/image/build.log

    (( EUID == 0 )) || fail "image needs root, for the files of other users"
    need_packages "${IMAGE_PACKAGES[@]}"

    mkdir -p "$work/tmp"
    need_base
    remove "$work/root" "$work/storage" "$work/run" "$work/nginx-token.tar"
    mkdir -p "$work/storage" "$work/run"

    say "Building the image"
    bud > "$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "no image: see $log"; }

    # what was needed to build it is ten times as large
    remove "$work/storage" "$work/run" "$work/tmp"

    say "Built $work/nginx-token.tar"
}


bud() {
    local name=localhost/nginx-token base=localhost/debian:12-slim

    container=$(in_store from scratch) &&
    in_store add "$container" "$work/base.tar" / &&
    in_store config --cmd /bin/bash "$container" &&
    in_store commit --rm "$container" "$base" &&

    # how this machine gets packages is how they are got in there
    in_store bud --isolation chroot --format docker --layers=false \
        --pull-never --build-arg BASE="$base" \
        --volume "$work/apt.conf:/etc/apt/apt.conf.d/90machine:ro" \
        -f "$ROOT/packaging/Containerfile" -t "$name" "$ROOT" &&
    in_store push "$name" "docker-archive:$work/nginx-token.tar:nginx-token:latest" &&

    in_store inspect --type image "$name" > "$work/image.json" &&
    container=$(in_store from --pull-never "$name") &&
    mv "$(in_store mount "$container")" "$work/root"
}


# The files of Debian 12, without those that debian:12-slim leaves out.
need_base() {
    local sources path excluded=()

    apt-config dump | grep -E '^Acquire::(Check-Valid-Until|https?::Proxy)' \
        > "$work/apt.conf" || true

    [[ ! -e $work/base.tar ]] || return 0

    sources=$(base_sources)
    [[ $sources ]] || fail "this machine's sources name no mirror of Debian"

    for path in doc groff info linda lintian locale man; do
        excluded+=(--dpkgopt="path-exclude=/usr/share/$path/*")
    done
    excluded+=(--dpkgopt="path-include=/usr/share/doc/*/copyright")

    say "Making a base of Debian 12"
    # shellcheck disable=SC2016  # mmdebstrap's variable
    nice mmdebstrap --mode=root --variant=minbase --quiet --format=tar \
        --aptopt="$work/apt.conf" "${excluded[@]}" \
        --include=usr-is-merged --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
        bookworm "$work/base.tar.new" - <<< "$sources" > "$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; fail "no base: see $work/build.log"; }
    mv "$work/base.tar.new" "$work/base.tar"
}


# With updates and security, if this machine has bookworm's; otherwise what its
# mirror has.
base_sources() {
    local mirror

    # shellcheck disable=SC2016  # apt's variables
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 2> /dev/null |
        grep -E '^deb [^ ]+ bookworm(-updates|-security)? main$' | sort -u | grep . ||
    {
        mirror=$(debian_mirror)
        [[ ! $mirror ]] || say "deb $mirror bookworm main"
    }
}


# in_store ARG...: buildah with a store of its own.
in_store() {
    TMPDIR=$work/tmp nice buildah --storage-driver vfs --root "$work/storage" \
        --runroot "$work/run" "$@"
}
