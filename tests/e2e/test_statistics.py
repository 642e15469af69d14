"""Statistics of activations: gathered by one run of a stock program, used by the next, refused for another model."""

import harness
from harness import ALL_WEIGHTS, HostTest


class Statistics(HostTest):
    def text(self):
        path = self.folder / "text"
        path.write_text("The tower clock has three trains, each with a weight of its own. " * 80)
        return path

    def gathered(self):
        """Of 128 tokens, half of which have logits."""
        path = self.folder / "activations"
        run = self.host("llama-perplexity", "-m", harness.MODEL, "-ngl", 99, "-f", self.text(), "-c", 128, "-b", 128, "--chunks", 1, "-lv", 4,
                        extra={"GGML_RKNPU2_CALIBRATE": str(path)})
        self.assertEqual(path.read_bytes()[:8], b"RKNPUCAL")
        self.assertNotIn("GGML_RKNPU2_CALIBRATE", run.log)
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


    def test_a_warm_up_is_no_text(self):
        path = self.folder / "activations"
        nothing = self.folder / "nothing"
        nothing.write_text("")
        run = self.host("llama-completion", "-m", harness.MODEL, "-ngl", 99, "-no-cnv", "-f", nothing, "-n", 0, "-lv", 4, code=None,
                        extra={"GGML_RKNPU2_CALIBRATE": str(path)}, says="a warm-up does not count")
        self.assertIn("GGML_RKNPU2_CALIBRATE: nothing is written, since no text was read (a warm-up does not count)", run.out + run.log)
        self.assertFalse(path.exists())

    def test_too_few_rows_are_not_used(self):
        path = self.folder / "activations"
        run = self.complete(count=4, extra={"GGML_RKNPU2_CALIBRATE": str(path)}, says="saw fewer")
        self.assertIn(f"GGML_RKNPU2_CALIBRATE: {ALL_WEIGHTS} of {ALL_WEIGHTS} weights saw fewer than 32 rows", run.out + run.log)
        run = self.complete(layers=0, count=2, extra={"GGML_RKNPU2_STATISTICS": str(path)}, says="no NPU")
        self.assert_says(r"no NPU: GGML_RKNPU2_STATISTICS: .*activations: at most \d+ rows of activations were seen of any weight, and 32 are needed",
                         run.out + run.log)
        # Found in the cache they are left alone, in one line, and the model runs without.
        cache = self.folder / "cache"
        (cache / "statistics").mkdir(parents=True)
        path.rename(cache / "statistics" / "thin.rknpucal")
        run = self.complete(count=2, extra={"RKNPU2_CACHE": str(cache), "GGML_RKNPU2_STATISTICS": "auto"}, says="are not used")
        self.assert_says("activation statistics are not used: .*thin.rknpucal: at most", run.out + run.log)
        self.assert_ran_on_npu(run)
        self.assertEqual(self.with_statistics(run), 0)

    def test_gathering_marks_the_output(self):
        """Without sensitivities the head alone has two planes."""
        path = self.gathered()
        run = self.complete(count=2, extra={"GGML_RKNPU2_STATISTICS": str(path)})
        self.assertEqual([weight["name"] for weight in run.stats.weights if weight["planes"] == 2], ["token_embd.weight"])

    def test_sensitivities(self):
        """The same graph is computed for every weight; here of three layers, 21 matrices, and the head."""
        path, measured = self.gathered(), self.folder / "measured"
        text = self.text()
        # Of 256 tokens the second half has logits; in parts of 24 there is a part of which all tokens have.
        run = self.host("llama-perplexity", "-m", harness.MODEL, "-ngl", 4, "-f", text, "-c", 256, "-b", 256, "-ub", 24, "--chunks", 1,
                        "--no-warmup", "-lv", 4, extra={"GGML_RKNPU2_STATISTICS": str(path), "GGML_RKNPU2_SENSITIVITY": str(measured)}, says="sensitivity: 22")
        self.assertIn("sensitivity: 22 of 22 weights", run.out + run.log)
        self.assertNotIn("gave two results", run.out + run.log)
        self.assertEqual({weight["planes"] for weight in run.stats.weights}, {2})
        self.assertEqual(path.stat().st_size, measured.stat().st_size)
        run = self.complete(extra={"GGML_RKNPU2_STATISTICS": str(measured)})
        self.assert_ran_on_npu(run)
        # The budget, a quarter of all layers, is enough for the three that were measured.
        two = [weight["name"] for weight in run.stats.weights if weight["planes"] == 2]
        self.assertEqual(len(two), 22)
        self.assertEqual([name for name in two if not name.startswith(("blk.27.", "blk.28.", "blk.29."))], ["token_embd.weight"])
        self.assertIn("Paris", run.out)

    def test_found_in_the_cache(self):
        cache = self.folder / "cache"
        (cache / "statistics").mkdir(parents=True)
        self.gathered().rename(cache / "statistics" / "some-model.rknpucal")
        found = {"RKNPU2_CACHE": str(cache), "GGML_RKNPU2_STATISTICS": "auto"}
        run = self.complete(count=2, extra=found)
        self.assertEqual(self.with_statistics(run), ALL_WEIGHTS)
        run = self.complete(count=2, extra={**found, "GGML_RKNPU2_STATISTICS": "none"})
        self.assertEqual(self.with_statistics(run), 0)
        other = harness.script("model.sh", "--type", "Q8_0")
        run = self.complete(count=2, model=other, extra=found)
        self.assertLessEqual(self.with_statistics(run), 1)  # the embeddings
        self.assertNotIn("not of this model", run.log)

    def test_importance_matrices_are_a_substitute(self):
        text, path = self.text(), self.folder / "imatrix.gguf"
        self.host("llama-imatrix", "-m", harness.MODEL, "-ngl", 99, "-f", text, "-c", 128, "--chunks", 2, "-o", path)
        run = self.complete(extra={"GGML_RKNPU2_STATISTICS": str(path)})
        self.assertEqual(self.with_statistics(run), ALL_WEIGHTS - 1)  # llama-imatrix leaves the head out
        self.assertIn("Paris", run.out)

    def test_what_does_not_fit_together_is_one_clear_line(self):
        path = self.folder / "never"
        for extra, line in (({}, "needs the file of GGML_RKNPU2_CALIBRATE"),
                            ({"GGML_RKNPU2_PRECISION": "exact", "GGML_RKNPU2_STATISTICS": str(self.gathered())}, "needs GGML_RKNPU2_PRECISION=balanced")):
            run = self.complete(layers=0, count=2, extra={"GGML_RKNPU2_SENSITIVITY": str(path), **extra})
            self.assertIn("no NPU: ", run.log)
            self.assertIn(line, run.log)
        self.assertFalse(path.exists())


if __name__ == "__main__":
    harness.main()
