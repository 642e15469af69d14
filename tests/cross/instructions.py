#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions for each element that the hot kernels take on AArch64, counted under QEMU and compared with what is recorded.

    instructions.py --emulator "qemu-aarch64 -cpu cortex-a76 -L ..." --program kernel_calls --recorded FILE [--write]
                    [--compiler VERSION]

A count is exact and repeats on any machine, whatever else it does, which a time does not: it shows when a loop is no
longer vectorised. It is not a speed. The difference of a run with 3 calls and one with 1 is two calls alone. A count that is
more than a tenth off the recorded one, up or down, is a failure: look at why, then --write. Another compiler than that of
the record (--compiler), a QEMU without plug-ins and a missing C compiler skip (exit 77).
"""
import argparse
import csv
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

TOLERANCE = 0.10


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def build_plugin(folder):
    compiler = shutil.which("cc")
    if compiler is None:
        skip("no C compiler of this machine (cc) for the counting plug-in")
    plugin = folder / "libcount.so"
    source = pathlib.Path(__file__).with_name("count_plugin.c")
    # QEMU itself provides the functions that the plug-in calls.
    subprocess.run([compiler, "-std=c99", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", str(source), "-o", str(plugin)], check=True)
    return plugin


class Counter:
    def __init__(self, emulator, program, folder):
        self.emulator, self.program = shlex.split(emulator), program
        self.plugin, self.out = build_plugin(folder), folder / "count"

    def instructions(self, *arguments):
        self.out.unlink(missing_ok=True)
        command = [self.emulator[0], "-plugin", f"{self.plugin},out={self.out}", *self.emulator[1:], self.program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if "plugin" in done.stderr.lower() and done.returncode != 0:
            skip(f"this QEMU loads no plug-in: {done.stderr.strip().splitlines()[-1]}")
        if done.returncode != 0 or not self.out.exists():
            sys.exit(f"{shlex.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return int(self.out.read_text())

    def kernels(self):
        text = subprocess.run([*self.emulator, self.program], check=True, capture_output=True, text=True).stdout
        return [(name, int(elements)) for name, elements in (line.rsplit(",", 1) for line in text.splitlines())]

    def per_element(self, name, elements):
        return (self.instructions(name, "3") - self.instructions(name, "1")) / (2 * elements)


def read_record(path):
    """Returns (compiler, {kernel: instructions for an element})."""
    rows = list(csv.reader(line for line in path.read_text().splitlines() if line and not line.startswith("#")))
    heads = {row[0]: row[1] for row in rows}
    return heads.pop("compiler"), {name: float(value) for name, value in heads.items() if name != "kernel"}


def write_record(path, compiler, counts):
    lines = ["# Instructions for each element under qemu-aarch64, preset rk3588; tests/cross/instructions.py --write made this.",
             f"compiler,{compiler}", "kernel,instructions"]
    path.write_text("\n".join(lines + [f"{name},{count:.3f}" for name, count in counts.items()]) + "\n")


def compare(counts, recorded):
    """Returns one line for each count that is not the recorded one."""
    findings = [f"{name}: recorded but not there" for name in recorded if name not in counts]
    for name, count in counts.items():
        if name not in recorded:
            findings.append(f"{name}: {count:.3f} instructions for an element, not recorded")
        elif abs(count / recorded[name] - 1) > TOLERANCE:
            findings.append(f"{name}: {count:.3f} instructions for an element, recorded {recorded[name]:.3f}")
    return findings


def main():
    parser = argparse.ArgumentParser()
    for option in ("--emulator", "--program", "--recorded", "--compiler"):
        parser.add_argument(option, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    record = pathlib.Path(options.recorded)
    compiler = options.compiler.split(".")[0]
    with tempfile.TemporaryDirectory(prefix="rknpu2-instructions.") as name:
        counter = Counter(options.emulator, options.program, pathlib.Path(name))
        counts = {kernel: counter.per_element(kernel, elements) for kernel, elements in counter.kernels()}
    for kernel, count in counts.items():
        print(f"{kernel}: {count:.3f}")
    if not counts or min(counts.values()) <= 0:
        sys.exit("a kernel that takes no instructions: the count is wrong")
    if options.write:
        write_record(record, compiler, counts)
        return
    recorded_compiler, recorded = read_record(record)
    if compiler != recorded_compiler:
        skip(f"counted with g++ {compiler}, recorded with g++ {recorded_compiler}")
    findings = compare(counts, recorded)
    if findings:
        sys.exit("\n".join(findings) + f"\nlook at why; if it is meant, record it: {shlex.join(sys.argv)} --write")


if __name__ == "__main__":
    main()
