#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# calibrate.sh - learns what the activations of a model are like, so that 8 bits on the NPU come nearer to exact arithmetic.
#
#   scripts/calibrate.sh MODEL [--text FILE] [--out FILE] [--chunks N] [--quick] [--again]
#
#   MODEL        a GGUF file
#   --text FILE  plain text of the kind the model is to read and write, 1100 tokens or more (default: share/calibration.txt,
#                four thousand tokens of prose, dialogue, code, tables and other languages)
#   --out FILE   where to write the statistics (default: a file of the model's own in the cache, where the plug-in finds it)
#   --chunks N   how many chunks of 512 tokens to read at most (default: 16)
#   --quick      without the second step
#   --again      even if the file is there
#   --is-done    only tell, by the exit status, whether the file is there and finished
#   --help
#
# Two runs of stock llama-perplexity. The first gathers the mean and the mean square of each input channel of each weight, and
# the second moments by which the precision `compact` rounds. The second measures, weight by weight, how much it matters for the
# model's output that the activations have one plane instead of two, and decides which weights get the second one (rknpu2-info
# MODEL shows the choice). Both take a minute or two for the default model on two cores with the simulator. The path of the file
# is on stdout.
#
# What the first step has found is used and kept at once. Stopped in the second step, the script begins there the next time.
#
# An encoder (a BERT that embeds texts) has no logits, so there is no second step, and every weight gets one plane: half the NPU's
# work, and about as near to exact arithmetic as two planes without statistics (docs/quality.md).

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL=
TEXT=$RKNPU2_ROOT/share/calibration.txt
OUT=
CHUNKS=16
QUICK=0
AGAIN=0
IS_DONE=0
KIND=
CAUSAL=
CONTEXT=

parse_options() {
    while (($#)); do
        case $1 in
            --text) need_value "$@" && TEXT=$2 && shift ;;
            --out) need_value "$@" && OUT=$2 && shift ;;
            --chunks) need_value "$@" && CHUNKS=$2 && shift ;;
            --quick) QUICK=1 ;;
            --again) AGAIN=1 ;;
            --is-done) IS_DONE=1 ;;
            --help | -h) usage && exit 0 ;;
            -*) die "unknown option $1; --help lists them" ;;
            *)
                [[ -z $MODEL ]] || die "one model at a time: $MODEL or $1"
                MODEL=$1
                ;;
        esac
        shift
    done
    [[ -n $MODEL ]] || die "which model? --help explains the options"
    [[ -r $MODEL && -f $MODEL ]] || die "there is no model $MODEL"
    [[ -s $TEXT && -r $TEXT ]] || die "there is no text $TEXT"
    [[ $CHUNKS =~ ^[1-9][0-9]{0,4}$ ]] || die "--chunks takes a number of at least 1, not '$CHUNKS'"
}

# REPLY is the model's file in the cache: by its name, which people read, and some of its content, which tells models apart.
default_output() {
    local name=${MODEL##*/} mark
    find_cache
    mark=$({ stat -L -c %s "$MODEL" && head -c 4194304 "$MODEL"; } | sha256sum)
    REPLY=$REPLY/statistics/${name%.gguf}-${mark:0:12}.rknpucal
}

progress_chunks() { tr ',' '\n' <"$1" | grep -oE '^\[[0-9]+\]' | tail -n 1 | awk -v all="$CHUNKS" '{ print "chunk", $1, "of at most", all }'; }
progress_weights() { grep -oE 'sensitivity: [0-9]+ of [0-9]+ weights' "$1" | tail -n 1; }

# Sets KIND, CAUSAL and CONTEXT to what rknpu2-info says of the model.
look_at_model() {
    local report
    report=$(env -u GGML_RKNPU2_STATISTICS "$RKNPU2_ROOT/build/release/bin/rknpu2-info" --json "$MODEL" 2>&1) || die "rknpu2-info: ${report#rknpu2-info: }"
    KIND=$(grep -m 1 -oP '^  "kind": "\K[^"]+' <<<"$report")
    CAUSAL=$(grep -m 1 -oP '^  "causal": \K\w+' <<<"$report")
    CONTEXT=$(grep -m 1 -oP '^  "context": \K\d+' <<<"$report")
    case $KIND in
        adapter) die "$MODEL is a LoRA adapter: statistics are made for the model that it belongs to" ;;
        projector) die "$MODEL is a multimodal projector, which no text goes through: it needs no statistics" ;;
        encoder-decoder) die "$MODEL has an encoder and a decoder, and llama-perplexity cannot read with such a model: it runs without statistics" ;;
    esac
}

# perplexity LABEL PROGRESS MADE NAME=VALUE... -- OPTION...: runs stock llama-perplexity, which has to leave the file MADE.
perplexity() {
    local label=$1 progress=$2 made=$3 log=$LOG_DIR/calibrate.log settings=() status=0 cause
    shift 3
    while [[ $1 != -- ]]; do
        settings+=("$1")
        shift
    done
    shift
    run_logged "$label" "$log" "$progress" env GGML_BACKEND_PATH="$PLUGIN" GGML_RKNPU2_RUNTIME="$RUNTIME" GGML_RKNPU2_PRECISION=balanced \
        "${settings[@]}" "$BIN/llama-perplexity" -m "$MODEL" -ngl 99 -f "$TEXT" --no-warmup -lv 4 "$@" || status=$?
    ((status)) || [[ ! -s $made ]] || return 0
    cause=$(grep -m 1 -E '^[0-9.]+ E |error:' "$log" | sed -E 's/^[0-9.]+ E //' || true)
    die "$label: ${cause:-llama-perplexity ended with status $status and no statistics}; its log: $log"
}

# REPLY is where the first step's statistics wait for the second: they are of one text and a number of chunks.
begun_file() {
    local mark
    mark=$({ cat "$TEXT" && echo "$CHUNKS"; } | sha256sum)
    REPLY=$OUT.${mark:0:12}.begun
}

# Does the file hold second moments as they are used? Before version 4 there were none, or of smaller blocks.
has_moments() { [[ -s $1 && $(od -An -tu4 -j8 -N4 "$1") -ge 4 ]]; }
# Does nothing wait for the second step?
is_done() {
    local begun
    has_moments "$OUT" || return 1
    for begun in "$OUT".*.begun; do [[ ! -e $begun ]] || return 1; done
}

# gather BEGUN TEMP: the first step. Its statistics are at once those of the model.
gather() {
    local begun=$1 made=$2/gathered
    # A chunk is one batch: what is not causal takes a text in one piece, and position embeddings end with the context.
    local chunk=512
    if [[ $KIND == encoder ]] && ((CONTEXT && CONTEXT < chunk)); then chunk=$CONTEXT; fi
    perplexity "reading the text" progress_chunks "$made" GGML_RKNPU2_STATISTICS=none GGML_RKNPU2_CALIBRATE="$made" \
        -- -c "$chunk" -b "$chunk" -ub "$chunk" --chunks "$CHUNKS"
    if [[ $KIND != encoder ]] && ((!QUICK)); then
        cp "$made" "$2/begun"
        mv -f "$2/begun" "$begun"
    fi
    mv -f "$made" "$OUT"
}

# measure BEGUN TEMP: the second step.
measure() {
    # The logits of 64 tokens, which make a graph of their own (-ub).
    local made=$2/measured part=64
    [[ $CAUSAL == true ]] || part=256
    perplexity "measuring what a second plane is worth" progress_weights "$made" GGML_RKNPU2_STATISTICS="$1" \
        GGML_RKNPU2_SENSITIVITY="$made" -- -c 256 -b 256 -ub "$part" --chunks 1
    mv -f "$made" "$OUT"
}

main() {
    local dir begun temp
    parse_options "$@"
    if [[ -z $OUT ]]; then
        default_output
        OUT=$REPLY
    fi
    if ((IS_DONE)); then
        if is_done; then exit 0; else exit 1; fi
    fi
    if is_done && ((!AGAIN)); then
        say "the statistics of ${MODEL##*/} are there already (--again makes new ones)"
        printf '%s\n' "$OUT"
        return
    fi
    dir=$(dirname "$OUT")
    mkdir -p "$dir" 2>/dev/null || true
    [[ -d $dir && -w $dir ]] || die "cannot write to $dir"
    build_plugin
    BIN=$REPLY PLUGIN=$RKNPU2_ROOT/build/release/bin/libggml-rknpu2.so
    look_at_model
    choose_runtime
    RUNTIME=$REPLY
    find_cache
    LOG_DIR=$REPLY/logs
    make_temp "$dir"
    temp=$REPLY
    begun_file
    begun=$REPLY
    if has_moments "$begun" && [[ -s $OUT ]] && ((!AGAIN && !QUICK)); then
        say "the text has been read already: going on where the last run was stopped"
    else
        rm -f "$OUT".*.begun
        gather "$begun" "$temp"
    fi
    if [[ $KIND == encoder ]]; then
        say "note: ${MODEL##*/} is an encoder: each of its weights gets one plane, since it has no logits to measure a second one by"
    elif ((!QUICK)); then
        measure "$begun" "$temp"
    fi
    rm -f "$OUT".*.begun
    say "written: $OUT"
    printf '%s\n' "$OUT"
}

main "$@"
