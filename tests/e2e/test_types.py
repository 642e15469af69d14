# SPDX-License-Identifier: MIT
"""Weight types: the model requantised; all matrices on the NPU, and the logits close to the reference.

The yardstick is GGML_RKNPU2_PRECISION=reference: weights dequantised, products accumulated in double. llama-perplexity writes
its logits for 2 chunks of 512 tokens, reads them again and compares: mean Kullback-Leibler divergence (KLD), and how often the
most probable token is the same (same top). The column `cpu` is llama.cpp's own CPU backend against the same reference: how far
apart two sound implementations of that type are. The table is collected in types.json of the output folder.
"""

import json
import os

import harness
from harness import HostTest, english, script

import quality_figures  # of scripts/, which harness makes known

TYPES = "F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_1 Q4_0 IQ4_XS Q2_K".split()
SAME_TOP = 80.0  # percent, promised
CHUNKS = 2
TABLE = harness.OUT_DIR / "types.json"


def record(row):
    """Adds a row to the table in the file; tests of types may run in processes of their own."""
    rows = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    rows[row["type"]] = row
    partial = TABLE.with_suffix(".part")
    partial.write_text(json.dumps({name: rows[name] for name in TYPES if name in rows}, indent=2) + "\n")
    os.replace(partial, TABLE)


class Types(HostTest):
    """At -ngl 99 all 211 matrices of each type are on the NPU, and at least 80 % of the top tokens are the reference's."""

    def perplexity(self, model, text, *arguments, **options):
        return self.host("llama-perplexity", "-m", model, "-ngl", 99, "-f", text, "-c", 512, "--chunks", CHUNKS, *arguments,
                         **options)

    def compare(self, model, text, base, precision):
        run = self.perplexity(model, text, "--kl-divergence-base", base, "--kl-divergence", precision=precision, says="Same top p:")
        try:
            found = quality_figures.figures(run.out)
        except quality_figures.NoFigures as error:
            self.fail(f"{error}:\n" + harness.tail(run.out + run.log))
        return run, (found["kld"], found["same_top"])

    def check(self, name):
        model, text, base = script("model.sh", "--type", name), english(self.folder), self.folder / "base.kld"
        reference = self.perplexity(model, text, "--kl-divergence-base", base, precision="reference")
        self.assertEqual(reference.stats.weight_precisions(), {"reference"})
        self.assertEqual(len(reference.stats.weights), harness.ALL_WEIGHTS)
        self.assertEqual(reference.stats.npu, 0)
        run, (divergence, same_top) = self.compare(model, text, base, "default")
        _, (cpu_divergence, cpu_same_top) = self.compare(model, text, base, None)
        stored = sorted({weight["type"] for weight in run.stats.weights})
        print(f"{name:7} KLD {divergence:.5f}, same top {same_top:.2f} %; cpu: KLD {cpu_divergence:.5f}, same top "
              f"{cpu_same_top:.2f} %; {len(run.stats.weights)} matrices of {' '.join(stored)}", flush=True)
        record({"type": name, "stored": stored, "kld": divergence, "same_top": same_top, "cpu_kld": cpu_divergence,
                "cpu_same_top": cpu_same_top, "weights": len(run.stats.weights), "precision": run.stats.precision})
        self.assert_ran_on_npu(run)
        self.assertGreater(divergence, 0, "equal to the reference: the default precision did not take part")
        self.assertGreaterEqual(same_top, SAME_TOP)
        self.assertGreaterEqual(cpu_same_top, SAME_TOP, "the CPU backend differs from the reference, so that one is suspect")


def add_cases():
    for name in TYPES:
        setattr(Types, "test_" + name, lambda self, name=name: self.check(name))


add_cases()

if __name__ == "__main__":
    harness.main()
