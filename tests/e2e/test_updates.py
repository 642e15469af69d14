# SPDX-License-Identifier: MIT
"""Weights that change while they are in use: a graph may overwrite what has been packed, as training does."""

import re

import harness
import made_models
from harness import BIN_DIR, BUILD_DIR, HostTest, english


class InPlace(HostTest):
    """host_inplace_update.cpp: a weight is multiplied, overwritten by the graph, and multiplied again."""

    def check(self, precision, counter):
        program = BUILD_DIR / "tests" / "e2e" / "host_inplace_update"
        run = self.host(str(program), BIN_DIR, precision=precision)
        print(run.out, end="")
        self.assertEqual(len(re.findall(r" ok$", run.out, re.MULTILINE)), 9)
        self.assertEqual(getattr(run.stats, counter), 9, "products that were ours")
        self.assertEqual(run.stats.failures, 0)

    def test_fast(self):
        self.check("fast", "int8")

    def test_exact(self):
        self.check("exact", "fp16")

    def test_reference(self):
        self.check("reference", "reference")


class Training(HostTest):
    """llama-finetune of a small random model: each optimiser step changes all weights inside the graph.

    A weight that stayed packed from before a step would leave the forward pass where it was, and the loss with it.
    """

    def losses(self, rate, precision):
        """(final training loss, validation loss, run) after two epochs."""
        model = self.folder / "dense.gguf"
        self.matrices, _ = made_models.write_model(model)
        run = self.host("llama-finetune", "-m", model, "-f", english(self.folder, 3000), "-ngl", 99, "-c", 128, "-b", 128,
                        "-ub", 128, "-lr", rate, "-epochs", 2, "-val-split", 0.2, "-o", self.folder / "tuned.gguf",
                        precision=precision)
        text = run.log.replace("\r", "\n")
        train, validation = (float(re.findall(rf"{name}:.*loss=([0-9.]+)", text)[-1]) for name in ("train", "val"))
        return train, validation, run

    def test_finetune(self):
        untrained, _, _ = self.losses("1e-12", "exact")
        train, validation, run = self.losses("1e-2", "exact")
        cpu_train, cpu_validation, _ = self.losses("1e-2", None)
        print(f"loss {untrained} untrained; {train} trained (CPU {cpu_train}); validation {validation} (CPU {cpu_validation})")
        self.assertEqual(run.stats.names(), self.matrices)
        self.assertGreater(run.stats.fp16, 10 * len(self.matrices))
        self.assertEqual(run.stats.failures, 0)
        self.assertLess(train, untrained - 1)
        self.assertLess(abs(train / cpu_train - 1), 0.02)
        self.assertLess(abs(validation / cpu_validation - 1), 0.02)


if __name__ == "__main__":
    harness.main()
