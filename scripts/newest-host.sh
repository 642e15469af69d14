#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# newest-host.sh - tries the newest prebuilt host that npm has with the plug-in of build/release: is it new, does it fit?
#
#   scripts/newest-host.sh [--version VERSION]
#
#   --version VERSION  this version of @node-llama-cpp/linux-x64 (or -arm64) instead of the newest
#   --help
#
# The last line says it: known; fits, with its ggml and layout; or the line with which the plug-in refused it (what moved), or the test
# that failed. Exit code 0 unless it does not fit. Needs node and npm; what is missing of the build, of llama.cpp and of the model is made first.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=
while (($#)); do
    case $1 in
        --version) need_value "$@" && VERSION=$2 && shift ;;
        --help | -h) usage && exit 0 ;;
        *) die "unknown option $1; --help lists them" ;;
    esac
    shift
done

# newest: REPLY is the newest version of the package.
newest() {
    REPLY=$(npm view "$PACKAGE" version 2>/dev/null || true)
    [[ -n $REPLY ]] || die "npm does not tell the versions of $PACKAGE: there is no network, or the package is gone"
}

# obtain FOLDER: unpacks the package there; REPLY is the folder of its libraries. npm compares the hash with the registry's.
obtain() {
    local folder=$1 log=$1/log
    (cd "$folder" && npm pack --silent "$PACKAGE@$VERSION" >"$log" 2>&1 && tar -xzf ./*.tgz) ||
        die_of_log "fetching $PACKAGE $VERSION" "$log" "$folder"
    REPLY=$(dirname "$(find "$folder/package/bins" -name llama-addon.node | head -n 1)")
}

need_packages node:nodejs npm:npm
case $(uname -m) in
    x86_64) PACKAGE=@node-llama-cpp/linux-x64 ;;
    aarch64) PACKAGE=@node-llama-cpp/linux-arm64 ;;
    *) die "there is no package for $(uname -m)" ;;
esac
if [[ -z $VERSION ]]; then
    newest
    VERSION=$REPLY
fi
if grep -F "$PACKAGE,$VERSION," "$RKNPU2_ROOT/tests/e2e/prebuilt_hosts.csv" >/dev/null; then
    say "known: $PACKAGE $VERSION is among the tested hosts"
    exit 0
fi
build_plugin
export RKNPU2_E2E_BIN_DIR=$REPLY RKNPU2_E2E_BUILD_DIR=$RKNPU2_ROOT/build/release
RKNPU2_E2E_MODEL=$("$RKNPU2_ROOT/scripts/model.sh")
export RKNPU2_E2E_MODEL
make_temp "${TMPDIR:-/tmp}"
TEMP=$REPLY
obtain "$TEMP"
export RKNPU2_E2E_HOST=$REPLY
if python3 "$RKNPU2_ROOT/tests/e2e/test_hosts.py" Named >"$TEMP/log" 2>&1; then
    found=$(grep -o -m 1 'found: .*' "$TEMP/log" || true)
    say "new: $PACKAGE $VERSION fits (${found#found: }); add it to tests/e2e/prebuilt_hosts.csv and its ggml to src/ggml/host/releases.hpp"
    exit 0
fi
tail -n 40 "$TEMP/log" >&2
refusal=$(grep -o -m 1 'ggml-rknpu2: not loaded: .*' "$TEMP/log" || true)
failed=$(grep -m 1 '^FAIL: ' "$TEMP/log" || true)
die "$PACKAGE $VERSION does not fit: ${refusal:-${failed:-see above}}"
