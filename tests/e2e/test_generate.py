# SPDX-License-Identifier: MIT
"""Text generation: which weights go to the NPU for each -ngl, in which precision, and that nothing depends on chance."""

import hashlib
import re

import harness
from harness import HostTest, english

PARIS = re.compile(r"The capital of France is\s+Paris\b")


def splits_of(log):
    """The numbers of graph splits that llama.cpp reserved, for prompts and for single tokens."""
    lines = re.findall(r"(?m)graph.* splits = (.*?)(?:, input|$)", log)
    return [int(number) for line in lines for number in re.findall(r"(?<![=\d])\b(\d+)\b", line)]


class Layers(HostTest):
    """-ngl N puts the matrices of N layers (the head counts as one) on the NPU; the graph stays in 1 or 2 pieces."""

    def check(self, layers, weights, splits):
        run = self.complete(layers=layers, count=8)
        self.assertRegex(run.out, PARIS)
        self.assert_ran_on_npu(run, weights)
        found = splits_of(run.log)
        self.assertTrue(found, "llama.cpp printed no number of splits")
        self.assertLessEqual(set(found), splits)
        self.assert_says(r"Flash Attention (was auto, set to )?enabled", run.log)
        self.assertNotRegex(run.log, r"Flash Attention (was )?(auto, set to )?disabled")
        self.check_activations(run.stats, weights)
        self.check_runs(run.stats, weights)
        print(f"-ngl {layers}: {len(run.stats.weights)} weights, {run.stats.npu} matmuls, splits {sorted(set(found))}")

    def check_activations(self, stats, weights):
        """Four matrices of activations are quantised for the seven weights of a layer, and one for the head."""
        matrices = stats.document["activation_matrices"]
        self.assertEqual(matrices["quantised"] + matrices["shared"], stats.npu)
        most = (weights - 1) // 7 * 4 + 1 if weights else 0
        self.assertLessEqual(matrices["quantised"], most * stats.document["graphs"])

    def check_runs(self, stats, weights):
        """A run call for each of three cores and each of four groups of a layer; the head is one run for each."""
        layers = (weights - 1) // 7 if weights else 0
        head = 3 if weights else 0
        self.assertLessEqual(stats.document["runs"], (layers * 4 * 3 + head) * stats.document["graphs"])
        packed = sum(weight["packed_bytes"] for weight in stats.weights)
        self.assertLessEqual(stats.document["bytes"]["weights"], 1.03 * packed * stats.document["graphs"])

    def test_none(self):
        self.check(0, 0, {1})

    def test_head_only(self):
        self.check(1, 1, {1, 2})

    def test_ten(self):
        self.check(10, 64, {1, 2})

    def test_twenty(self):
        self.check(20, 134, {1, 2})

    def test_all(self):
        self.check(99, harness.ALL_WEIGHTS, {1, 2})


class Precisions(HostTest):
    """Each precision runs, and the statistics say which arithmetic multiplied."""

    def check(self, precision, arithmetic, counter):
        run = self.complete(precision=precision, count=6)
        self.assertRegex(run.out, PARIS)
        self.assertEqual(run.stats.weight_precisions(), {arithmetic})
        self.assertEqual(len(run.stats.weights), harness.ALL_WEIGHTS)
        counters = {"int8": run.stats.int8, "fp16": run.stats.fp16, "reference": run.stats.reference}
        self.assertGreater(counters.pop(counter), harness.ALL_WEIGHTS)
        self.assertEqual(set(counters.values()), {0})
        self.assertEqual(run.stats.failures, 0)
        if precision != "default":
            self.assertEqual(run.stats.precision, precision)

    def test_default(self):
        self.check("default", "int8", "int8")

    def test_fast(self):
        self.check("fast", "int8", "int8")

    def test_exact(self):
        self.check("exact", "fp16", "fp16")

    def test_reference(self):
        self.check("reference", "reference", "reference")

    def test_naive(self):
        """One scale a tensor is too coarse to promise an answer; it must run, in int8."""
        run = self.complete(precision="naive", count=6)
        self.assert_ran_on_npu(run)
        self.assertEqual(run.stats.precision, "naive")
        self.assertEqual((run.stats.int8, run.stats.fp16), (run.stats.npu, 0))


class Repeatable(HostTest):
    """The same command gives the same bits, twice and however the file is read."""

    def logits(self, text, name, *arguments):
        """Digest of all logits of two chunks, as llama-perplexity saves them, and the perplexity it prints."""
        path = self.folder / name
        run = self.host("llama-perplexity", "-m", harness.MODEL, "-ngl", 99, "-f", text, "-c", 128, "--chunks", 2,
                        "--kl-divergence-base", path, *arguments, says=r"\[1\][0-9.]+,\[2\][0-9.]+")
        self.assert_ran_on_npu(run)
        self.assertGreater(path.stat().st_size, 2 * 64 * 49152, "the file with the logits is too short")
        numbers = self.assert_says(r"\[1\][0-9.]+,\[2\][0-9.]+", run.out + run.log).group(0)
        return hashlib.sha256(path.read_bytes()).hexdigest(), numbers

    def test_mapped_or_read(self):
        text = english(self.folder, 4000)
        mapped, read = self.logits(text, "mapped"), self.logits(text, "read", "-lm", "none")
        self.assertEqual(mapped, read)
        self.assertEqual(mapped, self.logits(text, "again"))
        print("perplexities", mapped[1])

    def test_same_text(self):
        first, second = (self.complete(count=24, says=harness.WHOLE_TEXT) for _ in range(2))
        self.assertGreater(len(first.out.split()), 8)
        self.assertEqual(first.out, second.out)

    def test_every_way_to_load(self):
        """Each mode that --help of the host lists, lazy tensors, and whatever a locked mapping does when its pages are given back."""
        known = self.host("llama-completion", "--help", precision=None)
        modes = re.search(r"--load-mode MODE.*?\n((?: +- ?.*\n| {30,}.*\n)+)", known.out + known.log)[1]
        modes = re.findall(r"- ([a-z+]+):", modes)
        self.assertTrue({"none", "mmap", "mlock", "mmap+mlock", "dio"} <= set(modes), modes)
        expected = None
        for arguments in [*(("-lm", mode) for mode in modes), ("-lzm", "on"), ("-lzm", "off")]:
            with self.subTest(arguments):
                run = self.complete(*arguments, count=8, says=harness.WHOLE_TEXT)
                self.assert_ran_on_npu(run)
                self.assertNotRegex(run.log, r"[WE] ggml-rknpu2")
                expected = expected or run.out
                self.assertEqual(run.out, expected)


if __name__ == "__main__":
    harness.main()
