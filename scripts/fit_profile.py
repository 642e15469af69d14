#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fits sim/profiles/rk3588.profile to published timings, and says how far the model is from all of them.

    scripts/fit_profile.py [--library FILE]           fits; prints every residual and the leave-one-source-out error
    scripts/fit_profile.py [--library FILE] --write   also updates the profile, docs/simulator.md, the table and the plot
    scripts/fit_profile.py [--library FILE] --check   exit 1 when --write would change one of these files, or when the model with
                                                      bench/profiles/board.profile is a fifth off a row whose column `check` says yes
                                                      (exit 77 when the library is not there)

The model itself is the simulator's: FILE (build/release/sim/librknnrt.so) is asked through rknnsim_predict.

Rows of docs/measurements/npu-timings.csv whose column `fit` says yes are fitted: runs of the vendor's runtime, or of a
task captured from it, timed by themselves at full clocks. In the others `fit` is the reason why not.

Rows whose column says "held out" are runs of the vendor's runtime as well, and no parameter was ever chosen by them:
what the model says of those is how far it may be from a shape that nobody has timed yet.

Fitted: the share of the MAC peak that is reached, the bandwidth of one core, the banks of a native fp16 tile; and then,
with these, the least time of a row in normal layout, which only small products of several rows show. The loss is the mean of sqrt(log(model / published)^2 + 0.05^2): a row that is far off pulls no harder than one that is near.
Each value is also drawn to a start chosen before looking at the rows, so weakly that it matters only where no row tells.
For the leave-one-source-out error the rows of one author are predicted with parameters fitted to all other authors.
"""

import argparse
import csv
import ctypes
import io
import itertools
import math
import os
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMINGS = ROOT / "docs/measurements/npu-timings.csv"
PROFILE = ROOT / "sim/profiles/rk3588.profile"
BOARD = ROOT / "bench/profiles/board.profile"
BAR = 0.20
DOCS = ROOT / "docs/simulator.md"
TABLE = ROOT / "docs/measurements/npu-timings-model.csv"
PLOT = ROOT / "docs/measurements/npu-timings.svg"
BEGIN, END = "<!-- fit: begin -->", "<!-- fit: end -->"

EFFICIENCIES = [round(0.80 + 0.01 * i, 2) for i in range(21)]
BANDWIDTHS = [round(7.0 + 0.1 * i, 1) for i in range(81)]
BANKS = [4, 5, 6, 7, 8]
ROW_TASKS = [round(0.2 * i, 1) for i in range(31)]
# Middle of what prose says; one core "about 9 to 11 GB/s"; banks as for int8; a row as a task of an open driver.
START = (0.90, 10.0, 4, 2.0)
PULL = 1e-3

TYPES = {"int8": {"": 2}, "fp16": {"fp32": 1, "fp16": 4}, "int4": {"": 10}}  # by the types of A and C
BITS = {2: 8, 1: 16, 4: 16, 10: 4}
N_STEP = {2: 32, 1: 16, 4: 16, 10: 64}


class Matmul(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in "type M K N b_layout ac_layout cores reserved".split()]


class RunTime(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "call start stop end submit convert mac stall dma read_a read_b read_c written macs context").split()]
    _fields_ += [("passes", ctypes.c_uint32), ("tile_rows", ctypes.c_uint32), ("core", ctypes.c_int32),
                 ("reserved", ctypes.c_int32), ("utilisation", ctypes.c_double)]


class Model:
    """The simulator's time model, with the profile in PROFILE."""

    def __init__(self, library):
        # Some published shapes are larger than one context takes.
        for name in ("K", "N", "M"):
            os.environ[f"RKNNSIM_{name}_MAX"] = "1048576"
        os.environ["RKNNSIM_PROFILE"] = str(PROFILE)
        os.environ["RKNNSIM_INT4_NORMAL_B"] = "allow"
        self.library = ctypes.CDLL(str(library))
        self.library.rknnsim_profile_set.argtypes = [ctypes.c_char_p, ctypes.c_double]
        self.library.rknnsim_profile_get.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_double)]
        self.clock = self.get("clock_mhz")

    def get(self, name):
        value = ctypes.c_double()
        if self.library.rknnsim_profile_get(name.encode(), ctypes.byref(value)) != 0:
            sys.exit("fit_profile.py: the simulator refuses its profile (see above)")
        return value.value

    def set(self, **values):
        for name, value in values.items():
            name = name.replace("__", ".")
            if self.library.rknnsim_profile_set(name.encode(), value) != 0:
                sys.exit(f"fit_profile.py: {name} = {value} was refused")

    def use(self, parameters):
        efficiency, gbps, banks, row_task = parameters
        self.set(mac_efficiency=efficiency, stream_gbps__1=gbps, mixed_gbps__1=gbps, data_banks__native__fp16=banks,
                 row_task_us=row_task)

    def run(self, kind, M, K, N, native, cores):
        time = RunTime()
        matmul = Matmul(kind, M, K, N, 1, 1 if native else 0, cores, 0)
        if self.library.rknnsim_predict(ctypes.byref(matmul), ctypes.byref(time)) != 0:
            sys.exit(f"fit_profile.py: no prediction for type {kind}, {M}x{K}x{N}")
        return time


def up(value, step):
    return -(-value // step) * step


class Row:
    """One published figure with a shape."""

    def __init__(self, fields):
        self.source, self.author, self.note = fields["source"], fields["author"], fields["note"]
        self.how, self.reason = fields["how"], fields["fit"]
        self.used = self.reason == "yes"
        self.held_out = self.reason.startswith("held out")
        self.M, self.K, self.N = (int(fields[name]) for name in "mkn")
        self.types = f"{fields['a_type']}→{fields['c_type']}"
        a_type = fields["a_type"].split("(")[0]
        by_c = TYPES.get(a_type, {})
        self.kind = by_c.get("") or by_c.get(fields["c_type"])
        self.cores = int(fields["cores"] or 1)
        self.matmuls, self.spread = int(fields["matmuls"] or 1), fields["spread"]
        self.clock = float(fields["clock_mhz"] or 0)
        self.native = fields["ac_layout"] == "native"
        self.published = self.microseconds(fields)
        self.in_the_bar, self.calls = fields["check"] == "yes", float(fields["calls"] or 0)

    def microseconds(self, fields):
        """Of the whole unit that was timed: a run, a job, or a group of runs."""
        operations = 2 * self.M * self.K * self.N * self.matmuls
        if fields["time_us"]:
            return float(fields["time_us"])
        if fields["gops"]:
            return operations / float(fields["gops"]) / 1e3
        return self.matmuls * self.K * self.N * BITS[self.kind] / 8 / float(fields["stream_gbps"]) / 1e3

    def shape(self):
        return f"{self.M}×{self.K}×{self.N}" + (f", {self.matmuls} of them" if self.matmuls > 1 else "")

    def predict(self, model):
        """Microseconds by the model; None for a type that the runtime does not have."""
        if self.kind is None:
            return None
        K, N = up(self.K, 32), up(self.N, N_STEP[self.kind])
        model.set(clock_mhz=self.clock or model.clock)
        if self.spread == "n":  # columns dealt to the cores, which run at the same time
            N = up(-(-N // self.cores), N_STEP[self.kind])
        run = model.run(self.kind, self.M, K, N, self.native, self.cores)
        ns = run.end
        if self.spread == "matmuls":  # whole matmuls dealt to the cores
            ns *= -(-self.matmuls // self.cores)
        elif self.spread == "jobs":  # one submit for all matmuls of a job, a job for each core
            ns = (run.start + self.matmuls * (run.stop - run.start)) / self.cores
        model.set(clock_mhz=model.clock)
        return ns / 1e3

    def log_error(self, model):
        return math.log(self.predict(model) / self.published)


def load_rows():
    with TIMINGS.open(encoding="utf-8", newline="") as file:
        return [Row(fields) for fields in csv.DictReader(file) if fields["m"] and fields["k"] and fields["n"]]


def loss(rows, model, parameters):
    model.use(parameters)
    pull = sum(abs(math.log(max(value, 1e-3) / start)) for value, start in zip(parameters, START))
    return statistics.fmean(math.hypot(row.log_error(model), 0.05) for row in rows) + PULL * pull


def fit(rows, model):
    """The first three at once; the row after them, and they again, as it moves them little or not."""
    row_task = START[3]
    for _ in range(2):
        three = min(itertools.product(EFFICIENCIES, BANDWIDTHS, BANKS), key=lambda values: loss(rows, model, (*values, row_task)))
        row_task = min(ROW_TASKS, key=lambda value: loss(rows, model, (*three, value)))
    return (*three, row_task)


def leave_one_out(rows, model):
    """Log errors of all rows, each by parameters from the rows of the other authors; and those parameters."""
    errors, parameters = {}, {}
    for author in sorted({row.author for row in rows}):
        parameters[author] = fit([row for row in rows if row.author != author], model)
        model.use(parameters[author])
        errors.update({row: row.log_error(model) for row in rows if row.author == author})
    return errors, parameters


def factor(log_error):
    return math.exp(abs(log_error))


def digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def table(rows, model, left_out):
    """CSV with a row for each published figure that has a shape: what was published, and what the model says."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shape", "types", "cores", "how", "clock_mhz", "source", "published_us", "model_us", "model/published",
                     "author_left_out/published", "in_the_fit"])
    for row in rows:
        time = row.predict(model)
        writer.writerow([row.shape(), row.types, row.cores, row.how, f"{row.clock:.0f}" if row.clock else "", row.source,
                         digits(row.published), digits(time) if time else "", f"{time / row.published:.2f}" if time else "",
                         f"{math.exp(left_out[row]):.2f}" if row in left_out else "", row.reason])
    return text.getvalue()


def outside_the_bar(rows, model):
    """The rows marked `check` that the model of `rknpu2-bench predict` misses by more than a fifth: the profile with its departures."""
    for name, value in re.findall(r"^npu\.(\S+) = (\S+)", BOARD.read_text(encoding="utf-8"), flags=re.M):
        model.set(**{name.replace(".", "__"): float(value)})
    call_us = model.get("sync_us")
    return [f"{row.shape()} {row.types} of {row.source}" for row in rows
            if row.in_the_bar and abs(row.published / (row.predict(model) + row.calls * call_us) - 1) > BAR]


class Fit:
    """The outcome of the fit, and what it makes of the files."""

    def __init__(self, model):
        self.rows = load_rows()
        used = [row for row in self.rows if row.used]
        self.parameters = fit(used, model)
        self.left_out, self.by_author = leave_one_out(used, model)
        model.use(self.parameters)
        self.model, self.used = model, used
        self.inside = [factor(row.log_error(model)) for row in used]
        self.outside = [factor(self.left_out[row]) for row in used]
        self.unseen = [factor(row.log_error(model)) for row in self.rows if row.held_out]
        apart = [row for row in self.rows if not row.used and not row.held_out and row.predict(model)]
        self.apart = [factor(row.log_error(model)) for row in apart]

    def values(self):
        efficiency, gbps, banks, row_task = self.parameters
        return {"mac_efficiency": efficiency, "stream_gbps.1": gbps, "mixed_gbps.1": gbps, "data_banks.native.fp16": banks,
                "row_task_us": row_task, "error.typical": round(statistics.median(self.inside), 2),
                "error.left_out": round(max(statistics.median(self.outside), statistics.median(self.unseen)), 2),
                "error.worst": round(max(self.outside + self.unseen), 2)}

    def summary(self):
        efficiency, gbps, banks, row_task = self.parameters
        near = sum(error <= 1.25 for error in self.outside)
        unseen = sum(error <= 1.25 for error in self.unseen)
        names = ("the MAC efficiency", "the bandwidth", "the banks", "the row")
        kept = [name for name, value, start in zip(names, self.parameters, START) if value == start]
        lines = [
            f"Fitted to {len(self.used)} rows of {len(self.by_author)} authors: MAC efficiency {efficiency:.2f}, one core "
            f"{gbps:.1f} GB/s, {banks} banks for a native fp16 tile,",
            f"{row_task:.1f} µs for a row in normal layout." + (f" No row moved {' nor '.join(kept)} from the start." if kept else ""), "",
            "| error, as a factor | median | mean | worst |", "|---|---|---|---|"]
        for name, errors in (("rows of the fit", self.inside), ("rows of the fit, each author left out", self.outside),
                             ("runs of the vendor's runtime that the fit never saw", self.unseen),
                             ("other rows that the fit does not use", self.apart)):
            mean = math.exp(statistics.fmean(math.log(error) for error in errors))
            lines.append(f"| {name} | {statistics.median(errors):.2f} | {mean:.2f} | {max(errors):.2f} |")
        lines += ["", f"The model predicts {near} of {len(self.used)} rows within 25 % when their author is left out, and {unseen} of the "
                  f"{len(self.unseen)} that the fit never saw."]
        ranges = [f"{min(values):.{decimals}f} to {max(values):.{decimals}f}" for values, decimals in zip(zip(*self.by_author.values()), (2, 1, 0, 1))]
        return [*lines, "Without one author's rows the four numbers become {}, {} GB/s, {} banks and {} µs.".format(*ranges)]

    def profile(self):
        text = PROFILE.read_text(encoding="utf-8")
        for name, value in self.values().items():
            found = re.search(rf"^({re.escape(name)} = )(\S+)( *)(?=#)", text, flags=re.M)
            if not found:
                sys.exit(f"fit_profile.py: {PROFILE} has no line `{name} = value  # source`")
            new = f"{found[1]}{value:g}"
            text = text[:found.start()] + new.ljust(len(found[0]) - 1) + " " + text[found.end():]
        return text

    def docs(self):
        text = DOCS.read_text(encoding="utf-8")
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            sys.exit(f"fit_profile.py: {DOCS} must have one `{BEGIN}` and one `{END}`")
        body = "\n".join([BEGIN, *self.summary(), END])
        return text[:text.index(BEGIN)] + body + text[text.index(END) + len(END):]

    def table(self):
        return table(self.rows, self.model, self.left_out)

    def plot(self):
        """Model against publication, both in µs on log scales."""
        size, margin, low, high = 640, 56, 1.0, 6.0  # 10 µs to 1 s
        def place(us):
            return margin + (math.log10(us) - low) / (high - low) * (size - 2 * margin)
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" font-size="12">',
                 f'<rect width="{size}" height="{size}" fill="white"/>']
        for power in range(int(low), int(high) + 1):
            at, label = place(10 ** power), ("1 s" if power == 6 else f"{10 ** (power - 3)} ms" if power >= 3 else f"{10 ** power} µs")
            lines += [f'<path d="M{at:.1f} {margin}V{size - margin}M{margin} {size - at:.1f}H{size - margin}" stroke="#ddd"/>',
                      f'<text x="{at:.1f}" y="{size - margin + 18}" text-anchor="middle">{label}</text>',
                      f'<text x="{margin - 6}" y="{size - at + 4:.1f}" text-anchor="end">{label}</text>']
        for ratio, style in ((1, 'stroke="#333"'), (2, 'stroke="#999" stroke-dasharray="4"'), (0.5, 'stroke="#999" stroke-dasharray="4"')):
            shift = math.log10(ratio) / (high - low) * (size - 2 * margin)
            start, end = max(margin, margin - shift), min(size - margin, size - margin - shift)
            lines.append(f'<path d="M{start:.1f} {size - start - shift:.1f}L{end:.1f} {size - end - shift:.1f}" {style}/>')
        for row in self.rows:
            time = row.predict(self.model)
            if time:
                fill = "#c22" if row.used else "none"
                lines.append(f'<circle cx="{place(row.published):.1f}" cy="{size - place(time):.1f}" r="4" fill="{fill}" stroke="#c22">'
                             f"<title>{row.shape()} {row.types}, {row.cores} cores: published {digits(row.published)} µs, "
                             f"model {digits(time)} µs</title></circle>")
        lines += [f'<text x="{size / 2}" y="{size - 12}" text-anchor="middle">published</text>',
                  f'<text x="16" y="{size / 2}" text-anchor="middle" transform="rotate(-90 16 {size / 2})">model</text>',
                  f'<text x="{margin + 8}" y="{margin - 12}">filled: rows of the fit; dashed: a factor of two</text>', "</svg>", ""]
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, default=ROOT / "build/release/sim/librknnrt.so")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.library.exists():
        print(f"fit_profile.py: {options.library} is not there; build it (target rknnrt) or use --library", file=sys.stderr)
        return 77
    outcome = Fit(Model(options.library))
    if not options.check:
        print("\n".join(outcome.summary()) + "\n\n" + outcome.table(), end="")
    stale = [(file, text) for file, text in ((PROFILE, outcome.profile()), (DOCS, outcome.docs()), (TABLE, outcome.table()),
                                          (PLOT, outcome.plot()))
             if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file, text in stale:
        if options.write:
            file.write_text(text, encoding="utf-8")
            print(f"fit_profile.py: {file.relative_to(ROOT)} is updated", file=sys.stderr)
        elif options.check:
            print(f"fit_profile.py: {file.relative_to(ROOT)} is not what the fit gives; run scripts/fit_profile.py --write", file=sys.stderr)
    missed = outside_the_bar(outcome.rows, outcome.model) if options.check else []
    for row in missed:
        print(f"fit_profile.py: more than {BAR:.0%} off: {row}", file=sys.stderr)
    return 1 if options.check and (stale or missed) else 0


if __name__ == "__main__":
    sys.exit(main())
