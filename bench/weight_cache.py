#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""weight_cache.py - what the cache of packed weights saves at the start of a model.

    bench/weight_cache.py --llama-bin DIR [--build DIR] [--rounds N] MODEL...

Runs stock llama-completion in turn without the cache and with a warm one, and prints the medians of the plug-in's own times
(docs/statistics.md): `pack` against `load`, and the time for device memory, which is the same for both. The texts must be the
same. Only Python's standard library is used.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile


def run(options, model, folder, cache):
    counters = folder / "stats.json"
    settings = {"GGML_BACKEND_PATH": str(options.build / "bin" / "libggml-rknpu2.so"), "GGML_RKNPU2_RUNTIME": "sim",
                "GGML_RKNPU2_STATISTICS": "none", "GGML_RKNPU2_STATS": str(counters), "GGML_RKNPU2_WEIGHT_CACHE": str(cache)}
    command = [str(options.llama_bin / "llama-completion"), "-m", model, "-ngl", "99", "-p", "The capital of France is", "-n", "4",
               "--temp", "0", "-no-cnv", "-c", "512"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, check=True)
    return json.loads(counters.read_text()), done.stdout


def measure(options, model, folder):
    cache = folder / "weights"
    _, text = run(options, model, folder, cache)
    packed, loaded, memory = [], [], []
    for _ in range(options.rounds):
        for place, phase, times in (("off", "pack", packed), (cache, "load", loaded)):
            stats, again = run(options, model, folder, place)
            if again != text:
                raise SystemExit(f"{model}: another text with the cache {place}")
            times.append(stats["time_us"][phase] / 1000)
            memory.append(stats["time_us"]["memory"] / 1000)
        if stats["weight_cache"]["loaded"] != len(stats["weights"]):
            raise SystemExit(f"{model}: not every weight was loaded: {stats['weight_cache']}")
    pack, load, both = (statistics.median(times) for times in (packed, loaded, memory))
    print(f"{pathlib.Path(model).name}: pack {pack:.0f} ms, load {load:.0f} ms, ratio {pack / load:.1f}; device memory {both:.0f} ms, "
          f"ratio with it {(pack + both) / (load + both):.1f}; {options.rounds} rounds")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llama-bin", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "build" / "release")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            measure(options, model, pathlib.Path(folder))


if __name__ == "__main__":
    main()
