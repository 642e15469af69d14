# SPDX-License-Identifier: MIT
"""Features of llama.cpp around the matmuls: KV cache, context shift, state, overrides, splits, drafts, threads, adapters."""

import math
import re

import gguf
import harness
import made_models
from harness import HostTest, english

import quality_figures  # of scripts/, which harness makes known

PARIS = r"The capital of France is\s+Paris\b"


class Cache(HostTest):
    """What llama.cpp does with its KV cache works with the cache in our memory."""

    def test_quantised(self):
        """The cache's rotation matrices are leaves as weights are, and must not be taken for weights."""
        run = self.complete("-ctk", "q8_0", "-ctv", "q8_0", count=8)
        self.assertRegex(run.out, PARIS)
        self.assert_ran_on_npu(run)
        self.assert_says(r"RKNPU0 KV buffer size", run.log)
        self.assert_says(r"K \(q8_0\).*V \(q8_0\)", run.log)
        self.assertEqual(len(run.stats.names(r"^blk\.\d+\.(attn|ffn)_\w+\.weight$")), 210)

    def test_context_shift(self):
        """More tokens than the context holds; the shift rewrites the cache."""
        run = self.complete("-c", 256, "--context-shift", prompt="Once upon a time", count=290)
        self.assert_says(r"n_ctx\s+= 256", run.log)
        self.assert_ran_on_npu(run)
        self.assertGreater(run.stats.npu, 285 * harness.ALL_WEIGHTS, "generation ended before the shift")

    def test_prompt_cache(self):
        """A state saved by one process continues in another one: fewer matmuls, the same text."""
        arguments = ["--prompt-cache", self.folder / "state.bin"]
        first = self.complete(*arguments, "--prompt-cache-all", count=8)
        second = self.complete(*arguments, count=8)
        self.assert_says(r"session file has exact match for prompt", second.log)
        self.assert_ran_on_npu(second)
        self.assertLess(second.stats.npu, first.stats.npu)
        answers = [self.assert_says(r"(?s)The capital of France is.{20}", run.out).group(0) for run in (first, second)]
        self.assertEqual(*answers)

    def test_save_load_state(self):
        run = self.host("test-save-load-state", "-m", harness.MODEL, "-ngl", 99, "-p", "The quick brown fox", "-n", 8,
                        "-c", 256, says="All tests passed")
        self.assert_says("All tests passed", run.out + run.log)
        self.assert_ran_on_npu(run)


class Placement(HostTest):
    """Where the user puts tensors is where they are multiplied."""

    def test_override_to_cpu(self):
        run = self.complete("-ot", "ffn_.*=CPU", count=4)
        self.assertRegex(run.out, PARIS)
        self.assert_ran_on_npu(run, harness.ALL_WEIGHTS - 90)
        self.assertEqual(run.stats.names("ffn_"), [])

    def test_override_to_npu(self):
        run = self.complete("-ot", "ffn_.*=RKNPU0", layers=0, count=4)
        self.assertRegex(run.out, PARIS)
        self.assert_ran_on_npu(run, 90)
        self.assertEqual(len(run.stats.names(r"ffn_(gate|up|down)\.weight")), 90)

    def test_by_the_cost_model(self):
        """A prompt goes to the NPU; of single tokens the CPU multiplies by what is stored in four bits."""
        prompt = "One, two, three, four. " * 25 + harness.CAPITAL
        run = self.complete("--no-warmup", prompt=prompt, count=8, extra={"GGML_RKNPU2_MATRICES": "auto"})
        self.assertRegex(run.out, PARIS)
        self.assertEqual(run.stats.document["flows"], 1, "the prompt's")
        self.assertEqual(len(run.stats.names()), harness.ALL_WEIGHTS, "packed when they are first there")
        on_cpu = run.stats.document["matrices_on_cpu"]
        self.assertEqual(on_cpu, 7 * (harness.ALL_WEIGHTS - 1), "all but the head, which is stored in eight bits")
        self.assertEqual((run.stats.refused, run.stats.failures), ({}, 0))

    def test_copies_for_the_cpu(self):
        """What the CPU multiplies by is in its own layout from the warm-up on."""
        model = self.folder / "q4_0.gguf"
        self.host("llama-quantize", "--allow-requantize", harness.MODEL, model, "Q4_0", precision=None)
        words = ["-m", model, "-no-cnv", "--temp", 0, "-n", 4, "-p", harness.CAPITAL]
        run = self.host("llama-completion", *words, "-ngl", 99, extra={"GGML_RKNPU2_MATRICES": "auto"})
        self.assertEqual(run.out.strip(), self.host("llama-completion", *words, "-ngl", 0, precision=None).out.strip(), "as the CPU says it")
        self.assertEqual(len(run.stats.names()), harness.ALL_WEIGHTS)
        self.assertEqual(run.stats.experts["cpu_copies"], harness.ALL_WEIGHTS - 1)
        self.assertEqual(run.stats.experts["cpu_copies_refused"], 0)
        self.assertEqual(run.stats.document["matrices_on_cpu"] % (harness.ALL_WEIGHTS - 1), 0)
        self.assertGreaterEqual(run.stats.document["matrices_on_cpu"], 4 * (harness.ALL_WEIGHTS - 1))

    def test_split_tensor(self):
        """One device in a tensor split: llama.cpp puts a device of its own in front of ours."""
        run = self.complete("--split-mode", "tensor", count=8)
        self.assertRegex(run.out, PARIS)
        self.assert_says(r"tensor parallelism from 1 devices", run.log)
        self.assert_ran_on_npu(run)


class Several(HostTest):
    """More than one model or context in a process."""

    def test_draft(self):
        """The model drafts for itself, so every drafted token is accepted, or nearly."""
        run = self.host("llama-speculative-simple", "-m", harness.MODEL, "-md", harness.MODEL, "--spec-type", "draft-simple",
                        "-ngl", 99, "-ngld", 99, "-p", harness.CAPITAL, "-n", 16, "--temp", 0, "-c", 256)
        self.assertRegex(run.out + run.log, r"Paris")
        self.assert_ran_on_npu(run)
        drafted, accepted = (int(self.assert_says(rf"{name}\s*=\s*(\d+)", run.out + run.log).group(1))
                             for name in ("n_drafted", "n_accept"))
        self.assertGreater(drafted, 4)
        self.assertGreaterEqual(accepted, 0.8 * drafted)

    def test_threads(self):
        """llama.cpp's test-thread-safety: our device, the CPU and a split, two contexts of each on threads of their own."""
        run = self.host("test-thread-safety", "-m", harness.MODEL, "-ngl", 99, "-p", harness.CAPITAL, "-n", 8, "-c", 128,
                        "-np", 2, "--temp", 0, "-t", 1)
        text = run.out + run.log
        self.assert_says(r"All threads finished without errors", text)
        answers = re.findall(rf"Model (\d)/3, Context \d/2: {PARIS}", text)
        self.assertEqual(sorted(answers), list("112233"))
        self.assert_ran_on_npu(run)
        self.assertGreater(run.stats.npu, 4 * 8 * harness.ALL_WEIGHTS)


class Close(HostTest):
    """Base for tests that compare logits with those of the CPU backend alone."""

    def logits(self, name, *arguments, precision, base=None, chunks=2, extra=None):
        """With base: (run, (mean KLD, same top)) against it; without: writes it. A context of 256."""
        path = base or self.folder / name
        compare = ["--kl-divergence"] if base else []
        run = self.host("llama-perplexity", "-ngl", 99, "-f", english(self.folder, 6000), "-c", 256, "--chunks", chunks,
                        "--kl-divergence-base", path, *compare, *arguments, precision=precision, extra=extra,
                        says="Same top p:" if base else None)
        if not base:
            return path
        found = quality_figures.figures(run.out)
        return run, (found["kld"], found["same_top"])


class Adapter(Close):
    """A LoRA adapter changes the text, its matrices are multiplied by the NPU, and the logits are those of the CPU."""

    def test_lora(self):
        adapter = self.folder / "adapter.gguf"
        matrices = made_models.write_adapter(adapter)
        arguments = ["-m", harness.MODEL, "--lora", adapter]
        plain = self.logits("plain", "-m", harness.MODEL, precision=None)
        cpu = self.logits("cpu", *arguments, precision=None)
        _, (changed, _) = self.logits("", *arguments, precision="exact", base=plain)
        run, (divergence, same_top) = self.logits("", *arguments, precision="exact", base=cpu)
        print(f"KLD to the CPU {divergence}, same top {same_top} %; to the model without adapter {changed}")
        self.assert_ran_on_npu(run, harness.ALL_WEIGHTS + matrices)
        self.assertEqual(len(run.stats.names(r"\.lora_[ab]$")), matrices)
        self.assertGreater(changed, 5 * divergence)
        self.assertGreaterEqual(same_top, 90)


class Experts(Close):
    """Mixture-of-experts models: everything on the NPU, or the experts where the cost model or the setting puts them."""

    # K and N that are alike nowhere and fit no alignment of the NPU.
    SIZES = {"q4_0": made_models.Sizes(160, 4, 224, 12, 3, type="q4_0"), "q8_0": made_models.Sizes(160, 4, 224, 12, 3, type="q8_0"),
             "q4_K": made_models.Sizes(768, 8, 512, 8, 2, type="q4_K"), None: made_models.SMALL._replace(experts=8)}

    def model(self, kind=None):
        """Sets the names of its plain matrices and of its stacks of experts."""
        path = self.folder / "experts.gguf"
        self.matrices, self.stacks = made_models.write_model(path, self.SIZES[kind])
        return path

    def check(self, precision, least_same_top, kind=None, place="npu"):
        model = self.model(kind)
        cpu = self.logits("cpu", "-m", model, precision=None)
        run, (divergence, same_top) = self.logits("", "-m", model, precision=precision, base=cpu,
                                                  extra={"GGML_RKNPU2_EXPERTS": place})
        print(f"{kind} {precision}: KLD {divergence}, same top {same_top} %, {run.stats.experts}")
        self.assertEqual(run.stats.names(), sorted(self.matrices + (self.stacks if place == "npu" else [])))
        self.assertEqual(run.stats.refused, {})
        self.assert_ran_on_npu(run, len(run.stats.weights))
        self.assertGreaterEqual(same_top, least_same_top)
        return run

    def check_npu(self, precision, least_same_top, kind=None):
        run = self.check(precision, least_same_top, kind)
        self.assertEqual(run.stats.experts["cpu"], 0)
        self.assertGreaterEqual(run.stats.experts["npu"], len(self.stacks))
        sizes = self.SIZES[kind]
        used = {weight["name"]: weight["experts"] for weight in run.stats.weights}
        for name in self.stacks:
            self.assertGreaterEqual(used[name], sizes.experts - 2, f"few experts of {name} were chosen")
        self.assertEqual({used[name] for name in self.matrices}, {0})

    def test_exact(self):
        self.check_npu("exact", 95)

    def test_default(self):
        """Random weights make a flat distribution, so that int8 moves more of the top tokens than in a trained model."""
        self.check_npu("default", 60)

    def test_q4_0(self):
        self.check_npu("exact", 80, "q4_0")

    def test_q8_0(self):
        self.check_npu("exact", 80, "q8_0")

    def test_q4_k(self):
        self.check_npu("exact", 80, "q4_K")

    def test_on_the_cpu(self):
        """Computed from copies in the layout that the CPU backend likes, where it has one."""
        run = self.check("exact", 80, "q4_0", "cpu")
        self.assertEqual(run.stats.experts["npu"], 0)
        self.assertEqual(run.stats.experts["cpu_copies"], len(self.stacks))
        self.assertEqual(set(run.stats.experts["reasons"]), {"experts: GGML_RKNPU2_EXPERTS=cpu"})

    def test_by_the_cost_model(self):
        """Experts this small are not worth a run call each; the warm-up and the prompt say so, too."""
        run = self.check("exact", 80, "q8_0", "auto")
        self.assertEqual(run.stats.experts["npu"], 0)
        self.assertEqual(set(run.stats.experts["reasons"]), {"experts: faster on the CPU by the cost model"})

    def test_reference_says_what_the_cpu_says(self):
        """The same tokens; stored as F32, so that the CPU backend does not round the activations."""
        model = self.model()
        arguments = {"model": model, "count": 24, "prompt": "Once upon a time", "says": r"(?s)Once upon a time.{24}"}
        cpu, ours = (self.complete(precision=precision, **arguments) for precision in (None, "reference"))
        # The host may lose the last words of either (harness.host).
        self.assertEqual(*(self.assert_says(arguments["says"], run.out).group(0) for run in (ours, cpu)))
        self.assertEqual(ours.stats.names(), sorted(self.matrices + self.stacks))
        self.assertEqual(ours.stats.weight_precisions(), {"reference"})
        self.assertEqual(ours.stats.npu, 0)

    def test_imatrix(self):
        """llama-imatrix stops at each choice among experts and reads its rows and ids."""
        model, found = self.model("q8_0"), {}
        for precision in (None, "exact"):
            path = self.folder / f"{precision}.gguf"
            self.host("llama-imatrix", "-m", model, "-ngl", 99, "-f", english(self.folder, 4000), "-c", 128, "--chunks", 2,
                      "-o", path, "--no-ppl", precision=precision, extra={"GGML_RKNPU2_EXPERTS": "npu"} if precision else None)
            found[precision] = gguf.Reader(path)
        names = [name + ".in_sum2" for name in self.stacks]
        self.assertEqual(set(names) - set(found["exact"].tensors), set())
        for name in (name for name in names if name.startswith("blk.0.")):
            ours, cpu = (found[precision].floats(name) for precision in ("exact", None))
            distance = math.dist(ours, cpu) / math.hypot(*cpu)
            print(name, distance)
            self.assertLessEqual(distance, 0.05)  # a near tie of the router goes the other way now and then


if __name__ == "__main__":
    harness.main()
