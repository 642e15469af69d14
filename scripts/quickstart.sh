#!/usr/bin/env bash
# quickstart.sh - from a fresh clone to text that stock llama.cpp generated with its matrix multiplications on the NPU.
#
#   scripts/quickstart.sh [--prompt TEXT] [-n N] [--model FILE] [-- llama.cpp options]
#
#   --prompt TEXT  what to ask (default: "The capital of France is")
#   -n N           how many tokens to generate at most (default: 64)
#   --model FILE   a GGUF of yours (default: SmolLM2-135M-Instruct, which is downloaded)
#   --no-calibrate without statistics of the model's activations; otherwise scripts/calibrate.sh makes them once, for models
#                  of up to 500 MB (it takes a minute or two for the default model)
#   --             the rest goes to llama-completion as it is, for example: -- -ngl 10 --temp 0.8
#   --help
#
# It installs what lacks (with apt-get, if it may; else it prints the line to run), obtains and builds llama.cpp once, builds
# the plug-in, and runs. The first time takes 10 minutes on two cores, later ones seconds. Where there is no NPU, the
# simulator stands in for it; $GGML_RKNPU2_RUNTIME and the other settings (rknpu2-info lists them) decide otherwise.
# The text is on stdout; progress and the closing summary are on stderr.

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

# Statistics of the model's activations, which the plug-in finds by itself. Text comes without them, too.
calibrate() {
    ((CALIBRATE)) && [[ -z ${GGML_RKNPU2_STATISTICS:-} ]] || return 0
    if (($(stat -L -c %s "$MODEL") > 500000000)); then
        say "note: scripts/calibrate.sh $MODEL makes the NPU's results more exact; it takes a while for a model of this size"
    elif ! "$RKNPU2_ROOT/scripts/calibrate.sh" "$MODEL" >/dev/null; then
        say "note: going on without statistics of the activations"
    fi
}

# Runs the model; the text goes to our stdout, llama.cpp's log to a file.
generate() {
    local status=0 cause
    export GGML_BACKEND_PATH=$RKNPU2_ROOT/build/release/bin/libggml-rknpu2.so
    export GGML_RKNPU2_STATS=$TEMP/stats.json
    choose_runtime
    export GGML_RKNPU2_RUNTIME=$REPLY
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
    calibrate
    make_temp "${TMPDIR:-/tmp}"
    TEMP=$REPLY
    generate
    [[ -s $TEMP/stats.json ]] || die "the text was generated without the plug-in; llama.cpp's log says why: $LOG"
    "$RKNPU2_ROOT/build/release/bin/rknpu2-info" "$MODEL" --json >"$TEMP/info.json" 2>>"$LOG" ||
        say "note: rknpu2-info failed on $MODEL (see $LOG)"
    say ""
    python3 "$RKNPU2_ROOT/scripts/summary.py" "$TEMP/stats.json" "$TEMP/info.json" >&2
    say "$(printf '%10s  %s' log "$LOG")"
}

main "$@"
