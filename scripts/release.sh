#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# release.sh - makes what a release consists of: source and binary archives, Debian packages, Python wheels, and their
# checksums.
#
#   scripts/release.sh [--arch amd64|arm64]... [--out DIR] [--dirty]
#
#   --arch ARCH  whose binaries; again for another. Default: this machine's, and arm64 where the cross compiler is installed
#   --out DIR    default: dist. A release that is there is replaced
#   --dirty      uncommitted changes are fine (for tests of this script); the source archive is HEAD all the same
#   --help
#
# The same commit, compilers and libraries give the same bytes: every date in the files is the commit's (SOURCE_DATE_EPOCH,
# which may be set), names are sorted, owners are root, and no file says where it was built. Binaries come from build/release
# and, for arm64 on a PC, build/rk3588.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ARCHS=()
OUT=$RKNPU2_ROOT/dist
DIRTY=0
TARGETS=(ggml-rknpu2 rknpu2-info rknpu2-bench rknpu2-doctor rknnrt rknnsim_dma_heap rknpu2-man)
COMPONENTS=(ggml-rknpu2 rknpu2-tools rknnsim)

parse_options() {
    while (($#)); do
        case $1 in
            --arch) need_value "$@" && ARCHS+=("$2") && shift ;;
            --out) need_value "$@" && OUT=$2 && shift ;;
            --dirty) DIRTY=1 ;;
            --help | -h) usage && exit 0 ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        shift
    done
    OWN_ARCH=$(dpkg --print-architecture 2>/dev/null) || die "Debian's dpkg is missing: packages are made on Debian or its relatives"
    if ((${#ARCHS[@]} == 0)); then
        ARCHS=("$OWN_ARCH")
        [[ $OWN_ARCH == arm64 ]] || ! have aarch64-linux-gnu-g++ || ARCHS+=(arm64)
    fi
    local arch
    for arch in "${ARCHS[@]}"; do
        [[ $arch == "$OWN_ARCH" || $arch == arm64 ]] || die "no way to build for $arch here: this machine is $OWN_ARCH"
    done
}

check_commit() {
    git -C "$RKNPU2_ROOT" rev-parse HEAD >/dev/null 2>&1 || die "this is no git checkout: a release is made of a commit"
    ((DIRTY)) || [[ -z $(git -C "$RKNPU2_ROOT" status --porcelain) ]] || die "there are uncommitted changes: commit them, or add --dirty"
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$RKNPU2_ROOT" log -1 --format=%ct)}
    export SOURCE_DATE_EPOCH
    VERSION=$(sed -n 's/^project(ggml-rknpu2 VERSION \([0-9.]*\).*/\1/p' "$RKNPU2_ROOT/CMakeLists.txt")
    [[ -n $VERSION ]] || die "CMakeLists.txt does not tell the version"
}

# archive FOLDER NAME FILE: FOLDER/NAME as a tar.gz that depends on nothing but names and contents.
archive() {
    tar -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r,go-w -cf - "$2" |
        gzip -9n >"$3"
}

# A folder that is missing, empty, or has a release and nothing else.
check_out() {
    local file
    [[ ! -e $OUT || -d $OUT ]] || die "$OUT is no folder: choose another --out"
    for file in "$OUT"/* "$OUT"/.[!.]*; do
        [[ ! -e $file || ${file##*/} =~ ^(SHA256SUMS|(ggml[-_]rknpu2|rknpu2-tools|rknnsim)[-_].*\.(tar\.gz|deb|whl))$ ]] ||
            die "$OUT holds other things than a release, such as ${file##*/}: choose another --out"
    done
    { mkdir -p "$OUT" && [[ -w $OUT ]]; } || die "cannot write to $OUT"
}

make_source() {
    local name=ggml-rknpu2-$VERSION
    make_temp "${TMPDIR:-/tmp}"
    git -C "$RKNPU2_ROOT" archive --prefix="$name/" HEAD | tar -x -C "$REPLY"
    archive "$REPLY" "$name" "$RELEASE/$name.tar.gz"
}

# make_binaries ARCH
make_binaries() {
    local arch=$1 preset=release name=ggml-rknpu2-$VERSION-linux-$1 component log
    if [[ $arch == arm64 ]]; then
        preset=rk3588
        [[ $OWN_ARCH == arm64 ]] || need_packages aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
    fi
    mkdir -p "$RKNPU2_ROOT/build"
    take_lock "$RKNPU2_ROOT/build/.lock" "the build folder"
    configure_project "$preset"
    build_project "$preset" "${TARGETS[@]}"
    drop_locks
    make_temp "${TMPDIR:-/tmp}"
    log=$REPLY/log
    for component in "${COMPONENTS[@]}"; do
        cmake --install "$RKNPU2_ROOT/build/$preset" --component "$component" --prefix "$REPLY/$name" --strip >"$log" 2>&1 ||
            die_of_log "installing $component" "$log" "$REPLY"
    done
    archive "$REPLY" "$name" "$RELEASE/$name.tar.gz"
    (cd "$RKNPU2_ROOT/build/$preset" && cpack -G DEB -B "$REPLY/deb" >"$log" 2>&1) || die_of_log "making the packages" "$log" "$REPLY"
    cp "$REPLY"/deb/*.deb "$RELEASE/"
    "$RKNPU2_ROOT/packaging/wheel.sh" "$RKNPU2_ROOT/build/$preset" "$RELEASE" >"$log" 2>&1 || die_of_log "making the wheel" "$log" "$REPLY"
}

main() {
    local arch
    parse_options "$@"
    check_commit
    need_packages cmake:cmake ninja:ninja-build g++:g++ git:git /usr/include/nlohmann/json.hpp:nlohmann-json3-dev \
        /usr/include/CLI/CLI.hpp:libcli11-dev /usr/lib/python3/dist-packages/wheel:python3-wheel
    # Made elsewhere, so that a release that fails leaves nothing behind.
    check_out
    make_temp "${TMPDIR:-/tmp}"
    RELEASE=$REPLY
    make_source
    for arch in "${ARCHS[@]}"; do make_binaries "$arch"; done
    (cd "$RELEASE" && sha256sum -- *.tar.gz *.deb *.whl >SHA256SUMS)
    { rm -f -- "$OUT"/* && cp "$RELEASE"/* "$OUT/"; } || die "cannot write to $OUT"
    say "the release $VERSION is in $OUT:"
    cat "$OUT/SHA256SUMS" >&2
}

main "$@"
