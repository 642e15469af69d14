#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test_replay.sh PROGRAM - what a failure of a fuzz target looks like: one line with the command that repeats it, and the input.
set -uo pipefail
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ulimit -c 0
mkdir "$folder/corpus"
printf mended >"$folder/corpus/seed"

die() {
    echo "test_replay.sh: $*"
    exit 1
}

for word in aborted crash; do
    printf %s "$word" >"$folder/$word"
    said=$("$program" "$folder/$word" 2>&1) && die "$word is not found"
    [[ $said == *"Repeat with: $program $folder/$word --rounds 0"* ]] || die "$word is not named: $said"
done
"$program" "$folder/corpus" --rounds 0 >/dev/null || die "a sound corpus fails"
said=$("$program" "$folder/corpus" --seed 3 --save "$folder/saved" 2>&1) && die "no changed input is found"
[[ $said =~ "Repeat with: "([^$'\n']*) ]] || die "no line to repeat it: $said"
# shellcheck disable=SC2086 # it is a command
again=$(${BASH_REMATCH[1]} 2>&1) && die "${BASH_REMATCH[1]} does not fail"
[[ $again == *"does not hold"* ]] || die "it fails otherwise: $again"
[[ $("$program" "$folder/saved" --rounds 0 2>&1) == *"does not hold"* ]] || die "the saved input is not the failing one"
"$program" "$folder/empty" 2>/dev/null && die "no corpus is no failure"
echo "failures are seen and repeated"
