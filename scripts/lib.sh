# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared helpers: source this file, do not run it.
#
# Conventions. Everything a person reads goes to stderr, so that stdout carries only what a caller wants (a path, the
# generated text). A failure is one line that says what happened and what to do, then exit 1. Whatever lands in the cache is
# made in a temporary folder beside its place, verified, and renamed: an interrupted script never leaves a half-made file
# under a final name. A function that returns a value sets REPLY.

set -euo pipefail

PROGRAM=${0##*/}
RKNPU2_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TEMP_DIRS=()
LOCK_FDS=()

say() { printf '%s\n' "$*" >&2; }

die() {
    printf '%s: error: %s\n' "$PROGRAM" "$*" >&2
    exit 1
}

# Prints the comment at the head of the running script, which is its manual.
usage() { awk 'NR == 1 || /^# SPDX-/ { next } { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# need_value OPTION [VALUE...]: the option must be followed by something.
need_value() { (($# >= 2)) || die "$1 needs a value; --help explains it"; }

# Only the script itself removes them: a child that is killed in its first moments still has its parent's traps.
remove_temp_dirs() {
    if ((BASHPID == $$ && ${#TEMP_DIRS[@]})); then rm -rf -- "${TEMP_DIRS[@]}"; fi
}

# A script that ends while a command runs (Ctrl-C) must not leave the one behind that shows its progress.
WATCHER=
at_exit() {
    if ((BASHPID == $$)) && [[ -n $WATCHER ]]; then kill "$WATCHER" 2>/dev/null || true; fi
    remove_temp_dirs
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# make_temp PARENT: REPLY is a new folder in PARENT, removed when the script ends.
make_temp() {
    REPLY=$(mktemp -d "$1/.tmp.XXXXXX") || die "cannot write in $1: free some space there or change its owner"
    TEMP_DIRS+=("$REPLY")
}

# --- The cache ---------------------------------------------------------------------------------------------------------

# REPLY is the cache folder, which exists and can be written.
find_cache() {
    local home=${HOME:-}
    [[ -n $home ]] || home=$(getent passwd "$(id -u)" | cut -d: -f6)
    REPLY=${RKNPU2_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/ggml-rknpu2}
    [[ $REPLY == /* ]] || REPLY=$PWD/$REPLY
    mkdir -p "$REPLY/logs" 2>/dev/null || true
    [[ -w $REPLY && -w $REPLY/logs ]] ||
        die "cannot write to the cache folder $REPLY: set RKNPU2_CACHE to a folder that you can write to"
}

# take_lock FILE WHAT: only one script at a time works on WHAT. The lock ends with the script, however it ends.
take_lock() {
    local fd
    mkdir -p "$(dirname "$1")"
    exec {fd}>>"$1" || die "cannot write $1"
    LOCK_FDS+=("$fd")
    flock -n "$fd" && return
    say "waiting for another script that works on $2 ..."
    flock "$fd"
}

# Lets other scripts work again before this one ends.
drop_locks() {
    local fd
    for fd in "${LOCK_FDS[@]}"; do exec {fd}>&-; done
    LOCK_FDS=()
}

# write_stamp FILE TEXT: all or nothing. same_stamp FILE TEXT: is it exactly this?
write_stamp() {
    { printf '%s\n' "$2" >"$1.new"; } 2>/dev/null || die "cannot write $1: is the disk full?"
    mv -f "$1.new" "$1"
}
same_stamp() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# need_space DIR MEGABYTES WHAT
need_space() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    ((free >= $2)) || die "$3 needs $2 MB in $1, which has $free MB: free some space or set RKNPU2_CACHE to a folder elsewhere"
}

# verify_sha256 FILE HASH WHAT
verify_sha256() {
    local hash
    hash=$(sha256sum "$1" | cut -d' ' -f1)
    [[ $hash == "$2" ]] ||
        die "$3 is not the pinned one (sha256 ${hash:0:16}..., expected ${2:0:16}...): nothing was kept; run this again, and ask what serves your packages if it repeats"
}

# --- Long commands -----------------------------------------------------------------------------------------------------

# Progress functions print a few words, given the log. They must be quick and may print nothing.
progress_none() { :; }
progress_ninja() { grep -oE '^\[[0-9]+/[0-9]+\]' "$1" | tail -n 1; }
progress_download() { find "$DOWNLOAD_DIR" -type f -size +1M -printf '%s\n' | sort -n | tail -n 1 | awk '{ printf "%d MB", $1 / 1e6 }'; }

# Prints progress until it is killed or its parent is gone: one line rewritten on a terminal, else a line when it changed.
watch_progress() {
    local label=$1 log=$2 progress=$3 interval=5 text last=''
    exec </dev/null >/dev/null
    # What outlives us by a moment (sleep) must hold neither a lock nor our caller's pipe.
    drop_locks
    [[ -t 2 ]] && interval=1
    while sleep "$interval" 2>/dev/null && kill -0 $$ 2>/dev/null; do
        text=$("$progress" "$log" 2>/dev/null || true)
        if [[ -t 2 ]]; then
            printf '\r\033[K  %s: %s' "$label" "$text" >&2
        elif [[ $text != "$last" ]]; then
            say "  $label: $text"
        fi
        last=$text
    done
}

# run_logged LABEL LOG PROGRESS COMMAND...: runs COMMAND with its output in LOG; returns its status.
run_logged() {
    local label=$1 log=$2 progress=$3 status=0
    shift 3
    say "$label ..."
    : >"$log" || die "cannot write $log: is the disk full?"
    watch_progress "$label" "$log" "$progress" &
    WATCHER=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$WATCHER" 2>/dev/null || true
    wait "$WATCHER" 2>/dev/null || true
    WATCHER=
    [[ -t 2 ]] && printf '\r\033[K' >&2
    return "$status"
}

# REPLY is LOG, or a copy that stays if LOG goes with a temporary folder.
lasting_log() {
    local dir
    REPLY=$1
    for dir in "${TEMP_DIRS[@]}"; do
        [[ $1 == "$dir"/* ]] || continue
        REPLY=$(mktemp "${TMPDIR:-/tmp}/ggml-rknpu2-XXXXXX.log") && cp "$1" "$REPLY" && return 0
        rm -f -- "$REPLY"
        REPLY=$1
    done
}

# die_of_log WHAT LOG DIR: the one line for a command that failed, from its log and the disk that it wrote to.
die_of_log() {
    local what=$1 log dir=$3 free lines
    lasting_log "$2"
    log=$REPLY
    free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
    if grep -qi 'no space left on device\|ENOSPC' "$log" || ((free < 64)); then
        die "$what: the disk is full ($free MB left in $dir): free some space or set RKNPU2_CACHE to a folder elsewhere, then run this again"
    fi
    if grep -qE 'DO NOT MATCH THE HASHES|EOFError|[Nn]ot a gzip file|BadZipFile|IncompleteRead|Connection broken|EINTEGRITY' "$log" &&
        ! grep -q 'NewConnectionError' "$log"; then
        die "$what: the download arrived damaged: run this again (log: $log)"
    fi
    if grep -qE 'CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|certificate verification failed' "$log"; then
        die "$what: the server's certificate is not trusted here: tell the client of your proxy's (for pip: PIP_CERT), then run this again (log: $log)"
    fi
    if grep -qE 'ConnectionError|ConnectTimeout|ReadTimeout|Name or service not known|name resolution|Connection refused|Network is unreachable|Could not resolve|from versions: none|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH' "$log"; then
        die "$what: no network, or the package index cannot be reached: connect, then run this again (log: $log)"
    fi
    lines=$(grep -v '^\[[0-9]*/' "$log" | grep -iE 'error|FAILED|undefined reference|Killed' | tail -n 8) || lines=$(tail -n 3 "$log")
    [[ -z $lines ]] || printf '    %s\n' "${lines//$'\n'/$'\n    '}" >&2
    die "$what failed; the whole log is $log"
}

# --- Packages ----------------------------------------------------------------------------------------------------------

# have ITEM: a program, a header or another file by its absolute path, or `pip`.
have() {
    case $1 in
        pip) python3 -m pip --version >/dev/null 2>&1 ;;
        /*) [[ -e $1 || -e ${1/#\/usr\//\/usr\/local\/} ]] ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# need_packages ITEM:PACKAGE...: installs the Debian packages of the items that are missing, or prints how.
need_packages() {
    local pair missing=() sudo=()
    for pair in "$@"; do
        have "${pair%:*}" || missing+=("${pair##*:}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null 2>&1 ||
        die "missing, by the names of Debian's packages: ${missing[*]}; install them with your package manager, then run this again"
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || die "missing programs or headers; run: sudo apt-get install -y ${missing[*]}"
        sudo=(sudo -n)
    fi
    apt_install "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -- "${missing[@]}"
    for pair in "$@"; do
        have "${pair%:*}" || die "${pair%:*} is still missing after apt-get installed ${pair##*:}: install it by hand, then run this again"
    done
}

# apt_install COMMAND... -- PACKAGE...: COMMAND is apt-get as this user may run it.
apt_install() {
    local apt=() log
    while [[ $1 != -- ]]; do
        apt+=("$1")
        shift
    done
    shift
    find_cache
    log=$REPLY/logs/apt.log
    run_logged "updating the package lists" "$log" progress_none "${apt[@]}" update || die_of_log "apt-get update" "$log" /
    run_logged "installing $*" "$log" progress_none "${apt[@]}" install -y --no-install-recommends "$@" ||
        die_of_log "apt-get install -y $*" "$log" /
}

# pip_download LABEL SPEC HASH DIR [pip options]: REPLY is the file, verified, in DIR. pip needs no venv for that.
pip_download() {
    local label=$1 spec=$2 hash=$3 dir=$4 log files
    shift 4
    need_packages python3:python3 pip:python3-pip
    find_cache
    log=$REPLY/logs/download-${spec%%=*}.log
    mkdir -p "$dir/pip" "$dir/out"
    DOWNLOAD_DIR=$dir
    run_logged "$label" "$log" progress_download env TMPDIR="$dir/pip" PIP_DISABLE_PIP_VERSION_CHECK=1 \
        python3 -m pip download --no-cache-dir --progress-bar off --no-deps --retries 2 --dest "$dir/out" "$@" "$spec" ||
        die_of_log "$label" "$log" "$dir"
    files=("$dir"/out/*)
    REPLY=${files[0]}
    verify_sha256 "$REPLY" "$hash" "${REPLY##*/}"
}

# --- Our own build -----------------------------------------------------------------------------------------------------

# configure_project PRESET NAME=VALUE...: runs cmake only when the build folder does not have these values yet.
configure_project() {
    local preset=$1 dir=$RKNPU2_ROOT/build/$1 setting options=() same=1 log
    shift
    [[ -f $dir/build.ninja ]] || same=0
    for setting in "$@"; do
        options+=("-D$setting")
        # The type between name and value is cmake's; compare what stands around it.
        ((same)) && sed -E 's/^([A-Za-z0-9_]+):[A-Z]+=/\1=/' "$dir/CMakeCache.txt" | grep -xF -- "$setting" >/dev/null || same=0
    done
    ((same)) && return
    mkdir -p "$dir"
    log=$dir/configure.log
    (cd "$RKNPU2_ROOT" && run_logged "configuring build/$preset" "$log" progress_none cmake --preset "$preset" "${options[@]}") ||
        die_of_log "cmake --preset $preset" "$log" "$dir"
}

# build_project PRESET [TARGET...]
build_project() {
    local preset=$1 dir=$RKNPU2_ROOT/build/$1 log=$RKNPU2_ROOT/build/$1/build.log targets=()
    shift
    (($#)) && targets=(--target "$@")
    (cd "$RKNPU2_ROOT" && run_logged "building build/$preset" "$log" progress_ninja cmake --build --preset "$preset" "${targets[@]}") ||
        die_of_log "the build of build/$preset" "$log" "$dir"
}

# Builds the plug-in, rknpu2-info and the simulator in build/release. REPLY is the folder of llama.cpp's programs.
build_plugin() {
    need_packages cmake:cmake ninja:ninja-build g++:g++ git:git pip:python3-pip \
        /usr/include/nlohmann/json.hpp:nlohmann-json3-dev /usr/include/CLI/CLI.hpp:libcli11-dev
    local bin
    bin=$("$RKNPU2_ROOT/scripts/host-llama.sh" --bin-dir)
    mkdir -p "$RKNPU2_ROOT/build"
    take_lock "$RKNPU2_ROOT/build/.lock" "the build folder"
    configure_project release RKNPU2_SIM_ONLY=OFF
    build_project release ggml-rknpu2 rknpu2-info rknnrt
    drop_locks
    REPLY=$bin
}

# --- The NPU -----------------------------------------------------------------------------------------------------------

# Is the vendor's kernel driver here? It is /dev/rknpu, or a DRM device whose driver is called RKNPU.
has_npu() {
    local driver
    [[ ! -e /dev/rknpu ]] || return 0
    for driver in /sys/class/drm/*/device/driver; do
        [[ ! -e $driver ]] || [[ $(basename "$(readlink -f "$driver")") != [Rr][Kk][Nn][Pp][Uu] ]] || return 0
    done
    return 1
}

# REPLY is the runtime to use: the caller's choice, else the NPU where there is one, else the simulator.
choose_runtime() {
    REPLY=${GGML_RKNPU2_RUNTIME:-}
    [[ -z $REPLY ]] || return 0
    if has_npu; then REPLY=auto; else REPLY=sim; fi
}
