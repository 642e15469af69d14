# SPDX-License-Identifier: MIT
"""Attention on the NPU against float64, on the queries, keys, values and masks of real models and a real text.

Relative errors of the output, as tests/ggml/attention_error.cpp has them: of all rows of a kind together, and of the worst one.
RKNPU2_E2E_POSITIONS: other lengths than those of docs/quality.md.
"""

import csv
import io
import math

import harness
from harness import HostTest

PROGRAM = harness.BUILD_DIR / "bin" / "attention_error"
MOST_RMS, MOST_OF_ROW = 1.2e-3, 1e-2
# What rounding the query to halves does to all scores of a row cancels, but against a sink.
# ggml's own, from the same operands.
OF_GGML = ("cpu", "cpu token", "cpu sink", "cpu token sink")
MOST_RMS_WITH_SINK = {"sink": 3e-3, "sink of halves": 1e-3}


class AttentionError(HostTest):
    def check(self, model, layers, positions, kinds):
        positions = int(harness.setting("POSITIONS", str(positions)))
        text = harness.english(self.folder, 8 * positions)
        run = self.host(PROGRAM, model, text, positions, precision="fast", timeout=7000)
        # Each micro-batch, and once with sinks.
        self.assertEqual(run.stats.document["attention"]["nodes"], layers * (-(-positions // 512) + 1), run.log[-2000:])
        self.assertEqual(run.stats.document["attention"]["tokens_without_halves"], 0)
        rows = list(csv.DictReader(io.StringIO(run.out)))
        table = harness.OUT_DIR / f"attention-error-{layers}.csv"
        table.write_text(run.out)
        found = {}
        for kind in (*kinds, *OF_GGML):
            of_kind = [row for row in rows if row["kind"] == kind]
            count = sum(int(row["rows"]) for row in of_kind)
            self.assertGreater(count, 0, kind)
            # Layers alike, since the sizes of their outputs differ.
            rms = math.sqrt(sum(int(row["rows"]) * float(row["rms"])**2 for row in of_kind) / count)
            worst = max(float(row["worst_row"]) for row in of_kind)
            found[kind] = rms, worst
            print(f"{kind}: {count} rows, rms {rms:.1e}, worst layer {max(float(row['rms']) for row in of_kind):.1e}, worst row {worst:.1e}")
        print(f"{table} has the layers")
        for kind in kinds:
            rms, worst = found[kind]
            self.assertLessEqual(rms, MOST_RMS_WITH_SINK.get(kind, MOST_RMS), kind)
            self.assertLessEqual(worst, MOST_OF_ROW, kind)

    def test_smollm2(self):
        self.check(harness.MODEL, 30, 4096, ("first", "full", "sink", "sink of halves"))

    def test_gemma(self):
        self.check(harness.script("model.sh", "--gemma"), 18, 8192, ("first", "full", "window", "sink", "sink of halves"))


if __name__ == "__main__":
    harness.main()
