# SPDX-License-Identifier: MIT
"""llama.cpp's own test of every architecture on our device: a small random model of each, its logits compared with the CPU's.

The program is test-llama-archs-rows (scripts/host-archs.cmake says how it differs from the stock one). With 64 rows in a micro-batch, as in
the stock program, no prompt is streamed through a graph; with 250 it is, in nearly every architecture. Its models have 256 embeddings; a few are
made with 3072, too.
"""

import collections
import os
import re

import harness
from harness import HostTest

PROGRAM = "test-llama-archs-rows"
DEVICE = "RKNPU0"
ROWS = 250
TOLERANCE = 1e-4  # the program's own, NMSE of all logits
# ggml's tolerance for one product is 5e-4, which test_backend_ops.py requires in every precision. Errors that are independent add up, and
# the deepest model has six layers of four products one after the other, and a head.
INT8 = 25 * 5e-4
SEED = os.environ.get("RKNPU2_TEST_SEED", "16")

# Some that differ in how they are built, and take the width as it is.
WIDE = ("llama", "falcon", "qwen4exp", "mpt", "gptneox", "plamo3", "jamba", "olmoe", "cohere2", "minimax-m2")

Result = collections.namedtuple("Result", "arch config device nmse status roundtrip")


def results(text):
    rows = re.findall(r"^\| *(\S+)\| *([^|]+)\| *(Dense|MoE)\| *(\w+)(?: \((.*?)\))?(?: \((.*?)\))? *\| *(\w+)\|", text, re.MULTILINE)
    # A failure of the toggle of causal attention stands before the number.
    return [Result(arch, config, device, float(second or first), status + (f" ({first})" if second else ""), roundtrip)
            for arch, device, config, status, first, second, roundtrip in rows if status != "SKIP"]


class ArchitectureBase(HostTest):
    devices = ("-b", DEVICE)
    least = 133  # architectures, some of them dense and with experts, that the pinned program makes

    def setUp(self):
        super().setUp()
        if not (harness.BIN_DIR / PROGRAM).exists():
            self.skipTest(f"{harness.BIN_DIR} has no {PROGRAM}: scripts/host-llama.sh builds it, with its own llama.cpp")

    def run_archs(self, rows, precision, seed, fuse=1, width=256):
        """(results, digests, counters). rows 0: as the stock program, 128 tokens in micro-batches of 64."""
        extra = {"GGML_RKNPU2_FUSE": str(fuse), "RKNPU2_ARCHS_WIDTH": str(width), **({"RKNPU2_ARCHS_TOKENS": str(rows)} if rows else {})}
        run = self.host(PROGRAM, "-s", seed, *self.devices, precision=precision, extra=extra, code=None, says="Summary: ")
        text = re.sub(r"\x1b\[[0-9;]*m", "", run.out)
        self.assertIn(run.code, (0, 1), harness.tail(text + run.log))
        total = int(self.assert_says(r"Summary: (?:all )?(\d+) test", text).group(1))
        found = results(text)
        self.assertEqual(len(found), total)
        ours = [result for result in found if "RK3588" in result.device]
        self.assertGreaterEqual(len(ours), self.least)
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(run.stats.reference, 0)
        self.assertGreater(run.stats.npu, 20 * len(ours))
        digests = re.findall(r"^digest\|.*$", run.log, re.MULTILINE)
        self.assertGreaterEqual(len(digests), len(ours))
        worst = max(found, key=lambda result: result.nmse)
        print(f"{precision}, seed {seed}, {rows or 64} rows, GGML_RKNPU2_FUSE={fuse}: {total} models, the worst {worst.arch} "
              f"({worst.config}) with {worst.nmse:.2e}; {run.stats.document['flows']} flows", flush=True)
        return found, digests, run.stats

    def assert_within_tolerance(self, found):
        self.assertEqual([result for result in found if result.status != "OK" or result.roundtrip == "FAIL"], [])

    def assert_same_bits_alone(self, rows, precision, seed, digests, **options):
        _, alone, stats = self.run_archs(rows, precision, seed, fuse=0, **options)
        self.assertEqual(stats.document["flows"], 0)
        self.assertEqual(len(digests), len(alone))
        self.assertEqual([pair for pair in zip(digests, alone) if pair[0] != pair[1]], [])


class Architectures(ArchitectureBase):
    seeds = (SEED,)

    def check_exact(self, rows, alone=True):
        for seed in self.seeds:
            found, digests, stats = self.run_archs(rows, "exact", seed)
            self.assert_within_tolerance(found)
            self.check_flows(rows, stats)
            if alone:
                self.assert_same_bits_alone(rows, "exact", seed, digests)

    def check_flows(self, rows, stats):
        if rows:
            self.assertGreater(stats.document["flows"], 5 * self.least)
        else:  # the few that encode have all 128 tokens in one micro-batch
            self.assertLess(stats.document["flows"], 0.5 * self.least)

    def test_64_rows(self):
        self.check_exact(0)

    def test_250_rows(self):
        """The bits operation by operation are compared by default alone, below, and in each precision in AllArchitectures."""
        self.check_exact(ROWS, alone=len(self.seeds) > 1)

    def test_250_rows_by_default(self):
        """In int8 the program's tolerance is too narrow for some; its other checks hold."""
        for seed in self.seeds:
            found, digests, stats = self.run_archs(ROWS, "default", seed)
            self.assertEqual([result for result in found if result.nmse > INT8 or result.roundtrip == "FAIL"
                              or result.status not in ("OK", "FAIL") or (result.status == "FAIL") != (result.nmse > TOLERANCE)], [])
            self.check_flows(ROWS, stats)
            self.assert_same_bits_alone(ROWS, "default", seed, digests)


class AllArchitectures(Architectures):
    """The CPU and a tensor split, too, and other random weights."""

    devices = ()
    seeds = (SEED, "1", "2", "3")


class WideArchitecture(ArchitectureBase):
    """One whose small matrices share activations with each other and with a large one, at a width at which theirs are cut differently."""

    devices = ("-b", DEVICE, "-a", "^qwen4exp$")
    least = 1

    def test_64_rows(self):
        found, _, _ = self.run_archs(0, "exact", SEED, width=3072)
        self.assert_within_tolerance(found)


class WideArchitectures(ArchitectureBase):
    """More of them, with prompts that are streamed, alone and together."""

    devices = ("-b", DEVICE, "-a", f"^({'|'.join(WIDE)})$")
    least = len(WIDE)

    def test_250_rows(self):
        found, digests, _ = self.run_archs(ROWS, "exact", SEED, width=3072)
        self.assert_within_tolerance(found)
        self.assert_same_bits_alone(ROWS, "exact", SEED, digests, width=3072)


if __name__ == "__main__":
    harness.main()
