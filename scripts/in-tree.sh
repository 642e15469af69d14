#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# in-tree.sh - makes this project a backend of a llama.cpp (or ggml) source tree: ggml/src/ggml-rknpu2, -DGGML_RKNPU2=ON.
#
#   scripts/in-tree.sh DIR           DIR is the tree; with ggml/src in it
#   scripts/in-tree.sh --undo DIR
#   --help
#
# A link to this checkout and two lines are all: one in ggml/src/CMakeLists.txt, so that the folder is built, and one in
# ggml/src/ggml-backend-reg.cpp, so that programs find the plug-in beside themselves without GGML_BACKEND_PATH. A tree that
# has them stays as it is. Then, in DIR:
#
#   cmake -B build -DGGML_RKNPU2=ON -DGGML_BACKEND_DL=ON -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF && cmake --build build

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CMAKE_LINE='ggml_add_backend(RKNPU2)'
CMAKE_AFTER='^ggml_add_backend(RPC)'
LOAD_LINE='    ggml_backend_load_best("rknpu2", silent, dir_path);'
LOAD_AFTER='^ *ggml_backend_load_best("rpc", silent, dir_path);'

# add_line FILE LINE AFTER: LINE below the one line that matches AFTER, unless FILE has it.
add_line() {
    ! grep -qxF -- "$2" "$1" || return 0
    [[ $(grep -c -- "$3" "$1") == 1 ]] || die "$1 has no single line like ${3#^}: this ggml is laid out differently; add ${2##* } by hand"
    sed -i "/$3/a\\
$2" "$1"
}

remove_line() {
    local text
    text=$(grep -vxF -- "$2" "$1") || die "$1 would be empty"
    printf '%s\n' "$text" >"$1"
}

UNDO=0
TREE=
while (($#)); do
    case $1 in
        --undo) UNDO=1 ;;
        --help | -h) usage && exit 0 ;;
        -*) die "unknown option $1; --help lists them" ;;
        *) TREE=$1 ;;
    esac
    shift
done
[[ -n $TREE ]] || die "name the source tree of llama.cpp; --help explains it"
GGML=$TREE/ggml/src
[[ -f $GGML/CMakeLists.txt && -f $GGML/ggml-backend-reg.cpp ]] || die "$TREE is not a source tree of llama.cpp (no ggml/src/ggml-backend-reg.cpp)"
LINK=$GGML/ggml-rknpu2

if ((UNDO)); then
    [[ ! -L $LINK ]] || rm "$LINK"
    remove_line "$GGML/CMakeLists.txt" "$CMAKE_LINE"
    remove_line "$GGML/ggml-backend-reg.cpp" "$LOAD_LINE"
    say "$TREE is without ggml-rknpu2 again"
    exit
fi
if [[ -e $LINK || -L $LINK ]]; then
    [[ $(readlink -f "$LINK") == "$RKNPU2_ROOT" ]] || die "$LINK is there and is not this checkout: remove it first"
else
    ln -s "$RKNPU2_ROOT" "$LINK"
fi
add_line "$GGML/CMakeLists.txt" "$CMAKE_LINE" "$CMAKE_AFTER"
add_line "$GGML/ggml-backend-reg.cpp" "$LOAD_LINE" "$LOAD_AFTER"
say "ready: cmake -S $TREE -B $TREE/build -DGGML_RKNPU2=ON -DGGML_BACKEND_DL=ON -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF"
