"""Statistics of activations: gathered by one run of a stock program, used by the next, refused for another model."""

import harness
from harness import ALL_WEIGHTS, HostTest


class Statistics(HostTest):
    def gathered(self):
        path = self.folder / "activations"
        run = self.complete(count=8, extra={"GGML_RKNPU2_CALIBRATE": str(path)})
        self.assertEqual(path.read_bytes()[:8], b"RKNPUCAL")
        self.assert_ran_on_npu(run)
        return path

    def with_statistics(self, run):
        return sum(weight["activation_statistics"] for weight in run.stats.weights)

    def test_gathered_and_used(self):
        path = self.gathered()
        for precision in ("fast", "balanced"):
            run = self.complete(precision=precision, extra={"GGML_RKNPU2_STATISTICS": str(path)})
            self.assert_ran_on_npu(run)
            self.assertEqual(self.with_statistics(run), ALL_WEIGHTS)
            self.assertIn("Paris", run.out)

    def test_another_quantisation_is_another_model(self):
        path = self.gathered()
        other = harness.script("model.sh", "--type", "Q8_0")
        run = self.complete(model=other, extra={"GGML_RKNPU2_STATISTICS": str(path)})
        self.assertIn("activation statistics are not of this model", run.log)
        # The embeddings, which are the head here, have the same type and bytes in both files.
        self.assertLessEqual(self.with_statistics(run), 1)
        self.assertIn("Paris", run.out)

    def test_a_damaged_file_is_one_clear_line(self):
        path = self.gathered()
        path.write_bytes(path.read_bytes()[:-100])
        run = self.complete(layers=0, extra={"GGML_RKNPU2_STATISTICS": str(path)})
        self.assertIn("no NPU: GGML_RKNPU2_STATISTICS", run.log)
        self.assertIn("cut short or damaged", run.log)


if __name__ == "__main__":
    harness.main()
