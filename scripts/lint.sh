#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lint.sh - checks of the sources themselves; no build is needed except for --tidy.
#
#   scripts/lint.sh [--fix] [--tidy]
#
#   --fix   first lets clang-format rewrite the files, adds the licence's line where it is missing, and writes the stubs that
#           new messages and blocks of commands need in the pages (tests/docs/stubs.py); each line that it prints is one to fill in
#   --tidy  clang-tidy too, with build/tidy/compile_commands.json (configured when it is missing; takes minutes)
#   --help
#
# Every check runs, whatever the others say. The last line counts them: `lint: N passed, N failed, N skipped`.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FIX=0
TIDY=0
PASSED=0
FAILED=0
SKIPPED=0

while (($#)); do
    case $1 in
        --fix) FIX=1 ;;
        --tidy) TIDY=1 ;;
        --help | -h) usage && exit 0 ;;
        *) die "unknown option $1; --help lists them" ;;
    esac
    shift
done

# list_files PATTERN...: our files, tracked or about to be, NUL-separated; without git (a tarball), all outside build/.
list_files() {
    cd "$RKNPU2_ROOT"
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard --deduplicate -- "$@"
    else
        local names=() pattern
        for pattern in "$@"; do names+=(-o -name "${pattern##*/}"); done
        find . -path ./build -prune -o -type f '(' "${names[@]:1}" ')' -print0
    fi | while IFS= read -r -d '' file; do
        [[ ! -f $file ]] || printf '%s\0' "$file"
    done
}

# check NAME COMMAND...: the command's output is shown only when it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        PASSED=$((PASSED + 1))
        say "lint: $name: passed"
    else
        FAILED=$((FAILED + 1))
        printf '%s\n' "$output" | tail -n 200 >&2
        say "lint: $name: FAILED"
    fi
}

# run_on PATTERNS -- COMMAND...: COMMAND on the files of these patterns; no file at all is fine.
run_on() {
    local patterns=()
    while [[ $1 != -- ]]; do
        patterns+=("$1")
        shift
    done
    shift
    cd "$RKNPU2_ROOT"
    list_files "${patterns[@]}" | xargs -0 -r "$@"
}

check_shell() { run_on '*.sh' .ci/run -- shellcheck -x; }
check_format() { run_on '*.cpp' '*.hpp' '*.h' '*.c' -- clang-format --dry-run -Werror; }
check_bytecode() { run_on '*.py' -- python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]'; }

# The licence's line, in all that is compiled or run. With --fix it is added.
check_licences() {
    run_on '*.cpp' '*.hpp' '*.h' '*.c' '*.inc' '*.cpp.in' '*.py' '*.sh' '*.cmake' '*CMakeLists.txt' '*.awk' .ci/run debian/rules \
        sim/launcher/rknnsim-run.in -- python3 "$RKNPU2_ROOT/scripts/spdx.py" "$@"
}

# Findings are errors by .clang-tidy; two lines of statistics a file are noise.
check_tidy() {
    cd "$RKNPU2_ROOT"
    list_files 'src/*.cpp' 'sim/*.cpp' 'tools/*.cpp' |
        xargs -0 -r -n 1 -P "$(nproc)" clang-tidy -p build/tidy --quiet 2>&1 | { grep -v '^[0-9]* warnings\? \(generated\|treated\)' || true; }
}

prepare_tidy() {
    need_packages clang-tidy:clang-tidy
    [[ ! -f $RKNPU2_ROOT/build/tidy/compile_commands.json ]] || return 0
    configure_project tidy
}

need_packages clang-format:clang-format shellcheck:shellcheck python3:python3 git:git
if ((FIX)); then
    check_licences --fix || true
    run_on '*.cpp' '*.hpp' '*.h' '*.c' -- clang-format -i
    python3 "$RKNPU2_ROOT/tests/docs/stubs.py" "$RKNPU2_ROOT" >&2
fi
check "clang-format" check_format
check "shellcheck" check_shell
check "licence lines" check_licences
check "python syntax" check_bytecode
check "layers" python3 "$RKNPU2_ROOT/scripts/check_layers.py" "$RKNPU2_ROOT"
check "layers self-test" python3 "$RKNPU2_ROOT/scripts/check_layers.py" --self-test
check "markdown lines" python3 "$RKNPU2_ROOT/scripts/check_markdown.py" "$RKNPU2_ROOT"
check "markdown self-test" python3 "$RKNPU2_ROOT/scripts/check_markdown.py" --self-test
check "pictures" python3 "$RKNPU2_ROOT/scripts/pictures.py" --check
if ((TIDY)); then
    prepare_tidy
    say "lint: clang-tidy runs ..."
    check "clang-tidy" check_tidy
else
    SKIPPED=1
    say "lint: clang-tidy: skipped (--tidy runs it)"
fi
printf 'lint: %d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
((FAILED == 0))
