# SPDX-License-Identifier: MIT
"""Two layers with the widths of models that people run (real_widths.py): the logits are those of exact arithmetic.

The yardstick is llama.cpp's CPU backend on the *same numbers stored as float32* (llama-quantize makes that file): on the stored blocks it
would round activations to 8 bits itself, which is further away than what is measured here. NMSE: mean square of the difference over the
mean square of the yardstick, over all rows; a batch by itself, which may be a single row, may have ten times as much.

* `exact` has both factors of a product in float16: NMSE below 1e-6.
* The default has them in int8. What that promises for one product is ggml's own tolerance, an NMSE of 5e-4, which test_backend_ops.py
  requires of every shape and type. A layer has four products one after the other and the head is one more; errors that are independent add
  up, so that the bound is 5e-4 for each of them.
* Where single rows may go either way in any arithmetic (`ties`: near ties of a router, the first rows of RWKV), and what follows them moves,
  too, the median of the rows is bounded instead.
* GGML_RKNPU2_FUSE=0 computes operation by operation: the same bits as together.

Each of these without and with a LoRA adapter on every matrix and a control vector, and once with a third of the matrices on the CPU, which
are stored as float32 then.
"""

import array
import csv
import os
import random
import re
import statistics

import harness
import real_widths
from harness import HostTest

PROGRAM = harness.BUILD_DIR / "bin" / "logits_of_model"
# Tokens of the prompts; RKNPU2_E2E_LENGTHS for others. The longest takes half the time and adds a second micro-batch, which
# test_fusion.py has, too.
FEW_LENGTHS, LENGTHS = (harness.setting("LENGTHS", lengths) for lengths in ("1,7,128,129,200", "1,7,127,128,129,200,513"))
EXACT = 1e-6
PRODUCT = 5e-4
# A few that are quick and differ in type and in what they are made of; one has more inputs (11008) than a segment of a weight.
DEFAULT = ("qwen2.5-3b", "gemma-3-1b", "lfm2-350m", "mamba-130m", "bge-small")
TABLE = harness.OUT_DIR / "real-widths.csv"
COLUMNS = ("model", "architecture", "type", "embedding", "feed-forward", "exact", "exact, adapter", "exact, split", "default",
           "default, adapter", "default, split", "bound of the default", "flows", "prompts")


def nmse(found, wanted):
    return sum((a - b) * (a - b) for a, b in zip(found, wanted)) / sum(b * b for b in wanted)


class Logits:
    """What logits_of_model wrote: {(pass, length, what): rows}, each row an array."""

    def __init__(self, lines, path):
        with open(path, "rb") as source:
            self.bytes = source.read()
        self.batches, at = {}, 0
        for line in lines.splitlines():
            found = re.fullmatch(r"(plain|adapted) (\d+) (all|last|next) (\d+) (\d+)", line)
            if found is None:
                continue
            rows, columns = int(found.group(4)), int(found.group(5))
            numbers = array.array("f", self.bytes[at:at + 4 * rows * columns])
            at += 4 * rows * columns
            self.batches[found.group(1), int(found.group(2)), found.group(3)] = [
                numbers[i * columns:(i + 1) * columns] for i in range(rows)]
        if at != len(self.bytes):
            raise ValueError(f"{path} has {len(self.bytes)} bytes, not {at}")

    def part(self, name):
        return {key[1:]: rows for key, rows in self.batches.items() if key[0] == name}


def distance(found, wanted, ties):
    """(NMSE of all rows, or their median; NMSE of the worst batch; which one that is)."""
    pairs = {key: ([x for row in found[key] for x in row], [x for row in rows for x in row]) for key, rows in wanted.items()}
    worst, where = max((nmse(*pair), key) for key, pair in pairs.items())
    if ties:
        return statistics.median(nmse(a, b) for key, rows in wanted.items() for a, b in zip(found[key], rows)), 0.0, where
    return nmse(*([x for pair in pairs.values() for x in pair[side]] for side in (0, 1))), worst, where


def record(row):
    """Adds a row to the table in the file; each model may run in a process of its own."""
    rows = {}
    if TABLE.exists():
        with open(TABLE, newline="", encoding="utf-8") as source:
            rows = {line["model"]: line for line in csv.DictReader(source)}
    rows[row["model"]] = row
    partial = TABLE.with_suffix(".part")
    with open(partial, "w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[name] for name in real_widths.MODELS if name in rows)
    os.replace(partial, TABLE)


class Widths(HostTest):
    """Base of the tests below, each of which is one model."""

    lengths = LENGTHS

    def logits(self, model, *arguments, precision=None, fuse=1):
        """(Logits, Run)."""
        out = self.folder / f"{self.count}.logits"
        options = (["--encoder"] if self.arch == "bert" else []) + ([] if precision else ["--host-only"])
        run = self.host(PROGRAM, model, out, "--lengths", self.lengths, *arguments, *options, precision=precision,
                        extra={"GGML_RKNPU2_FUSE": str(fuse)} if precision else None)
        found = Logits(run.out, out)
        out.unlink()
        return found, run

    def yardstick(self, model, adapter, split, mixed):
        """The CPU backend's logits of the same numbers in float32; writes the model with float32 where the CPU is to multiply."""
        floats = self.folder / "f32.gguf"
        self.host("llama-quantize", "--allow-requantize", model, floats, "F32", precision=None)
        found, _ = self.logits(floats, "--adapter", adapter)
        real_widths.write_mixed(model, floats, split, mixed)
        floats.unlink()
        changed, _, _ = distance(found.part("adapted"), found.part("plain"), False)
        self.assertGreater(changed, 0.01, "the adapter changed next to nothing")
        return found

    def both(self, model, *arguments, precision):
        """Together and one by one: the same bits. Returns (Logits, counters of the first)."""
        together, run = self.logits(model, *arguments, precision=precision)
        alone, other = self.logits(model, *arguments, precision=precision, fuse=0)
        self.assertEqual((run.stats.failures, run.stats.reference), (0, 0))
        self.assertGreater(run.stats.npu, 0)
        self.assertEqual(other.stats.document["flows"], 0)
        differ = [key for key, rows in together.batches.items() if rows != alone.batches[key]]
        self.assertTrue(together.bytes == alone.bytes, f"GGML_RKNPU2_FUSE=0 has other bits in {differ}")
        return together, run.stats

    def compare(self, model, adapter, mixed, split, precision):
        """({case: distance}, flows); the cases are "", "adapter" and "split"."""
        found, stats = self.both(model, "--adapter", adapter, precision=precision)
        parted, parted_stats = self.both(mixed, "--cpu", f"^({'|'.join(map(re.escape, split))})$", precision=precision)
        self.assertEqual(parted_stats.names(), sorted(set(stats.names(r"(?<!\.lora_[ab])$")) - set(split)))
        wanted, ties = self.wanted, self.ties
        return {"": distance(found.part("plain"), wanted.part("plain"), ties),
                ", adapter": distance(found.part("adapted"), wanted.part("adapted"), ties),
                ", split": distance(parted.part("plain"), wanted.part("plain"), ties)}, stats.document["flows"]

    def check(self, name):
        w = real_widths.MODELS[name]
        self.arch, self.ties = w.arch, w.ties
        real_widths.check_names(harness.setting("LLAMA_DIR"), w.arch, real_widths.shapes_of(name)[0])
        model, adapter, mixed = (self.folder / f"{name}.{kind}" for kind in ("gguf", "lora.gguf", "mixed.gguf"))
        matrices = real_widths.write_model(name, model)
        real_widths.write_adapter(name, matrices, adapter)
        split = sorted(random.Random(name).sample(sorted(matrices), len(matrices) // 3))
        self.wanted = self.yardstick(model, adapter, split, mixed)
        row = {"model": name, "architecture": w.arch, "type": w.type, "embedding": w.embedding, "feed-forward": w.feed_forward or ""}
        # Both sides of an encoder with a decoder have so many layers.
        bound = PRODUCT * (4 * w.layers * (2 if w.arch == "t5" else 1) + 1)
        row.update({"bound of the default": f"{bound:.1e}", "prompts": self.lengths.replace(",", " ")})
        for precision, limit in (("exact", EXACT), ("default", bound)):
            figures, row["flows"] = self.compare(model, adapter, mixed, split, precision)
            row.update({precision + case: f"{value:.2e}" for case, (value, _, _) in figures.items()})
            said = (f"{value:.2e}{case}, at most {worst:.2e} in {where}" for case, (value, worst, where) in figures.items())
            print(f"{name} {precision}: " + "; ".join(said), flush=True)
            for case, (value, worst, where) in figures.items():
                self.assertLess(value, limit, precision + case)
                self.assertLess(worst, 10 * limit, f"{precision}{case}: {where}")
                self.assertGreater(value, 0, f"{precision}{case}: equal to the CPU, so the NPU did not take part")
        record(row)


class RealWidths(Widths):
    lengths = FEW_LENGTHS


class AllLengths(Widths):
    """The same models."""


class MoreRealWidths(Widths):
    """All others: hours."""


def add_cases():
    for name in real_widths.MODELS:
        for case in (RealWidths, AllLengths) if name in DEFAULT else (MoreRealWidths,):
            setattr(case, "test_" + re.sub(r"\W", "_", name), lambda self, name=name: self.check(name))


add_cases()

if __name__ == "__main__":
    harness.main()
