#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# host-llama.sh - obtains, verifies and builds the llama.cpp that the tests and the quick start run: once per user.
#
#   scripts/host-llama.sh [options]
#
#   --target rk3588        a cross build instead of this machine's: the libraries and llama-simple for an RK3588, with Debian's
#                          g++-aarch64-linux-gnu; 2.5 minutes on two cores
#   --older                instead ggml 0.9.8, of the older layout (docs/hosts.md), for the tests of scripts/test.sh --full
#   --source-only          no build: the sources are enough for the unit tests
#   --llama-dir DIR        your own source tree of llama.cpp instead; it is built in the cache, or not at all with:
#   --llama-build-dir DIR  your own build of it (with bin/); alone, its source is the one it was configured from
#   --source-dir, --bin-dir, --build-dir
#                          print that path on stdout, after doing what it takes to have it; everything else is on stderr
#   --help
#
# RKNPU2_LLAMA_DIR and RKNPU2_LLAMA_BUILD_DIR in the environment stand for the two options. The cache is $RKNPU2_CACHE, or
# ggml-rknpu2 in the user's cache folder, with host/ggml-VERSION/{src,build,build-rk3588}. An interrupted build resumes; a finished one is
# recognised by a stamp (source, flags, targets) and costs nothing. A first build takes 8 minutes on two cores (in CI 5) and 300 MB.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The pinned archive, a source package of llama-cpp-python. The hash stands in the stamps, so a new pin replaces what is in the cache.
GGML_VERSION=0.25.3
SDIST=0.3.36
SOURCE_HASH=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
LLAMA_DIR=${RKNPU2_LLAMA_DIR:-}
LLAMA_BUILD_DIR=${RKNPU2_LLAMA_BUILD_DIR:-}
TARGET=
SOURCE_ONLY=0
PRINT=()
ARCHS=

TARGETS=(ggml ggml-base ggml-cpu llama-completion llama-cli llama-server llama-bench llama-perplexity llama-quantize
    llama-imatrix llama-simple ggml-rpc-server test-backend-ops test-thread-safety test-save-load-state
    llama-speculative-simple llama-finetune test-opt llama-eval-callback test-llama-archs-rows)

# The build number is fixed because it would otherwise come from whatever git repository surrounds the cache.
FLAGS=(CMAKE_BUILD_TYPE=Release BUILD_SHARED_LIBS=ON GGML_BACKEND_DL=ON GGML_RPC=ON GGML_NATIVE=OFF GGML_CCACHE=OFF
    LLAMA_OPENSSL=OFF LLAMA_USE_PREBUILT_UI=OFF LLAMA_BUILD_UI=OFF LLAMA_BUILD_APP=OFF LLAMA_BUILD_TESTS=ON
    LLAMA_BUILD_EXAMPLES=ON LLAMA_BUILD_NUMBER=0)

choose_older() {
    GGML_VERSION=0.9.8 SDIST=0.3.17 LLAMA_DIR='' LLAMA_BUILD_DIR=''
    SOURCE_HASH=39c31948d234ff351bf638f1e468d893dd29282dd4d47716a39c6a0a1e63b123
    TARGETS=(ggml ggml-base ggml-cpu llama-completion llama-cli llama-server llama-bench llama-perplexity llama-imatrix
        test-backend-ops test-thread-safety)
}

parse_options() {
    while (($#)); do
        case $1 in
            --llama-dir) need_value "$@" && LLAMA_DIR=$2 && shift ;;
            --llama-build-dir) need_value "$@" && LLAMA_BUILD_DIR=$2 && shift ;;
            --target) need_value "$@" && TARGET=$2 && shift ;;
            --older) choose_older ;;
            --source-only) SOURCE_ONLY=1 ;;
            --source-dir | --bin-dir | --build-dir) PRINT+=("$1") ;;
            --help | -h) usage && exit 0 ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        shift
    done
    [[ -z $TARGET || $TARGET == rk3588 ]] || die "no build for $TARGET: --target takes rk3588"
}

# --- Sources -----------------------------------------------------------------------------------------------------------

# fetch_sdist TEMP: llama.cpp out of a Python source package, into TEMP/src.
#
# pip asks a source package's own build system for its metadata even when it only downloads it. That would install build
# tools from the network and run code that nobody has verified yet, so pip is given a stand-in of that build system, which
# answers the one question from what we know.
fetch_sdist() {
    local temp=$1 version=$SDIST
    mkdir -p "$temp/standin/scikit_build_core" "$temp/src"
    cat >"$temp/standin/scikit_build_core/build.py" <<PYTHON
import pathlib

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = pathlib.Path(directory, "llama_cpp_python-$version.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: $version\n")
    return info.name
PYTHON
    PYTHONPATH=$temp/standin pip_download "downloading llama.cpp (60 or 77 MB)" "llama-cpp-python==$version" "$SOURCE_HASH" "$temp" \
        --no-build-isolation --no-binary llama-cpp-python
    tar -xzf "$REPLY" -C "$temp/src" --strip-components=3 "llama_cpp_python-$version/vendor/llama.cpp" 2>"$temp/log" ||
        die_of_log "unpacking llama.cpp" "$temp/log" "$temp"
    rm -f "$temp/src/.git" # points to a repository that is not in the package
}

# Makes HOME_DIR/src when it is not there in full.
obtain_source() {
    local stamp=$HOME_DIR/source.stamp
    SOURCE_DIR=$HOME_DIR/src
    same_stamp "$stamp" "$SOURCE_HASH" && [[ -f $SOURCE_DIR/CMakeLists.txt ]] && return
    take_lock "$HOME_DIR/lock" "llama.cpp"
    same_stamp "$stamp" "$SOURCE_HASH" && [[ -f $SOURCE_DIR/CMakeLists.txt ]] && return
    rm -rf "$HOME_DIR"/.tmp.*
    need_space "$HOME_DIR" 500 "unpacking llama.cpp"
    make_temp "$HOME_DIR"
    local temp=$REPLY
    fetch_sdist "$temp"
    check_source "$temp/src"
    rm -rf "$SOURCE_DIR" "$stamp"
    mv "$temp/src" "$SOURCE_DIR"
    write_stamp "$stamp" "$SOURCE_HASH"
}

check_source() {
    [[ -f $1/CMakeLists.txt && -f $1/ggml/include/ggml.h && -f $1/ggml/src/ggml-backend-impl.h ]] ||
        die "$1 is not a source tree of llama.cpp (no ggml/src/ggml-backend-impl.h)"
}

# --- Build -------------------------------------------------------------------------------------------------------------

# cpu_has FEATURE...: all cores have all of them.
cpu_has() {
    local lines feature
    lines=$(grep -E '^(flags|Features)[[:space:]]*:' /proc/cpuinfo) || return 1
    for feature in "$@"; do
        ! grep -qvw -- "$feature" <<<"$lines" || return 1
    done
}

# Adds what suits this CPU. ggml refuses GGML_NATIVE together with GGML_BACKEND_DL, and its default on x86-64 is AVX2.
add_cpu_flags() {
    local arch=armv8-a
    case $(uname -m) in
        x86_64) cpu_has avx2 fma f16c bmi2 || FLAGS+=(GGML_CPU_ALL_VARIANTS=ON) ;;
        aarch64)
            if cpu_has atomics asimddp asimdhp; then arch=armv8.2-a+dotprod+fp16; fi
            if [[ $arch == *fp16 ]] && cpu_has i8mm; then arch+=+i8mm; fi
            FLAGS+=("GGML_CPU_ARM_ARCH=$arch")
            ;;
    esac
    if [[ " ${FLAGS[*]} " == *ALL_VARIANTS* ]]; then
        # The one CPU library is replaced by many, which the target ggml builds.
        TARGETS=("${TARGETS[@]/#ggml-cpu/ggml}")
    fi
}

# What a model needs to run there, and no more. OpenMP's threads that spin would keep QEMU busy.
choose_target() {
    BUILD_NAME=build PROGRAM_BUILT=llama-completion TAKES="8 minutes"
    if [[ -z $TARGET ]]; then
        add_cpu_flags
        [[ " ${TARGETS[*]} " == *-archs-rows\ * ]] || return 0
        # The last of the targets is ours; read from the cache, so that all clones of this repository share one build.
        FLAGS+=("CMAKE_PROJECT_llama.cpp_INCLUDE=$HOME_DIR/host-archs.cmake")
        [[ $SOURCE_HASH == own ]] || FLAGS+=(RKNPU2_PINNED=ON)
        ARCHS=$RKNPU2_ROOT/scripts/host-archs.cmake
        return
    fi
    BUILD_NAME=build-$TARGET PROGRAM_BUILT=llama-simple TAKES="2.5 minutes"
    TARGETS=(ggml ggml-base ggml-cpu llama-simple)
    FLAGS+=(CMAKE_SYSTEM_NAME=Linux CMAKE_SYSTEM_PROCESSOR=aarch64 CMAKE_C_COMPILER=aarch64-linux-gnu-gcc
        CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ GGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16 GGML_OPENMP=OFF GGML_RPC=OFF)
}

# is_built STAMP TEXT: CI takes one that was compiled quickly (host-quickly.cmake), too.
is_built() {
    [[ -n $1 && -x $BUILD_DIR/bin/$PROGRAM_BUILT ]] || return
    same_stamp "$1" "$2" || { [[ -n ${CI:-} ]] && same_stamp "$1" "$2"$'\n'quickly; }
}

# build_host STAMP|"": an empty stamp (a user's source may change) always asks ninja.
build_host() {
    local stamp=$1 text log=$CACHE/logs/$BUILD_NAME-${HOME_DIR##*/}.log
    text="source $SOURCE_HASH"$'\n'"flags ${FLAGS[*]}"$'\n'"targets ${TARGETS[*]}"
    [[ -z $ARCHS ]] || text+=$'\n'"archs $(sha256sum <"$ARCHS")"
    is_built "$stamp" "$text" && return
    need_packages cmake:cmake ninja:ninja-build g++:g++ git:git
    [[ -z $TARGET ]] || need_packages aarch64-linux-gnu-g++:g++-aarch64-linux-gnu
    take_lock "$HOME_DIR/$BUILD_NAME.lock" "llama.cpp"
    is_built "$stamp" "$text" && return
    mkdir -p "$BUILD_DIR"
    if [[ -n ${CI:-} && -n $ARCHS && -n $stamp ]]; then
        FLAGS=("${FLAGS[@]/host-archs.cmake/host-quickly.cmake}") TAKES="5 minutes"
        text+=$'\n'quickly
        cp "$RKNPU2_ROOT/scripts/host-quickly.cmake" "$HOME_DIR/"
    fi
    [[ -z $ARCHS ]] || cmp -s "$ARCHS" "$HOME_DIR/host-archs.cmake" || cp "$ARCHS" "$HOME_DIR/host-archs.cmake"
    [[ -x $BUILD_DIR/bin/$PROGRAM_BUILT ]] || need_space "$BUILD_DIR" 150 "building llama.cpp"
    run_logged "configuring llama.cpp" "$log" progress_none cmake -G Ninja -S "$SOURCE_DIR" -B "$BUILD_DIR" "${FLAGS[@]/#/-D}" ||
        die_of_log "configuring llama.cpp" "$log" "$BUILD_DIR"
    run_logged "building llama.cpp ($TAKES on two cores)" "$log" progress_ninja ninja -C "$BUILD_DIR" "${TARGETS[@]}" ||
        die_of_log "building llama.cpp" "$log" "$BUILD_DIR"
    [[ -z $stamp ]] || write_stamp "$stamp" "$text"
}

# A user's own build: it must be one, and it tells its source when that is not given.
use_own_build() {
    BUILD_DIR=$(cd "$LLAMA_BUILD_DIR" 2>/dev/null && pwd) || die "there is no folder $LLAMA_BUILD_DIR"
    [[ -x $BUILD_DIR/bin/llama-completion ]] || die "$BUILD_DIR is not a build of llama.cpp with its tools (no bin/llama-completion)"
    [[ -n $LLAMA_DIR || ! -f $BUILD_DIR/CMakeCache.txt ]] ||
        LLAMA_DIR=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$BUILD_DIR/CMakeCache.txt")
    [[ -n $LLAMA_DIR ]] || die "$BUILD_DIR does not tell its source: set RKNPU2_LLAMA_DIR to it, or add --llama-dir"
}

use_own_source() {
    SOURCE_DIR=$(cd "$LLAMA_DIR" 2>/dev/null && pwd) || die "there is no folder $LLAMA_DIR"
    check_source "$SOURCE_DIR"
    SOURCE_HASH=own
    HOME_DIR=$CACHE/host/own-$(sha256sum <<<"$SOURCE_DIR" | cut -c1-12)
}

main() {
    local what wants_build=0
    parse_options "$@"
    find_cache
    CACHE=$REPLY
    HOME_DIR=$CACHE/host/ggml-$GGML_VERSION
    [[ -z $LLAMA_BUILD_DIR ]] || use_own_build
    [[ -z $TARGET ]] || LLAMA_BUILD_DIR= # it is this machine's, and has told its source
    if [[ -n $LLAMA_DIR ]]; then use_own_source; else obtain_source; fi

    ((${#PRINT[@]})) || wants_build=1
    [[ " ${PRINT[*]} " != *--b* ]] || wants_build=1
    if [[ -z $LLAMA_BUILD_DIR ]]; then
        choose_target
        BUILD_DIR=$HOME_DIR/$BUILD_NAME
        if ((wants_build && !SOURCE_ONLY)); then
            if [[ -n $LLAMA_DIR ]]; then build_host ""; else build_host "$HOME_DIR/$BUILD_NAME.stamp"; fi
        fi
    fi
    for what in "${PRINT[@]}"; do
        case $what in
            --source-dir) printf '%s\n' "$SOURCE_DIR" ;;
            --build-dir) printf '%s\n' "$BUILD_DIR" ;;
            --bin-dir) printf '%s\n' "$BUILD_DIR/bin" ;;
        esac
    done
    ((${#PRINT[@]})) || say "llama.cpp: source $SOURCE_DIR$( ((SOURCE_ONLY)) || printf ', programs %s' "$BUILD_DIR/bin")"
}

main "$@"
