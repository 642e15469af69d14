#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quickstart.sh - from a fresh clone to text that stock llama.cpp generated with its matrix multiplications on the NPU.
#
#   scripts/quickstart.sh [--prompt TEXT] [-n N] [--model FILE] [-- llama.cpp options]
#
#   --prompt TEXT  what to ask (default: "The capital of France is")
#   -n N           how many tokens to generate at most (default: 64)
#   --model FILE   a GGUF of yours (default: SmolLM2-135M-Instruct, which is downloaded)
#   --no-calibrate stop after the text; otherwise scripts/calibrate.sh improves the model's results for later runs, once, for
#                  models of up to 500 MB. You may stop it with Ctrl-C: the next run takes it up
#   --             the rest goes to llama-completion as it is, for example: -- -ngl 10 --temp 0.8
#   --help
#
# It installs what is missing (with apt-get, if it may; else it prints the line to run), obtains and builds llama.cpp once, builds
# the plug-in, and shows the text. The first text takes 10 minutes on two cores, later ones seconds. Without an NPU the
# simulator computes; $GGML_RKNPU2_RUNTIME and the other settings (rknpu2-info lists them) decide otherwise.
# The text is on stdout; progress and the summary are on stderr.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PROMPT="The capital of France is"
COUNT=64
MODEL=
CALIBRATE=1
LAYERS=(-ngl 99)
EXTRA=()

parse_options() {
    local option
    while (($#)); do
        case $1 in
            --prompt | -p) need_value "$@" && PROMPT=$2 && shift ;;
            -n) need_value "$@" && COUNT=$2 && shift ;;
            --model | -m) need_value "$@" && MODEL=$2 && shift ;;
            --no-calibrate) CALIBRATE=0 ;;
            --help | -h) usage && exit 0 ;;
            --)
                shift
                EXTRA=("$@")
                break
                ;;
            *) die "unknown option $1; --help lists them, and options of llama.cpp stand after --" ;;
        esac
        shift
    done
    [[ $COUNT =~ ^-?[0-9]+$ ]] || die "-n takes a number, not '$COUNT'"
    [[ -z $MODEL || -r $MODEL ]] || die "there is no model $MODEL"
    for option in "${EXTRA[@]}"; do
        case $option in -ngl | --gpu-layers | --n-gpu-layers) LAYERS=() ;; esac
    done
}

# look STATISTICS: REPLY says how many weights get a second plane with GGML_RKNPU2_STATISTICS=STATISTICS, and what that costs.
look() {
    REPLY=$(GGML_RKNPU2_STATISTICS=$1 "$RKNPU2_ROOT/build/release/bin/rknpu2-info" "$MODEL" --json 2>>"$LOG" | python3 -c 'import json, sys
info = json.load(sys.stdin)
share = round(100 * info["extra_work_prompt"])
print(info["weight_matrices_with_two_planes"], "of", info["weight_matrices_on_npu"], "weights need a second plane:", share, "% more work for a prompt")' 2>>"$LOG") ||
        REPLY="unknown, see $LOG"
}

# Makes statistics of the model's activations, which later runs find by themselves. The text is there already: nothing depends on this.
improve() {
    local before status=0 stopped=0
    ((CALIBRATE)) && [[ -z ${GGML_RKNPU2_STATISTICS:-} ]] || return 0
    if (($(stat -L -c %s "$MODEL") > 500000000)); then
        say "note: scripts/calibrate.sh $MODEL makes the NPU's results more exact; it takes a while for a model of this size"
        return
    fi
    if "$RKNPU2_ROOT/scripts/calibrate.sh" "$MODEL" --is-done; then return; fi
    look auto
    before=$REPLY
    say ""
    say "The text is done. Now the results of later runs are improved (scripts/calibrate.sh). Ctrl-C stops this, and the next run takes it up."
    trap 'stopped=1' INT
    "$RKNPU2_ROOT/scripts/calibrate.sh" "$MODEL" >/dev/null || status=$?
    trap 'exit 130' INT
    if ((stopped || status == 130)); then
        say "stopped: nothing is lost; scripts/quickstart.sh or scripts/calibrate.sh $MODEL takes it up"
    elif ((status)); then
        say "note: later runs go on without statistics of the activations"
    else
        look auto
        say "later runs are nearer to exact arithmetic (docs/quality.md), with less work:"
        say "$(printf '%10s  %s' before "$before")"
        say "$(printf '%10s  %s' now "$REPLY")"
    fi
}

# Runs the model; the text goes to our stdout, llama.cpp's log to a file.
generate() {
    local status=0 cause
    export GGML_BACKEND_PATH=$RKNPU2_ROOT/build/release/bin/libggml-rknpu2.so
    export GGML_RKNPU2_STATS=$TEMP/stats.json
    choose_runtime
    export GGML_RKNPU2_RUNTIME=$REPLY
    # This is here to show the NPU, also where a CPU would be faster.
    export GGML_RKNPU2_MATRICES=${GGML_RKNPU2_MATRICES:-npu}
    say ""
    say "> $PROMPT"
    # One turn with the model's own chat template, greedy, so that everyone reads the same text.
    "$BIN/llama-completion" -m "$MODEL" -p "$PROMPT" -n "$COUNT" --temp 0 --conversation --single-turn --no-display-prompt \
        "${LAYERS[@]}" "${EXTRA[@]}" 2>"$LOG" </dev/null || status=$?
    if ((status)); then
        # The first line of level E is nearest to the cause.
        cause=$(grep -m 1 -E '^[0-9.]+ E |error:' "$LOG" | sed -E 's/^[0-9.]+ E //' || true)
        die "llama-completion ended with status $status: ${cause:-no reason given}; its log: $LOG"
    fi
}

main() {
    parse_options "$@"
    find_cache
    LOG=$REPLY/logs/quickstart.log
    build_plugin
    BIN=$REPLY
    [[ -n $MODEL ]] || MODEL=$("$RKNPU2_ROOT/scripts/model.sh")
    make_temp "${TMPDIR:-/tmp}"
    TEMP=$REPLY
    generate
    [[ -s $TEMP/stats.json ]] || die "the text was generated without the plug-in; llama.cpp's log says why: $LOG"
    GGML_RKNPU2_MATRICES=auto "$RKNPU2_ROOT/build/release/bin/rknpu2-info" "$MODEL" --json >"$TEMP/info.json" 2>>"$LOG" ||
        say "note: rknpu2-info failed on $MODEL (see $LOG)"
    say ""
    python3 "$RKNPU2_ROOT/scripts/summary.py" "$TEMP/stats.json" "$TEMP/info.json" >&2
    say "$(printf '%10s  %s' log "$LOG")"
    improve
}

main "$@"
