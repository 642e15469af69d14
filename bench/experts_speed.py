#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares experts that the plug-in leaves to the CPU with llama.cpp's own -ngl 0: prompt and single tokens.

A model with experts is made of random blocks, large enough that they are nearly all of the work. One thread; each way is run in turn with stock
llama-bench, round after round, and of its many short repetitions the twelfth part that was fastest counts, so that a busy machine tells something, too.

  bench/experts_speed.py [--build build/release] [--type q4_0 q4_K q8_0] [--rounds 5] [--prompt 64]

Prints a table: speed as a share of -ngl 0 without the plug-in, the median of the rounds and the ratio of the best of all. `copies` is
GGML_RKNPU2_EXPERTS=cpu, `-ot` the same with llama.cpp's own override exps=CPU. What is not experts runs on the simulator there, which costs some tenths.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(ROOT, "scripts")
sys.path[:0] = [SCRIPTS, os.path.join(ROOT, "tests", "e2e")]

from report import machine, output_of, plain_environment  # noqa: E402


def make_model(path, kind):
    os.environ.setdefault("RKNPU2_E2E_MODEL", output_of(os.path.join(SCRIPTS, "model.sh")))  # for its tokenizer
    import made_models  # noqa: PLC0415: it reads that variable
    made_models.write_model(path, made_models.Sizes(512, 8, 2304, 16, 4, 4, kind))


def ways(options):
    """{name: (environment, arguments)}; the first is what the others are compared with."""
    plain = plain_environment()
    ours = dict(plain, GGML_BACKEND_PATH=os.path.join(os.path.abspath(options.build), "bin", "libggml-rknpu2.so"),
                GGML_RKNPU2_RUNTIME="sim", GGML_RKNPU2_STATISTICS="none", GGML_RKNPU2_EXPERTS="cpu")
    return {"-ngl 0": (plain, ["-ngl", "0"]), "copies": (ours, ["-ngl", "99"]), "-ot": (ours, ["-ngl", "99", "-ot", "exps=CPU"])}


def milliseconds(bench, model, way, arguments):
    environment, more = way
    command = [bench, "-m", model, "-t", "1", "-o", "json", *arguments, *more]
    text = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    samples = sorted(json.loads(text)[0]["samples_ns"])
    return samples[len(samples) // 12] / 1e6


def measure(options, kind, model):
    bench = os.path.join(options.bin_dir, "llama-bench")
    work = {f"prompt of {options.prompt}": ["-p", str(options.prompt), "-n", "0", "-r", "12"], "one token": ["-p", "0", "-n", "1", "-r", "150"]}
    for what, arguments in work.items():
        times = {name: [] for name in ways(options)}
        for _ in range(options.rounds):
            for name, way in ways(options).items():
                times[name].append(milliseconds(bench, model, way, arguments))
        first = times["-ngl 0"]
        for name in list(times)[1:]:
            ratios = [a / b for a, b in zip(first, times[name])]
            print(f"| {kind} | {what} | {name} | {statistics.median(ratios):.2f} | {min(first) / min(times[name]):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--bin-dir", help="programs of llama.cpp; default: what scripts/host-llama.sh built")
    parser.add_argument("--type", nargs="+", default=["q4_0", "q4_K", "q8_0"])
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.bin_dir = options.bin_dir or output_of(os.path.join(SCRIPTS, "host-llama.sh"), "--bin-dir")
    print(f"{machine()}\n\n| type | work | way | speed, median | of the best |\n|---|---|---|---|---|")
    for kind in options.type:
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, f"experts-{kind}.gguf")
            make_model(model, kind)
            measure(options, kind, model)


if __name__ == "__main__":
    main()
