#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Speed of stock llama.cpp with our plug-in on the simulator, against llama.cpp without it or with other settings.

  bench/speed.py host [--model FILE] [--prompt 512] [--generate 64]
  bench/speed.py weights MODEL...

All ways are run in turn, round after round (--rounds), so that a machine that slows down slows all of them; what counts are the ratios within each
round. On a PC this says how usable the *simulator* is, and nothing about a board.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests/e2e")]

from report import machine, output_of, plain_environment, say  # noqa: E402


def with_plugin(options, **settings):
    """An environment in which llama.cpp finds the plug-in and the simulator; `settings` without GGML_RKNPU2_."""
    settings = {"RUNTIME": "sim", "STATISTICS": "none", **settings}
    return dict(plain_environment(), GGML_BACKEND_PATH=str(options.build.resolve() / "bin/libggml-rknpu2.so"),
                **{f"GGML_RKNPU2_{name}": str(value) for name, value in settings.items()})


def host(options):
    """compares prompt and generation speed with llama.cpp's CPU backend"""
    model = options.model or output_of(SCRIPTS / "model.sh")
    rounds = []
    for index in range(options.rounds):
        speeds = {}
        for way, environment in (("cpu", plain_environment()), ("npu", with_plugin(options))):
            command = [options.bin_dir / "llama-bench", "-o", "json", "-m", model, "-ngl", "99", "-p", str(options.prompt), "-n", str(options.generate),
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


def weights(options):
    """says what the cache of packed weights saves at the start of a model: `pack` against `load`, by the plug-in's own times
    (docs/statistics.md), and the time for device memory, which is alike for both; the texts must be, too"""
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            counters, cache = pathlib.Path(folder, "stats.json"), pathlib.Path(folder, "weights")

            def run(place, model=model, counters=counters):
                command = [options.bin_dir / "llama-completion", "-m", model, "-ngl", "99", "-p", "The capital of France is", "-n", "4",
                           "--temp", "0", "-no-cnv", "-c", "512"]
                done = subprocess.run(command, env=with_plugin(options, STATS=counters, WEIGHT_CACHE=place), capture_output=True, check=True)
                return json.loads(counters.read_text()), done.stdout

            _, text = run(cache)
            times = {"pack": [], "load": [], "memory": []}
            for _ in range(options.rounds):
                for place, phase in (("off", "pack"), (cache, "load")):
                    stats, again = run(place)
                    if again != text:
                        sys.exit(f"{model}: another text with the cache {place}")
                    for name in (phase, "memory"):
                        times[name].append(stats["time_us"][name] / 1000)
                if stats["weight_cache"]["loaded"] != len(stats["weights"]):
                    sys.exit(f"{model}: not every weight was loaded: {stats['weight_cache']}")
        pack, load, memory = (statistics.median(ms) for ms in times.values())
        print(f"{os.path.basename(model)}: pack {pack:.0f} ms, load {load:.0f} ms, ratio {pack / load:.1f}; device memory {memory:.0f} ms, "
              f"ratio with it {(pack + memory) / (load + memory):.1f}; {options.rounds} rounds")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True)
    of_command = {work: commands.add_parser(work.__name__, help=work.__doc__) for work in (host, weights)}
    for work, command in of_command.items():
        command.set_defaults(work=work)
        command.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
        command.add_argument("--bin-dir", type=pathlib.Path, help="programs of llama.cpp; default: what scripts/host-llama.sh built")
        command.add_argument("--rounds", type=int, default=5)
    of_command[host].add_argument("--model", help="default: the quickstart's model")
    of_command[host].add_argument("--prompt", type=int, default=512)
    of_command[host].add_argument("--generate", type=int, default=64)
    of_command[weights].add_argument("models", nargs="+")
    options = parser.parse_args()
    options.bin_dir = options.bin_dir or pathlib.Path(output_of(SCRIPTS / "host-llama.sh", "--bin-dir"))
    options.work(options)


if __name__ == "__main__":
    main()
