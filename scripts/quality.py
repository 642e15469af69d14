# SPDX-License-Identifier: MIT
"""Measures how far the next-token probabilities are from exact arithmetic: the program behind scripts/quality.sh.

    quality.py --check [options]    says what is wrong with the options, before anything is built
    quality.py [options] --model FILE --text FILE --cache DIR --bin-dir DIR --build-dir DIR --runtime NAME

Writes quality.md, quality.csv, quality.json and quality.svg into the output folder. Only Python's standard library is used.
"""

import argparse
import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import quality_plots
from quality_study import ALL_LAYERS, ATTENTIONS, CONTEXT, MODES, Case, Failure, Programs, Study
from report import machine, say, write_files

COLUMNS = ("mode", "ngl", "matrices", "extra_work", "chunks", "kld", "kld_error", "kld_99", "ppl", "ppl_error", "same_top", "same_top_error")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failure(f"{message}; --help explains the options")


def modes_of(text):
    modes = text.replace(",", " ").split()
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong or not modes:
        raise Failure(f"--modes: there is no mode '{' '.join(wrong)}'; there are: {' '.join(MODES)}")
    return list(dict.fromkeys(modes))


def layers_of(text):
    layers = text.replace(",", " ").split()
    wrong = [layer for layer in layers if not re.fullmatch(r"[0-9]{1,4}|all", layer)]
    if wrong or not layers:
        raise Failure(f"--layers takes numbers of layers and the word 'all', not '{' '.join(wrong)}'")
    return list(dict.fromkeys(layers))


def tokens(text):
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 128 <= int(text) <= 131072:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 128 to 131072 tokens")
    return int(text)


def readable(path, what):
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise Failure(f"cannot read the {what} {path}: {error.strerror}") from None
    if what == "statistics" and head != b"RKNP":
        raise Failure(f"{path} is not a file of activation statistics")
    if not head or (what == "model" and head != b"GGUF"):
        raise Failure(f"the {what} {path} is {'not a GGUF file' if head else 'empty'}")
    return os.path.abspath(path)


def parse(arguments):
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--chunks", default="16")
    parser.add_argument("--context", type=tokens, default=CONTEXT)
    parser.add_argument("--attention", choices=ATTENTIONS, default=ATTENTIONS[0])
    parser.add_argument("--modes", default="cpu naive fast balanced balanced+statistics exact")
    parser.add_argument("--layers", default="0 10 20 30")
    parser.add_argument("--out", default="bench-out")
    for name in ("--model", "--text", "--build-dir", "--bin-dir", "--cache", "--runtime", "--statistics"):
        parser.add_argument(name)
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", options.chunks):
        raise Failure(f"--chunks takes a number of at least 1, not '{options.chunks}'")
    options.chunks = int(options.chunks)
    options.modes, options.layers = modes_of(options.modes), layers_of(options.layers)
    for name in ("model", "text", "statistics"):
        if getattr(options, name) is not None:
            setattr(options, name, readable(getattr(options, name), name))
    if options.build_dir is not None and not os.path.isfile(os.path.join(options.build_dir, "bin", "libggml-rknpu2.so")):
        raise Failure(f"{options.build_dir} is not a build of the plug-in (no bin/libggml-rknpu2.so)")
    return options


def cases_of(modes, layers, model_layers):
    """The cases in order, each once; as many layers as the model has, or more, are all of it with the output head."""
    cases = []
    for mode in modes:
        for layer in ["0"] if mode == "cpu" else layers:
            ngl = ALL_LAYERS if layer == "all" or int(layer) >= model_layers else int(layer)
            cases.append(Case(mode, ngl))
    return list(dict.fromkeys(cases))


def describe_model(build_dir, model):
    """{layers, weight_matrices, vocabulary} by rknpu2-info."""
    command = [os.path.join(build_dir, "bin", "rknpu2-info"), model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        info = json.loads(done.stdout)
        embedding = next(tensor for tensor in info["tensors"] if tensor["name"] == "token_embd.weight")
        return {"layers": info["layers"], "weight_matrices": info["weight_matrices"], "vocabulary": max(embedding["shape"])}
    except (ValueError, KeyError, StopIteration):
        why = (done.stderr.strip().splitlines() or ["it printed no plan"])[-1]
        raise Failure(f"rknpu2-info cannot read {model}: {why}", shlex.join(command)) from None


class Clock:
    """Tells how far the study is, and when it may end: what remains takes as long as what was done."""

    def __init__(self, total):
        self.total, self.done, self.begin = total, 0, time.monotonic()

    def start(self, name, chunks):
        self.done += 1
        self.name, self.chunks = name, chunks
        say(f"[{self.done}/{self.total}] {name} ...")

    def chunk(self, number):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K  {self.name}: chunk {number} of {self.chunks}")
            sys.stderr.flush()

    def end(self, text):
        left = (time.monotonic() - self.begin) / self.done * (self.total - self.done)
        ending = "" if self.done == self.total else f"; about {max(1, round(left / 60))} min left"
        say(("\r\033[K" if sys.stderr.isatty() else "") + f"  {text}{ending}")


def measure(study, cases, again):
    """A row for each case; those that are known are not measured again."""
    with study.locked():
        if again:
            study.forget(cases)
        rows = {case: study.known(case) for case in cases}
        missing = [case for case in cases if rows[case] is None]
        if len(missing) < len(cases):
            say(f"{len(cases) - len(missing)} of {len(cases)} were measured before (--again repeats them)")
        if missing:
            clock = Clock(len(missing) + 1)
            clock.start("reference on all layers, the base", study.chunks)
            study.make_base(clock.chunk)
            clock.end("base is there")
            for case in missing:
                clock.start(str(case), study.chunks)
                row = rows[case] = study.measure(case, clock.chunk)
                clock.end(f"KLD {row['kld']:.6f} ± {row['kld_error']:.6f}, same top {row['same_top']:.2f} %, "
                          f"{row['matrices']} matrices, {row['seconds']:.0f} s")
        study.base.unlink(missing_ok=True)
    return list(rows.values())


# --- The report ---


def csv_text(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def table(rows, total):
    lines = ["| mode | `-ngl` | matrices on the NPU | extra work | mean KLD | 99 % KLD | perplexity | same top token |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        where = "-" if row["mode"] == "cpu" else f"{row['matrices']} of {total}"
        if row["mode"] == "reference":
            where = "- (float64 on the CPU)"
        extra = "-" if row["extra_work"] is None else f"{100 * row['extra_work']:.1f} %"
        lines.append(f"| {row['mode']} | {row['ngl']} | {where} | {extra} | {row['kld']:.6f} ± {row['kld_error']:.6f} | {row['kld_99']:.5f} "
                     f"| {row['ppl']:.3f} | {row['same_top']:.2f} ± {row['same_top_error']:.2f} % |")
    if rows:
        lines.append(f"| base (`reference`) | 99 | | | 0 | 0 | {rows[0]['base_ppl']:.3f} | 100 % |")
    return "\n".join(lines)


def device(rows):
    known = {row["simulated"] for row in rows if row["simulated"] is not None}
    return "NPU not used" if not known else "simulated NPU" if known == {True} else "real NPU" if known == {False} else "NPU partly simulated"


def counted_chunks(number):
    return f"{number} chunk" + ("" if number == 1 else "s")


def markdown(result):
    rows = result["rows"]
    dates = sorted({row["date"] for row in rows})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return "\n".join([
        f"# Distance from exact arithmetic: {result['model']}", "",
        f"{when}, {result['machine']}, {device(rows)}; {counted_chunks(result['chunks'])} of {result['context']} tokens of {result['text']}.",
        "KLD: divergence of the next-token distribution from that of `reference` (float64 sums of the dequantised weights) on the",
        "same file, in nats; ± is the standard error of the mean. `-ngl 99` is all layers and the output head; other values of",
        "`-ngl` count the head, too. Extra work: multiplications of the NPU for second planes of activations, when all rows go",
        "through all weights.", "", "```sh", result["command"], "```", "", table(rows, result["weight_matrices"]), "",
        "![KLD by mode, and against the number of matrices on the NPU](quality.svg)", ""])


def command_line(options):
    words = ["scripts/quality.sh", "--model", os.path.basename(options.model), "--text", os.path.basename(options.text),
             "--modes", " ".join(options.modes), "--layers", " ".join(options.layers), "--chunks", str(options.chunks),
             "--context", str(options.context), "--attention", options.attention]
    return shlex.join(words)


def report(options, model, study, rows):
    result = {"schema": 1, "model": os.path.basename(options.model), "text": os.path.basename(options.text),
              "machine": machine(), "chunks": options.chunks, "context": options.context, "weight_matrices": model["weight_matrices"],
              "command": command_line(options), "identity": study.identity, "rows": rows}
    title = f"{result['model']}, {counted_chunks(result['chunks'])}, {device(rows)}"
    return write_files(options.out, "quality", {
        "md": markdown(result), "csv": csv_text(rows), "json": json.dumps(result, indent=2) + "\n",
        "svg": quality_plots.draw(rows, result["weight_matrices"], title)})


def run(options):
    build = os.path.abspath(options.build_dir)
    library = os.path.join(build, "sim", "librknnrt.so") if options.runtime == "sim" else options.runtime
    programs = Programs(os.path.abspath(options.bin_dir), os.path.join(build, "bin", "libggml-rknpu2.so"), options.runtime,
                        library if os.path.isfile(library) else "")
    try:
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot write to {options.out}: {error.strerror}") from None
    model = describe_model(options.build_dir, options.model)
    cases = cases_of(options.modes, options.layers, model["layers"])
    study = Study(options.cache, programs, options.model, options.text, options.chunks, model["vocabulary"],
                  options.statistics, options.context, options.attention)
    rows = measure(study, cases, options.again)
    paths = report(options, model, study, rows)
    print(table(rows, model["weight_matrices"]))
    say("written: " + " ".join(paths))


def main(arguments):
    # A terminated study ends like an interrupted one: with the program that it runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = parse(arguments)
        if not options.check:
            run(options)
    except (Failure, OSError) as error:
        say(f"quality.sh: error: {error}")
        if getattr(error, "repeat", None):
            say(f"repeat with: {error.repeat}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
