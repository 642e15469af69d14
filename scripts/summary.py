#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Says in a few lines what ran where: scripts/summary.py STATS.json [INFO.json]

STATS.json is what the plug-in writes to $GGML_RKNPU2_STATS; INFO.json is the output of `rknpu2-info MODEL.gguf --json`,
which knows how many weight matrices the model has and, with GGML_RKNPU2_MATRICES=auto, which the CPU would have. Exit 1 with one
line when STATS.json cannot be read.
"""

import json
import sys


def load(path):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def where(runtime):
    path = runtime.get("path")
    if not path:
        return "no NPU runtime was loaded"
    kind = "SIMULATED" if runtime.get("simulated") else "real NPU"
    versions = [f"{name} {runtime[key]}" for name, key in (("API", "api_version"), ("driver", "driver_version")) if runtime.get(key)]
    return f"{kind}, {path}" + (f" ({', '.join(versions)})" if versions else "")


def by_count(counts):
    """The items of {name: count}, most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def summarise(stats, info):
    weights, matmuls = stats.get("weights", []), stats.get("matmuls", {})
    total = info.get("weight_matrices")
    weights = [w for w in weights if w.get("precision") != "reference"]
    packed = sum(w.get("packed_bytes", 0) for w in weights)
    on_cpu = matmuls.get("cpu_reference", 0)
    precisions = ", ".join(f"{count} {name}" for name, count in by_count(matmuls.get("by_precision", {})))
    yield "runtime", where(stats.get("runtime", {}))
    yield "weights", f"{len(weights)}{f' of {total}' if total else ''} weight matrices on the NPU, packed {megabytes(packed)}"
    yield "matmuls", (
        f"{matmuls.get('npu', 0)} on the NPU in {stats.get('runs', 0)} runs"
        + (f" ({precisions})" if precisions else "")
        + (f"; {on_cpu} by the reference on the CPU" if on_cpu else "")
    )
    calibrated = sum(bool(w.get("activation_statistics")) for w in weights)
    two_planes = sum(w.get("planes") == 2 for w in weights)
    yield "precision", (f"{stats.get('precision', '?')}, {stats.get('cores', '?')} NPU cores"
                        + (f"; {calibrated} weights with statistics of their activations" if calibrated else "")
                        + (f"; {two_planes} with a second plane" if two_planes else ""))
    time = {name: us for name, us in stats.get("time_us", {}).items() if us}
    if time:
        yield "time", ", ".join(f"{name} {us / 1e6:.2f} s" for name, us in by_count(time))
    faster = [t for t in info.get("tensors", []) if ((t.get("placement") or {}).get("token") or {}).get("runs_on") == "cpu"]
    if faster and not stats.get("matrices_on_cpu"):
        yield "placement", ("all on the NPU, to show it (GGML_RKNPU2_MATRICES=npu); by the default, auto, single tokens would be multiplied by "
                            f"{len(faster)} of these matrices on the CPU, as the faster way by the model of docs/performance.md")
    refused = by_count(stats.get("refused", {}))
    yield "refused", "nothing" if not refused else f"{sum(count for _, count in refused)} matrix operations:"
    for reason, count in refused:
        yield "", f"{count} x {reason}"


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        stats = load(arguments[0])
    except (OSError, ValueError) as error:
        print(f"summary.py: the plug-in left no readable statistics in {arguments[0]}: {error}", file=sys.stderr)
        return 1
    try:
        info = load(arguments[1]) if len(arguments) == 2 else {}
    except (OSError, ValueError) as error:
        print(f"summary.py: note: no totals, because {arguments[1]} cannot be read: {error}", file=sys.stderr)
        info = {}
    for name, text in summarise(stats, info):
        print(f"{name:>10}  {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
