# SPDX-License-Identifier: MIT
"""Several rows at once, of a draft or of other sequences, take the runs and the weights of one row: counted, in a real model, as predicted."""

import harness
import test_prediction
import test_statistics
from harness import HostTest

PROGRAM = harness.BUILD_DIR / "bin" / "logits_of_model"
ROWS = 9  # of an odd number the program wants every row's logits


class Rows(HostTest):
    text = test_statistics.Statistics.text
    gathered = test_statistics.Statistics.gathered
    predicted = test_prediction.Prediction.predicted
    compare_rows = test_prediction.Prediction.compare_rows

    def stats_of(self, length, precision, extra):
        """Of a graph of `length` rows, each with the head, and one of a row."""
        out = self.folder / f"logits-{length}"
        run = self.host(str(PROGRAM), harness.MODEL, out, "--lengths", length, precision=precision, extra=extra)
        self.assertRegex(run.out, rf"plain {length} \w+ {length} \d+\nplain {length} next 1 ")
        self.assert_ran_on_npu(run)
        self.assertEqual(run.stats.npu, 2 * harness.ALL_WEIGHTS)
        return run.stats.document

    def check(self, precision, extra=None):
        one, several = (self.stats_of(length, precision, extra) for length in (1, ROWS))
        if precision != "default":  # its planes are the statistics' choice
            self.compare_rows(harness.MODEL, ROWS, precision, several)
        for document in (one, several):
            self.assertEqual(document["graphs"], 2)
        self.assertEqual(several["runs"], one["runs"])
        self.assertEqual(several["bytes"]["weights"], one["bytes"]["weights"])
        packed = sum(weight["packed_bytes"] for weight in one["weights"])
        self.assertLessEqual(one["bytes"]["weights"], 2 * 1.03 * packed)
        # And they were computed: two graphs of a row give twice the results of one, ROWS + 1 rows five times as many.
        self.assertGreater(several["bytes"]["results"], 3 * one["bytes"]["results"])
        print(f"{precision}: {ROWS} rows as one: {several['runs'] // 2} runs, {several['bytes']['weights'] / 2 / packed:.3f} of the packed weights")

    def test_default(self):
        self.check("default")

    def test_fast(self):
        self.check("fast")

    def test_compact(self):
        self.check("compact", {"GGML_RKNPU2_STATISTICS": str(self.gathered())})


if __name__ == "__main__":
    harness.main()
