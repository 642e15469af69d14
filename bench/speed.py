#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prompt and generation speed of stock llama.cpp with our plug-in on the simulator, against its CPU backend.

Both run in turn, round after round, so that a machine that slows down slows both; what counts are the ratios within each round. On a PC
this says how usable the *simulator* is, and nothing about a board.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from report import machine, output_of, plain_environment, say  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--bin-dir", type=pathlib.Path, help="programs of llama.cpp; default: what scripts/host-llama.sh built")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="default: the quickstart's model")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    options = parser.parse_args()
    programs = options.bin_dir or pathlib.Path(output_of(SCRIPTS / "host-llama.sh", "--bin-dir"))
    model = options.model or output_of(SCRIPTS / "model.sh")
    plain = plain_environment()
    with_plugin = dict(plain, GGML_BACKEND_PATH=str(options.build.resolve() / "bin/libggml-rknpu2.so"), GGML_RKNPU2_RUNTIME="sim",
                       GGML_RKNPU2_STATISTICS="none")
    rounds = []
    for index in range(options.rounds):
        speeds = {}
        for way, environment in (("cpu", plain), ("npu", with_plugin)):
            command = [programs / "llama-bench", "-o", "json", "-m", model, "-ngl", "99", "-p", str(options.prompt), "-n", str(options.generate),
                       "-r", "2"]
            rows = json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
            speeds |= {f"{way}_{'pp' if row['n_prompt'] else 'tg'}": row["avg_ts"] for row in rows}
        if "RKNPU" not in rows[0]["backends"]:
            sys.exit(f"speed: llama-bench did not use the plug-in: {rows[0]['backends']}")
        rounds.append(speeds)
        say(f"round {index + 1}/{options.rounds}: " + ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items()) + " tokens/s")
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}, {os.path.basename(model)}. Ratio 1 is the CPU backend's speed.\n\n"
          "| | median ratio | lowest | highest |\n|---|---|---|---|")
    for kind, name in (("pp", f"prompt of {options.prompt} tokens"), ("tg", f"generating {options.generate} tokens")):
        ratios = [speeds[f"npu_{kind}"] / speeds[f"cpu_{kind}"] for speeds in rounds]
        print(f"| {name} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
