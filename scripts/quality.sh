#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quality.sh - how far a model's next-token probabilities are from exact arithmetic, on the CPU backend and on the NPU.
#
#   scripts/quality.sh [--model FILE] [--text FILE] [--modes "..."] [--layers "..."] [--chunks N]
#                      [--context N] [--attention auto|npu|cpu] [--statistics FILE] [--out DIR] [--again]
#
#   --model FILE   a GGUF of yours (default: SmolLM2-135M-Instruct Q4_1, which is downloaded)
#   --text FILE    plain text, such as wiki.test.raw (default: English prose out of a Debian package)
#   --modes "..."  of: cpu (llama.cpp's own backend), naive fast balanced exact (precisions of the plug-in), reference (as a check
#                  of the measurement), fast+statistics balanced+statistics (with statistics of the activations);
#                  default: "cpu naive fast balanced balanced+statistics exact"
#   --layers "..." values of -ngl; the model's number of layers, or `all`, means all with the output head. llama.cpp counts the
#                  head: -ngl 10 is nine layers and the head. Default: "0 10 20 30". The mode cpu has no layers on the NPU
#   --chunks N     how many chunks of the text (default: 16)
#   --context N    tokens of a chunk (default: 512)
#   --attention W  where attention is computed, as GGML_RKNPU2_ATTENTION says (default: auto)
#   --statistics FILE  what scripts/calibrate.sh has made for the model (default: it is run when a mode needs it)
#   --out DIR      where quality.md, .csv, .json and .svg are written (default: bench-out)
#   --again        measures again what is known from before
#   --build-dir D  a build of the plug-in; default: build/release, which is brought up to date
#   --help
#
# The base is the precision `reference` on the same file: dequantised weights, sums in float64. Stock llama-perplexity compares
# probabilities with it (--kl-divergence). What was measured is kept in the cache, for the same bytes of model, text, plug-in and
# llama.cpp, so an interrupted run goes on where it was. A measurement of 16 chunks takes one to three minutes on two cores with
# the default model and the simulator; the base takes 25 MB a chunk on disk meanwhile. The table is on stdout.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL=
TEXT=
MODES="cpu naive fast balanced balanced+statistics exact"
STATISTICS=
BUILD_DIR=
ARGUMENTS=()

parse_options() {
    while (($#)); do
        case $1 in
            --model) need_value "$@" && MODEL=$2 ;;
            --text) need_value "$@" && TEXT=$2 ;;
            --build-dir) need_value "$@" && BUILD_DIR=$2 ;;
            --modes) need_value "$@" && MODES=$2 ;;
            --statistics) need_value "$@" && STATISTICS=$2 ;;
            --layers | --chunks | --context | --attention | --out) need_value "$@" ;;
            --again)
                ARGUMENTS+=("$1")
                shift
                continue
                ;;
            --help | -h) usage && exit 0 ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        ARGUMENTS+=("$1=$2")
        shift 2
    done
}

main() {
    local program=$RKNPU2_ROOT/scripts/quality.py bin
    parse_options "$@"
    need_packages python3:python3
    # Mistakes are told before anything is downloaded or built.
    python3 "$program" --check "${ARGUMENTS[@]}" || exit 1
    find_cache
    local cache=$REPLY
    if [[ -z $BUILD_DIR ]]; then
        build_plugin
        BUILD_DIR=$RKNPU2_ROOT/build/release
    fi
    bin=$("$RKNPU2_ROOT/scripts/host-llama.sh" --bin-dir)
    [[ -n $MODEL ]] || MODEL=$("$RKNPU2_ROOT/scripts/model.sh")
    [[ -n $TEXT ]] || TEXT=$("$RKNPU2_ROOT/scripts/model.sh" --text)
    if [[ -z $STATISTICS && $MODES == *+statistics* ]]; then
        STATISTICS=$("$RKNPU2_ROOT/scripts/calibrate.sh" "$MODEL")
    fi
    [[ -z $STATISTICS ]] || ARGUMENTS+=("--statistics=$STATISTICS")
    choose_runtime
    exec python3 "$program" "${ARGUMENTS[@]}" --model="$MODEL" --text="$TEXT" --cache="$cache" --bin-dir="$bin" \
        --build-dir="$BUILD_DIR" --runtime="$REPLY"
}

main "$@"
