#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test.sh - builds and runs the tests; from a fresh clone it first obtains all that they need.
#
#   scripts/test.sh [--quick | --all | --full] [--filter REGEX] [--preset NAME] [--list]
#
#   (no option)     what one runs every day: the tests of the plug-in, the simulator and the tools, random graphs, the default model
#   --quick         only the unit tests: needs llama.cpp's sources but neither its build nor a model
#   --all           what a change must pass (.ci/run): more models and types, the worst board, packages, test-backend-ops; then unit and
#                   simulator tests in asan, in tsan, and in rk3588 (AArch64 programs under QEMU); then lint. About an hour
#   --full          the long tests too: 10,000 requests of a server under faults, all of test-backend-ops, forty models of real widths,
#                   every reading of the board, the pages' slow commands, clang-tidy; hours
#   --filter REGEX  only tests whose name matches, in one preset; those of --all are searched, or those of --full
#   --preset NAME   only this preset (default: release)
#   --list          run nothing: print the names of the tests that would run, from the build folder as it is, and (the other parts)
#   --help
#
# Kinds of tests, as labels for ctest: unit, sim, e2e, backend-ops, package. The labels all and full mark tests that need that option;
# backend-ops and package need --all, too. docs/testing.md has the table.
# The last line counts all runs together: `N passed, N failed, N skipped`. Exit 1 when one failed or none passed.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODE=default
FILTER=
PRESET=
LIST=0
PASSED=0
FAILED=0
SKIPPED=0
FAILURES=() TARGETS=()
# Folders of tests that --all has in the release build alone, --full in all builds: programs around tables and JSON. To build and run them
# with sanitizers, or for QEMU, takes half as long as all else together.
RELEASE_ALONE="tools;bench"
# Folders whose tests are about numbers alone: no threads, no device, no files, nothing that another compiler makes differently.
NUMBERS="counters;matrix;plan"
# Flows in the precisions whose runs, recovery and threads are those of `balanced`: `fast` and `exact`. The release build has all.
OTHER_FLOWS='^Precisions/FlowTest\.[^/]*/(fast|exact)'

parse_options() {
    while (($#)); do
        case $1 in
            --quick) MODE=quick ;;
            --all) MODE=all ;;
            --full) MODE=full ;;
            --list) LIST=1 ;;
            --filter) need_value "$@" && FILTER=$2 && shift ;;
            --preset) need_value "$@" && PRESET=$2 && shift ;;
            --help | -h) usage && exit 0 ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        shift
    done
    local cmake_presets
    cmake_presets=$(grep -oE '"name": "[a-z0-9]+"' "$RKNPU2_ROOT/CMakePresets.json" | cut -d'"' -f4 | sort -u | grep -v '^base$' | xargs)
    [[ -z $PRESET || " $cmake_presets " == *" $PRESET "* ]] || die "no preset $PRESET; there are: $cmake_presets"
    # Who names a test wants it, whichever option it needs.
    [[ -z $FILTER || $MODE != default ]] || MODE=all
    choose_labels
}

# LABELS is what ctest takes in this mode for the release build (or that of --preset), PARTS what runs after it.
choose_labels() {
    LABELS=() PARTS=()
    case $MODE in
        quick) LABELS=(-L '^unit$' -LE '^(all|full)$') ;;
        default) LABELS=(-LE '^(all|full|package|backend-ops)$') ;;
        all) LABELS=(-LE '^full$') ;;
    esac
    [[ $MODE != all && $MODE != full || -n $PRESET$FILTER ]] || PARTS=(asan tsan rk3588 lint)
}

obtain_all() {
    need_packages cmake:cmake ninja:ninja-build g++:g++ git:git pip:python3-pip \
        /usr/include/nlohmann/json.hpp:nlohmann-json3-dev /usr/include/CLI/CLI.hpp:libcli11-dev \
        /usr/include/gtest/gtest.h:libgtest-dev /usr/include/gmock/gmock.h:libgmock-dev
    SETTINGS=(RKNPU2_TESTS=ON "RKNPU2_LLAMA_DIR=$("$RKNPU2_ROOT/scripts/host-llama.sh" --source-dir)" RKNPU2_LEFT_OUT_TESTS=)
    [[ $MODE != all && $MODE != full ]] || SETTINGS+=(RKNPU2_WERROR=ON)
    [[ -z ${CI:-} ]] || SETTINGS+=(RKNPU2_PRECOMPILED=ON)
    [[ $MODE != quick ]] || return 0
    need_packages pkg-config:pkg-config /usr/lib/python3/dist-packages/wheel:python3-wheel
    [[ $MODE != full ]] || (need_packages mmdebstrap:mmdebstrap systemd-nspawn:systemd-container) ||
        say "going on without a clean root: its test is skipped"
    SETTINGS+=("RKNPU2_LLAMA_BIN_DIR=$("$RKNPU2_ROOT/scripts/host-llama.sh" --bin-dir)")
    SETTINGS+=("RKNPU2_MODEL=$("$RKNPU2_ROOT/scripts/model.sh")")
    [[ $MODE != full ]] || SETTINGS+=("RKNPU2_OLDER_BIN_DIR=$("$RKNPU2_ROOT/scripts/host-llama.sh" --older --bin-dir)")
    obtain_prebuilt_hosts
    obtain_python_hosts
}

# Hosts that others have built come by npm; the test of one that cannot be had is skipped. Arguments: which, else those that are tested.
obtain_prebuilt_hosts() {
    local which=("$@")
    (($# > 0)) || [[ $MODE != default ]] || which=(3.14.5 3.16.2 3.19.1 3.22.1)
    "$RKNPU2_ROOT/scripts/prebuilt_hosts.py" "${which[@]}" >&2 ||
        say "going on without some hosts that others have built: their tests are skipped"
}

obtain_python_hosts() {
    local which=()
    case $MODE in
        default) which=(1.5.1) ;;
        all) which=(1.5.1 1.4.1) ;; # the others are compiled
    esac
    "$RKNPU2_ROOT/scripts/python_hosts.py" "${which[@]}" >&2 || say "going on without some hosts of pip: their tests are skipped"
}

# count_junit FILE: adds the file's tests to the totals. A test that ctest could not start is a failure, not a skip.
# The end of what a failed test said is kept for the end of the run: hours of output may lie between.
count_junit() {
    local passed failed skipped failures failure
    {
        read -r passed failed skipped
        mapfile -d '' -t failures
    } < <(python3 - "$1" <<'PYTHON'
import sys, xml.etree.ElementTree as tree

counts, failed = {"passed": 0, "failed": 0, "skipped": 0}, []
for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    skip = case.find("skipped")
    why = skip.get("message", "") if skip is not None else ""
    status = case.get("status")
    result = "passed" if status == "run" else "failed"
    if status == "disabled" or (status == "notrun" and why.startswith("SKIP_")):
        result = "skipped"
    counts[result] += 1
    if result == "failed":
        said = case.findtext("system-out", "").splitlines()
        failed.append("\n".join([case.get("name"), *("    " + line[:200] for line in said[-20:])]))
print(*counts.values())
print(*failed, sep="\0", end="")
PYTHON
    )
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    for failure in "${failures[@]}"; do FAILURES+=("$PRESET_NOW: $failure"); done
    JUNIT_FAILED=$failed
}

# run_tests PRESET [ctest options]: builds, runs, counts.
run_tests() {
    local status=0 junit
    PRESET_NOW=$1
    shift
    make_temp "${TMPDIR:-/tmp}"
    junit=$REPLY/junit.xml
    mkdir -p "$RKNPU2_ROOT/build"
    take_lock "$RKNPU2_ROOT/build/.lock" "the build folder"
    configure_project "$PRESET_NOW" "${SETTINGS[@]}"
    build_project "$PRESET_NOW" ${TARGETS[@]+"${TARGETS[@]}"}
    drop_locks # some tests run scripts that build
    say "testing build/$PRESET_NOW ..."
    # Tests say themselves how many cores they take (PROCESSORS) or that they run alone (RUN_SERIAL).
    ctest --test-dir "$RKNPU2_ROOT/build/$PRESET_NOW" --output-on-failure --no-tests=ignore --parallel "$(nproc)" \
        --timeout "$TIMEOUT" --output-junit "$junit" ${FILTER:+-R "$FILTER"} "$@" || status=$?
    JUNIT_FAILED=0
    [[ ! -s $junit ]] || count_junit "$junit"
    if ((status && JUNIT_FAILED == 0)); then
        FAILED=$((FAILED + 1))
        FAILURES+=("$PRESET_NOW: ctest itself, with status $status")
    fi
}

# Strict sanitizers, unless the caller has options of his own; end-to-end tests would need a sanitized host.
run_sanitized() {
    # Nothing compiled is in the first two; the others are about size, another board, another precision or more numbers of the same
    # kind, and take minutes.
    local without='^(scripts|quality)\.|^test_sim_worst_board$|^test_ggml_random\.worst$|^DeviceMemoryPool\.AWeightMayFillADomain$'
    without+='|^LargeShapesTest\.(ThreeThousandRows|HeadsOfRkLlama)|^NpuAttentionTest\.ALongCacheTakesLittle'
    without+='|^Rotate\.EveryTierEqualsTheReference$|^CompactTest\.ARowOfAnyShape|^ColumnsTest\.|FlowTest\.TheBitsAreTheSameWithFewerThreads/'
    without+="|$OTHER_FLOWS|^GoldenKernels\.BitsAreTheSame|ActivationsTest\.SharedRows[^/]*/(naive|fast|exact)"
    without+='|^CompactTest\.ARowHasTheSameBits|^FourBits\.FeedbackIsThatOfThePaper|WideTest\.[^/]*/151936'
    without+='|^FewTokens\.IsNearToFloat64$|^ContextsTest\.FewerAreKeptAfterAFailureOfAttention$'
    local SETTINGS=("${SETTINGS[@]}")
    if [[ $MODE == full ]]; then
        without='^(scripts|quality)\.'
    else
        SETTINGS[2]+="$RELEASE_ALONE;$NUMBERS"
        TARGETS=(sim/all tests/all)
    fi
    ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1} \
        UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1} \
        run_tests asan -L '^(unit|sim)$' -E "$without"
    TARGETS=()
}

# What threads share: the pool, the device, the weight store.
run_threads() {
    local without=()
    [[ $MODE == full ]] || without=(-E "$OTHER_FLOWS|FlowTest\.TheBits[^/]*/compact")
    TARGETS=(test_base test_system test_config test_weights test_matmul_device test_attention test_sim test_sim_time test_ggml_random)
    TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1} run_tests tsan \
        -R '^(ThreadPool|Precisions/FlowTest|LoadTest|NpuDeviceTest|WeightStoreTest|TimingTest)\.|^(BehaviourTest|CheckerTest)\..*Threads|^DeviceLockTest\..*DuringAWait|^NpuAttentionTest\.(IsNear|TwoAtATime|ARow|WhatIs|Tokens|Failures)|^NpuLaneTest\.|^test_ggml_random\.graphs$' \
        "${without[@]}"
    TARGETS=()
}

# The plug-in, simulator and tools as a board runs them: built by the cross compiler, with the A76's instructions under QEMU.
# Prebuilt hosts run one model, and with --full one of its own; all else of hosts and models is the PC's. SETTINGS begins with what this build needs, too.
run_cross() {
    if ! (need_packages aarch64-linux-gnu-g++:g++-aarch64-linux-gnu qemu-aarch64:qemu-user \
        /usr/src/googletest/CMakeLists.txt:googletest); then
        say "skipped: the tests on AArch64 need the packages g++-aarch64-linux-gnu, qemu-user and googletest (see above)"
        SKIPPED=$((SKIPPED + 1))
        return
    fi
    local SETTINGS=("${SETTINGS[@]:0:3}") without=()
    [[ $MODE == quick ]] || obtain_prebuilt_hosts --machine aarch64
    [[ $MODE != full ]] ||
        SETTINGS+=("RKNPU2_CROSS_LLAMA_BIN_DIR=$("$RKNPU2_ROOT/scripts/host-llama.sh" --target rk3588 --bin-dir)")
    # Half of QEMU's time goes into these, which are about order, recovery or more numbers of the same kind: nothing in them is another
    # program here, and QEMU on a PC has the PC's order of memory. The PC's own builds have them.
    local slow='^(Precisions/FlowTest|Precisions/TogetherTest|PipelineTest|RecoverTest)\.|^Rotate\.EveryTierEqualsTheReference$'
    slow+='|^CompactTest\.ARow|^NpuAttentionTest\.(ALongCache|ChunksOfAll|BlocksThatHaveNoRoom|TwoAtATime)|^FewTokens\.AnyNumberOfTokens'
    slow+='|^CheckerTest\.TwoThreads$|^BehaviourTest\.OneContextOnTwoThreadsIsAnError$|^DeviceMemoryPool\.AWeightMayFillADomain$'
    if [[ $MODE != full && -z $FILTER ]]; then
        without=(-E "$slow")
        # Hardly anything in these folders is another program there.
        SETTINGS[2]+="$RELEASE_ALONE;$NUMBERS;base;calibration;config;fuzz;gguf;sim"
    fi
    local labels='unit|sim|package|e2e'
    [[ $MODE != full ]] || labels+='|full'
    run_tests rk3588 -L "^($labels)\$" "${without[@]}"
}

run_lint() {
    local line output
    make_temp "${TMPDIR:-/tmp}"
    output=$REPLY/lint
    local options=()
    [[ $MODE != full ]] || options=(--tidy)
    "$RKNPU2_ROOT/scripts/lint.sh" "${options[@]}" | tee "$output" || true
    line=$(tail -n 1 "$output")
    if [[ $line =~ ^lint:\ ([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        PASSED=$((PASSED + BASH_REMATCH[1])) FAILED=$((FAILED + BASH_REMATCH[2])) SKIPPED=$((SKIPPED + BASH_REMATCH[3]))
        ((BASH_REMATCH[2] == 0)) || FAILURES+=("lint: see above, or run scripts/lint.sh --tidy")
    else
        FAILED=$((FAILED + 1))
        FAILURES+=("lint: scripts/lint.sh did not finish")
    fi
}

# What ctest would run in the release build, or in that of --preset; then the parts that follow, each in parentheses.
list_tests() {
    local folder=$RKNPU2_ROOT/build/${PRESET:-release}
    [[ -f $folder/CTestTestfile.cmake ]] || die "$folder has no tests yet: run scripts/test.sh once without --list"
    ctest --test-dir "$folder" --show-only ${FILTER:+-R "$FILTER"} "${LABELS[@]}" | sed -n 's/^ *Test *#[0-9]*: //p'
    ((${#PARTS[@]} == 0)) || printf '(%s)\n' "${PARTS[@]}"
}

main() {
    local part
    parse_options "$@"
    if ((LIST)); then
        list_tests
        return
    fi
    # Threads of ggml's OpenMP that spin keep each other from running on a machine that does other things, too.
    export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
    TIMEOUT=1200
    [[ $MODE != full ]] || TIMEOUT=4000
    obtain_all
    if [[ $PRESET == rk3588 ]]; then
        run_cross
    else
        run_tests "${PRESET:-release}" "${LABELS[@]}"
    fi
    for part in ${PARTS[@]+"${PARTS[@]}"}; do
        case $part in
            asan) run_sanitized ;;
            tsan) run_threads ;;
            rk3588) run_cross ;;
            lint) run_lint ;;
        esac
    done
    ((${#FAILURES[@]} == 0)) || printf 'failed: %s\n' "${FAILURES[@]}"
    [[ $MODE != quick ]] ||
        say "--quick left out $SKIPPED unit tests, most of which need a built llama.cpp or a model, and all of the simulator, packages," \
            "end to end, sanitizers, AArch64 and lint: scripts/test.sh --all obtains what they need and runs them"
    printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
    ((FAILED == 0 && PASSED > 0))
}

main "$@"
