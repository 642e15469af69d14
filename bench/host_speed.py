#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares llama.cpp with our plug-in on the simulator against llama.cpp's CPU backend: prompt and generation speed.

Both are run in turn, round after round, with stock llama-bench, so that a machine that slows down slows both; what is
reported are the ratios within each round, and their median. On a PC this says how usable the *simulator* is. It says nothing about a board.

  bench/host_speed.py [--build build/release] [--model FILE] [--rounds 5] [--out bench-out]

Writes host_speed.md, host_speed.json and host_speed.svg into the output directory.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(ROOT, "scripts")
sys.path.insert(0, SCRIPTS)

from report import Svg, machine, output_of, plain_environment, say, write_files  # noqa: E402


def run_bench(bench, model, prompt, generate, environment):
    """Tokens per second of (prompt, generation), each the mean of llama-bench's own repetitions."""
    command = [bench, "-m", model, "-ngl", "99", "-p", str(prompt), "-n", str(generate), "-r", "2", "-o", "json"]
    text = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    rows = json.loads(text)
    speed = {("pp" if row["n_prompt"] else "tg"): row["avg_ts"] for row in rows}
    return speed["pp"], speed["tg"], rows[0]["backends"]


def measure(options):
    bench = os.path.join(options.bin_dir, "llama-bench")
    plain = plain_environment()
    ours = dict(plain, GGML_BACKEND_PATH=os.path.join(os.path.abspath(options.build), "bin", "libggml-rknpu2.so"),
                GGML_RKNPU2_RUNTIME="sim", GGML_RKNPU2_STATISTICS="none")
    rounds = []
    for index in range(options.rounds):
        cpu = run_bench(bench, options.model, options.prompt, options.generate, plain)
        npu = run_bench(bench, options.model, options.prompt, options.generate, ours)
        if "RKNPU" not in npu[2]:
            sys.exit("host_speed: llama-bench did not use the plug-in: " + npu[2])
        rounds.append({"cpu_pp": cpu[0], "npu_pp": npu[0], "cpu_tg": cpu[1], "npu_tg": npu[1]})
        say(f"round {index + 1}/{options.rounds}: prompt {npu[0]:.0f} against {cpu[0]:.0f}, "
            f"generation {npu[1]:.1f} against {cpu[1]:.1f} tokens/s")
    return rounds


def summarise(rounds, options):
    def ratio(kind):
        return [r[f"npu_{kind}"] / r[f"cpu_{kind}"] for r in rounds]
    return {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(),
        "model": os.path.basename(options.model), "prompt": options.prompt, "generate": options.generate, "rounds": rounds,
        "ratio_pp": {"median": statistics.median(ratio("pp")), "all": ratio("pp")},
        "ratio_tg": {"median": statistics.median(ratio("tg")), "all": ratio("tg")},
    }


def markdown(result):
    lines = ["# Simulated NPU against llama.cpp's CPU backend", "",
             f"{result['date']}, {result['machine']}, {result['model']}; `bench/host_speed.py`. Ratio 1 is the CPU backend's speed.", "",
             "| | median ratio | lowest | highest |", "|---|---|---|---|"]
    for kind, name in (("pp", f"prompt of {result['prompt']} tokens"), ("tg", f"generating {result['generate']} tokens")):
        values = result[f"ratio_{kind}"]["all"]
        lines.append(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines) + "\n"


def svg(result):
    """One bar for each ratio, a tick for every round, and the bars that the project set itself: 1/2 and 1/3."""
    width, left, scale = 640, 150, 220
    rows = [("prompt", result["ratio_pp"], 0.5), ("generation", result["ratio_tg"], 1 / 3)]
    title = "Speed with the simulated NPU, CPU backend = 1 (bar: median; ticks: rounds; dashed: goal)"
    drawing = Svg(width, 130, title)
    drawing.text(10, 20, title)
    for index, (name, ratio, goal) in enumerate(rows):
        y = 40 + 40 * index
        drawing.text(10, y + 16, f'{name} {ratio["median"]:.2f}')
        drawing.add("rect", x=left, y=y, width=min(ratio["median"], 2.2) * scale, height=22, fill="#4a7ab5")
        for value in ratio["all"]:
            x = left + min(value, 2.2) * scale
            drawing.line(x, y + 4, x, y + 18)
        x = left + goal * scale
        drawing.line(x, y - 4, x, y + 26, stroke="#b03030", stroke_dasharray="4 3")
    drawing.line(left + scale, 34, left + scale, 118, stroke="#888")
    return str(drawing)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--bin-dir", help="programs of llama.cpp; default: what scripts/host-llama.sh built")
    parser.add_argument("--model", help="default: the quickstart's model")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="bench-out")
    options = parser.parse_args()
    options.bin_dir = options.bin_dir or output_of(os.path.join(SCRIPTS, "host-llama.sh"), "--bin-dir")
    options.model = options.model or output_of(os.path.join(SCRIPTS, "model.sh"))
    result = summarise(measure(options), options)
    write_files(options.out, "host_speed", {"md": markdown(result), "json": json.dumps(result, indent=2) + "\n", "svg": svg(result)})
    print(markdown(result))


if __name__ == "__main__":
    main()
