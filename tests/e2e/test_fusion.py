# SPDX-License-Identifier: MIT
"""What is computed together gives what is computed by itself: the same bits, for every way to use a model."""

import harness
from harness import HostTest

PROGRAM = harness.BUILD_DIR / "bin" / "sequence_digests"
USES = 11 + 8 + 2  # prompts, numbers of sequences, a shift, a cache used again
STREAMS = 11  # numbers and lengths of sequences


class Fusion(HostTest):
    """GGML_RKNPU2_FUSE=0 computes every operation by itself."""

    longest = 700  # tokens of a prompt: a micro-batch of 512 and the rest

    def digests(self, precision, fuse, *options, uses=USES):
        """One line for each use, as tests/ggml/sequence_digests.cpp prints them."""
        run = self.host(PROGRAM, self.longest, *options, precision=precision, extra={"GGML_RKNPU2_FUSE": str(fuse)})
        self.assert_ran_on_npu(run)
        lines = [line for line in run.out.splitlines() if line.count(",") == 1 and ":" in line]
        self.assertEqual(len(lines), uses, run.out)
        self.assertEqual(len({line.rpartition(",")[2] for line in lines}), uses, "different uses have the same logits")
        return lines, run.stats.document

    def check(self, precision):
        apart, alone = self.digests(precision, 0)
        together, shared = self.digests(precision, 1)
        self.assertEqual(together, apart)
        self.assertEqual(alone["activation_matrices"]["shared"], 0)
        self.assertGreater(shared["activation_matrices"]["shared"], 0)
        self.assertLess(shared["runs"], 0.7 * alone["runs"])
        self.assertEqual(shared["matmuls"], alone["matmuls"])
        self.assertEqual(alone["fused_nodes"], 0)
        # Prompts of 511, 512, 513 and more tokens flow, piece by piece: all layers but the last.
        self.assertEqual(alone["flows"], 0)
        self.assertGreaterEqual(shared["flows"], 5)
        self.assertGreater(shared["flow_nodes"], 29 * 25 * shared["flows"])
        # Else a gate in each layer, unless ggml gave its result the place of the activations.
        self.assertGreater(shared["fused_nodes"], 0.95 * 30 * (shared["graphs"] - shared["flows"]))
        print(f"{precision}: {USES} uses, {shared['runs']} runs instead of {alone['runs']}")

    def test_fast(self):
        self.check("fast")

    def test_balanced(self):
        self.check("balanced")

    def test_streams(self):
        """Sequences with a cache each go through whole layers together."""
        apart, _ = self.digests("fast", 0, "f16", "streams", uses=STREAMS)
        together, shared = self.digests("fast", 1, "f16", "streams", uses=STREAMS)
        self.assertEqual(together, apart)
        self.assertGreaterEqual(shared["flows"], STREAMS)
        self.assertGreater(shared["flow_nodes"], 29 * 25 * shared["flows"])

    def test_quantised_cache(self):
        """So do queries, keys, values and results that are rotated for it."""
        apart, _ = self.digests("fast", 0, "q8_0")
        together, shared = self.digests("fast", 1, "q8_0")
        self.assertEqual(together, apart)
        self.assertGreater(shared["flow_nodes"], 29 * 29 * shared["flows"])


class LongFusion(Fusion):
    """Four micro-batches."""

    longest = 2000


if __name__ == "__main__":
    harness.main()
