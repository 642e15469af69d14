#!/bin/sh
# SPDX-License-Identifier: MIT
# man_page.sh OUTPUT NAME SUMMARY VERSION [SUBCOMMAND]... -- PROGRAM... - makes OUTPUT, a compressed manual page, of what PROGRAM says
# when it is asked for --help. PROGRAM may have an emulator and its options before it.
set -eu

output=$1 name=$2 summary=$3 version=$4
awk_script=$(cd "$(dirname "$0")" && pwd)/man_page.awk
shift 4
subcommands=
while [ "$1" != -- ]; do
    subcommands="$subcommands $1"
    shift
done
shift

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$@" --help >"$folder/$name"
for subcommand in $subcommands; do
    "$@" "$subcommand" --help >"$folder/$name-$subcommand"
done
set -- "$folder/$name"
for subcommand in $subcommands; do set -- "$@" "$folder/$name-$subcommand"; done
awk -v name="$name" -v summary="$summary" -v version="$version" -f "$awk_script" "$@" >"$folder/page"
gzip -9n <"$folder/page" >"$folder/page.gz"
mv "$folder/page.gz" "$output"
