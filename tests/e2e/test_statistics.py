# SPDX-License-Identifier: MIT
"""Statistics of activations: gathered by one run of a stock program, used by the next, refused for another model."""

import shutil
import signal
import subprocess

import gguf
import harness
import made_models
from harness import ALL_WEIGHTS, HostTest


class Statistics(HostTest):
    def text(self):
        path = self.folder / "text"
        path.write_text("The tower clock has three trains, each with a weight of its own. " * 80)
        return path

    of_all = None  # what one test has gathered, the others take

    def gathered(self):
        """A file of statistics: of 128 tokens, half of which have logits."""
        path = self.folder / "activations"
        if Statistics.of_all:
            path.write_bytes(Statistics.of_all)
            return path
        run = self.host("llama-perplexity", "-m", harness.MODEL, "-ngl", 99, "-f", self.text(), "-c", 128, "-b", 128, "--chunks", 1, "-lv", 4,
                        extra={"GGML_RKNPU2_CALIBRATE": str(path)})
        self.assertEqual(path.read_bytes()[:8], b"RKNPUCAL")
        self.assertNotIn("GGML_RKNPU2_CALIBRATE", run.log)
        self.assert_ran_on_npu(run)
        Statistics.of_all = path.read_bytes()
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

    def test_compact_streams_each_weight_once_a_token(self):
        """Of four bits but for the head, k and v. A row in pieces is more rows of the same run."""
        run = self.complete(count=4, precision="compact", extra={"GGML_RKNPU2_STATISTICS": str(self.gathered())})
        self.assert_ran_on_npu(run)
        packed = sum(weight["packed_bytes"] for weight in run.stats.weights)
        weights = sum(weight["N"] * weight["K"] for weight in run.stats.weights)
        self.assertLessEqual(packed, 0.631 * weights)
        self.assertGreater(packed, 0.6 * weights)
        streamed = run.stats.document["bytes"]["weights"] / run.stats.document["graphs"]
        self.assertGreater(streamed, 0.9 * packed)
        self.assertLessEqual(streamed, 1.03 * packed)
        print(f"compact: {streamed / packed:.3f} of the packed weights a token")

    def test_compact_leaves_single_tokens_to_the_cpu(self):
        """As the cost model says it of so small a model; its prompts are the NPU's, in four bits."""
        run = self.complete(count=4, prompt="One, two, three, four. " * 25 + harness.CAPITAL, precision="compact",
                            extra={"GGML_RKNPU2_STATISTICS": str(self.gathered()), "GGML_RKNPU2_MATRICES": "auto"})
        self.assertIn("Paris", run.out)
        self.assertGreater(run.stats.document["flows"], 0)
        self.assertGreater(len([weight for weight in run.stats.weights if weight["packed_bytes"] < 0.6 * weight["N"] * weight["K"]]), 140)
        self.assertGreaterEqual(run.stats.document["matrices_on_cpu"], 3 * (ALL_WEIGHTS - 1))

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
        # The second half of 256 tokens has logits; in parts of 24 there is a part of which all tokens have.
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


class Calibrate(HostTest):
    """scripts/calibrate.sh, with the programs that are built already."""

    def setUp(self):
        super().setUp()
        self.root, self.bin = self.folder / "root", self.folder / "bin"
        for folder in ("scripts", "share"):
            shutil.copytree(harness.ROOT / folder, self.root / folder)
        with (self.root / "scripts/lib.sh").open("a") as lib:
            lib.write(f"\nbuild_plugin() {{ REPLY={self.bin}; }}\n")
        (self.root / "build").mkdir()
        (self.root / "build/release").symlink_to(harness.BUILD_DIR)
        self.bin.mkdir()
        for program in ("llama-perplexity", "llama-completion"):
            (self.bin / program).symlink_to(harness.BIN_DIR / program)

    def stop_in_the_second_step(self):
        """The next llama-perplexity that measures is stopped by Ctrl-C: it and the script get the signal."""
        (self.bin / "llama-perplexity").unlink()
        (self.bin / "llama-perplexity").write_text(f"""#!/bin/bash
if [[ -n ${{GGML_RKNPU2_SENSITIVITY:-}} && ! -e {self.folder}/stopped ]]; then
    touch {self.folder}/stopped
    kill -INT $PPID
    exit 130
fi
echo "${{GGML_RKNPU2_SENSITIVITY:+measured}}${{GGML_RKNPU2_CALIBRATE:+gathered}}" >>{self.folder}/steps
exec {harness.BIN_DIR}/llama-perplexity "$@"
""")
        (self.bin / "llama-perplexity").chmod(0o755)

    def steps(self):
        return (self.folder / "steps").read_text().split()

    def script(self, name, *arguments, stderr=subprocess.PIPE):
        environment = {**harness.clean_environment(), "RKNPU2_CACHE": str(self.folder / "cache"), "GGML_RKNPU2_RUNTIME": "sim", "RKNNSIM_CHECK": "strict"}
        return subprocess.run(["bash", str(self.root / "scripts" / name), *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=stderr, text=True, errors="replace", timeout=600, check=False,
                              # A shell cannot trap what its parent ignores, as a job in the background does.
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def calibrate(self, model, *arguments):
        return self.script("calibrate.sh", model, "--chunks", "2", *arguments)

    def made(self, model, *arguments):
        done = self.calibrate(model, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip(), done.stderr

    def read_with(self, model, statistics):
        """The plug-in's own account of the weights, after the model has read a text."""
        text = self.folder / "text"
        text.write_text("The tower clock has three trains, each with a weight of its own. " * 80)
        run = self.host("llama-perplexity", "-m", model, "-ngl", 99, "-f", text, "-c", 128, "-b", 128, "-ub", 128, "--chunks", 1, "--no-warmup",
                        extra={"GGML_RKNPU2_STATISTICS": statistics})
        self.assertEqual(run.stats.failures, 0)
        return run.stats.weights

    def test_an_encoder(self):
        """All of its tokens are one batch, and it has no logits."""
        for context in (512, 128):
            model = self.folder / f"encoder-{context}.gguf"
            matrices = made_models.write_encoder(model, context=context)
            statistics, log = self.made(model)
            self.assertIn("is an encoder", log)
            weights = self.read_with(model, statistics)
            self.assertEqual(sorted(weight["name"] for weight in weights), matrices)
            self.assertEqual({(weight["planes"], weight["activation_statistics"]) for weight in weights}, {(1, True)})

    def test_a_model(self):
        model = self.folder / "model.gguf"
        made_models.write_model(model)
        statistics, _ = self.made(model)
        weights = self.read_with(model, statistics)
        self.assertEqual({weight["activation_statistics"] for weight in weights}, {True})
        self.assertEqual({weight["planes"] for weight in weights}, {1, 2})
        self.assertIn("are there already", self.made(model)[1])

    def test_stopped_and_taken_up(self):
        """What the first step has found is used at once, and the second run has only the second step to do."""
        model = self.folder / "model.gguf"
        made_models.write_model(model)
        self.stop_in_the_second_step()
        self.assertEqual(self.calibrate(model).returncode, 130)
        statistics, = (self.folder / "cache/statistics").glob("*.rknpucal")
        self.assertEqual({weight["activation_statistics"] for weight in self.read_with(model, str(statistics))}, {True})
        self.assertEqual(self.calibrate(model, "--is-done").returncode, 1)
        found, log = self.made(model)
        self.assertIn("going on where the last run was stopped", log)
        self.assertEqual((found, self.steps()), (str(statistics), ["gathered", "measured"]))
        self.assertEqual({weight["planes"] for weight in self.read_with(model, found)}, {1, 2})
        self.assertEqual(self.calibrate(model, "--is-done").returncode, 0)
        self.assertEqual(list(statistics.parent.iterdir()), [statistics])

    def test_another_text_begins_anew(self):
        model, text = self.folder / "model.gguf", self.folder / "other"
        made_models.write_model(model)
        text.write_text("The tower clock has three trains, each with a weight of its own. " * 80)
        self.stop_in_the_second_step()
        self.assertEqual(self.calibrate(model).returncode, 130)
        self.made(model, "--text", str(text))
        self.assertEqual(self.steps(), ["gathered", "gathered", "measured"])

    def test_the_quick_start_shows_text_first(self):
        """The statistics come after the text and the summary; stopping them is no failure, and the next run ends what was begun."""
        model = self.folder / "model.gguf"
        made_models.write_model(model)
        self.stop_in_the_second_step()
        said = []
        for _ in range(3):
            done = self.script("quickstart.sh", "--model", model, "-n", 4, "--prompt", "A clock", stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
            said.append(done.stdout)
        for text, begins in zip(said, ("reading the text ...", "going on where the last run was stopped")):
            places = [text.find(part) for part in ("> A clock", "quickstart.log", "The text is done.", begins)]
            self.assertEqual(places, sorted(places), text)
            self.assertGreaterEqual(places[0], 0, text)
        self.assertIn("stopped: nothing is lost", said[0])
        self.assertRegex(said[1], r"(?s)before  \d+ of \d+ weights need a second plane: .*now  \d+ of \d+ weights")
        self.assertNotIn("The text is done.", said[2])

    def test_a_model_that_sees_what_comes(self):
        """Diffusion models and the like: one batch for a text, with logits."""
        model = self.folder / "model.gguf"
        made_models.write_model(model, keys={"llama.attention.causal": (gguf.BOOL, False)})
        statistics, _ = self.made(model)
        self.assertEqual({weight["planes"] for weight in self.read_with(model, statistics)}, {1, 2})

    def test_what_is_no_model_is_one_line(self):
        adapter, both = self.folder / "adapter.gguf", self.folder / "both.gguf"
        made_models.write_adapter(adapter, layers=1)
        gguf.write(both, {"general.architecture": (gguf.STRING, "t5")}, {})
        for model, part in ((adapter, "is a LoRA adapter"), (both, "has an encoder and a decoder"), (self.folder / "root" / "scripts" / "lib.sh", "not a GGUF file")):
            done = self.calibrate(model)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1), done.stderr)
            self.assertTrue(done.stderr.startswith("calibrate.sh: error: "), done.stderr)
            self.assertIn(part, done.stderr)
        self.assertEqual(list((self.folder / "cache").rglob("*.rknpucal")), [])


if __name__ == "__main__":
    harness.main()
