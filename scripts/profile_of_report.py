#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the simulator's profile with what rknpu2-doctor has measured in its place, for RKNNSIM_PROFILE and rknpu2-bench predict --profile.

    scripts/profile_of_report.py report.json > measured.profile

Each measured number is the one with which the simulator's model gives the measured time of one shape: the smallest run for the submit,
one row for the bandwidth of weights read once, many rows of a deep matrix for that of weights read again, many rows of a shallow one for
the MACs. What cannot be told from runs through the plug-in's seam (clocks, the buffer's banks, conversion of layouts, int4) stays as it
was, and its line says so. Bandwidths are for the model's reference of ddr_mhz.
"""
import argparse
import json
import pathlib
import re
import statistics
import sys

from fit_profile import PROFILE, ROOT, Model

TYPES = {"int8": 2, "fp16": 1}
CORES = (1, 2, 3)
SMALLEST, MANY_ROWS = ("int8", 1, 32, 32, 1), ("int8", 128, 1024, 4096, 1)
STREAMING = {cores: ("int8", 1, 4096, 4096, cores) for cores in CORES}
REPEATING = {cores: ("int8", 64, 4096, 2048, cores) for cores in CORES}  # two tiles of 32 rows: weights are read twice
FITTED = (SMALLEST, MANY_ROWS, *STREAMING.values(), *REPEATING.values())
STEPS = 60  # of a bisection
KIB_4, MIB, LINE = 4 << 10, 1 << 20, 64


def shape_text(shape):
    kind, m, k, n, cores = shape
    return f"{m}x{k}x{n} {kind}, {cores} core{'s' if cores > 1 else ''}"


class Fit:
    def __init__(self, report, model):
        self.model, self.sources = model, {}
        self.report, self.measured = report, report["measurements"]
        self.times = {tuple(shape[name] for name in ("type", "m", "k", "n", "cores")): shape["run_us"] for shape in self.measured["shapes"]}
        syncs = next((reading["figures"] for reading in report["readings"] if reading["id"] == "sync-cost"), [])
        self.syncs = {figure["name"]: figure["value"] for figure in syncs}

    def predict(self, shape):
        kind, m, k, n, cores = shape
        return self.model.run(TYPES[kind], m, k, n, True, cores).end / 1e3

    def accepts(self, name, value):
        return self.model.library.rknnsim_profile_set(name.encode(), value) == 0

    def set(self, name, value, source):
        if self.accepts(name, value):  # else it is out of its range: no fit
            self.sources[name] = source

    def solve(self, name, shape, low, high):
        """Between `low` and `high`; the time must fall with it. Where even the ends do not give the time, the number is not what limits the
        shape, and stays."""
        before, time = self.model.get(name), self.times.get(shape)
        if time is None:
            return

        def time_with(value):
            return self.predict(shape) if self.accepts(name, value) else float("nan")

        if not (time_with(low) >= time >= time_with(high)):
            self.set(name, before, f"not measured: {shape_text(shape)} in {time:.1f} us is not limited by it")
            return
        for _ in range(STEPS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if time_with(middle) > time else (low, middle)
        self.set(name, high, f"measured: {shape_text(shape)} in {time:.1f} us")

    def fit_syncs(self):
        """A sync costs a part for the call and a part for the bytes, cleaning by lines one for each line."""
        small, large = (self.syncs.get(f"owner to the device, {size} KiB", 0) for size in (4, 1024))
        if 0 < small < large:
            us_a_byte = (large - small) / (MIB - KIB_4)
            source = f"measured: rknn_mem_sync of 4 KiB in {small:.2f} us, of 1 MiB in {large:.2f} us"
            self.set("sync_gbps", 1e-3 / us_a_byte, source)
            self.set("sync_us", max(0, small - KIB_4 * us_a_byte), source)
        if lines := self.syncs.get("lines to the device, 1024 KiB"):
            self.set("line_ns", lines * 1000 / (MIB / LINE), f"measured: the lines of 1 MiB in {lines:.2f} us")

    def fit(self):
        self.set("ddr_mhz", 2400, "the reference at which bandwidths below hold as measured")
        self.set("bind_us", self.measured["bind_us"], "measured: activations of 4 KiB, bound again")
        if SMALLEST in self.times:
            core_us = self.predict(SMALLEST) - self.model.get("submit_us")
            self.set("submit_us", max(0, self.times[SMALLEST] - core_us), f"measured: {shape_text(SMALLEST)} in {self.times[SMALLEST]:.1f} us")
        for cores in CORES:
            self.solve(f"stream_gbps.{cores}", STREAMING[cores], 0.01, 1e4)
        self.solve("mac_efficiency", MANY_ROWS, 0.01, 1)
        for cores in CORES:
            self.solve(f"mixed_gbps.{cores}", REPEATING[cores], 0.01, 1e4)
        self.fit_syncs()
        factors = {shape: max(self.predict(shape) / time, time / self.predict(shape)) for shape, time in self.times.items()}
        others = [factor for shape, factor in factors.items() if shape not in FITTED]
        self.set("error.typical", statistics.median(factors.values()), "measured: median factor over all shapes of this report")
        self.set("error.left_out", statistics.median(others or [1]), "measured: likewise over the shapes that were not fitted to")
        self.set("error.worst", max(factors.values()), "measured: the largest factor")

    def head(self):
        """Where the numbers come from."""
        report, runtime, simulated = self.report, self.report["runtime"], self.measured["clock"] == "virtual"
        lines = [f"A profile for RKNNSIM_PROFILE and rknpu2-bench predict --profile, of what rknpu2-doctor {report['version']} found on {report['when']}.",
                 f"board: {report['board'] or 'unknown'}; kernel: {report['kernel'] or 'unknown'}",
                 f"runtime: {runtime['library']}, {runtime['api_version'] or 'unknown'}; driver {runtime['driver_version'] or 'unknown'}"]
        lines += [f"{check['title']}: {check['found']}" for check in report["checks"] if check["id"].endswith("_clock")]
        return lines + ["SIMULATED: the times are those of the simulator's virtual clock." if simulated else
                        f"Wall times, medians of {self.measured['rounds']} rounds."]

    def text(self):
        lines = ["# " + line for line in self.head()]
        for name in re.findall(r"^(\S+) = ", PROFILE.read_text(encoding="utf-8"), flags=re.M):
            source = self.sources.get(name, "not measured: as in the simulator's own profile")
            lines.append(f"{name} = {self.model.get(name):.10g}  # {source}")
        return "".join(re.sub(r"[\x00-\x1f\x7f]", " ", line) + "\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path, help="what rknpu2-doctor --output wrote")
    parser.add_argument("--library", type=pathlib.Path, default=ROOT / "build/release/sim/librknnrt.so", help="the simulator")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    if not report.get("measurements"):
        sys.exit(f"profile_of_report.py: nothing was measured in {options.report}")
    fit = Fit(report, Model(options.library))
    fit.fit()
    print(fit.text(), end="")


if __name__ == "__main__":
    main()
