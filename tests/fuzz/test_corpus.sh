#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test_corpus.sh PROGRAM CORPUS - the seeds that are checked in are those that PROGRAM (make_corpus) makes.
set -euo pipefail
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$1" "$made"
checked_in=$(cd "$2" && find . -name 'seed-*' | sort)
[[ $checked_in == "$(cd "$made" && find . -type f | sort)" ]] ||
    { echo "other seeds than those of $2: $1 $2 makes them"; exit 1; }
while read -r seed; do
    cmp "$made/$seed" "$2/$seed"
done <<<"$checked_in"
echo "$(wc -l <<<"$checked_in") seeds are what make_corpus makes"
