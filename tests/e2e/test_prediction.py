# SPDX-License-Identifier: MIT
"""What is modelled is what runs: of whole prompts and of a few tokens, `rknpu2-bench predict` and the plug-in count the same, exactly.

The model (bench/predict/counts.hpp) and GGML_RKNPU2_STATS have the same fields: runs of the NPU and of attention, flows and their chunks, scores,
and bytes of weights, activations, results, keys and values. llama-bench computes a prompt and nothing else; logits_of_model (tests/ggml) some tokens at
once, with logits of each if their number is odd, and one more.

Where there is no room for the blocks that chunks use at a time, how often keys and values are packed is a matter of timing: in batches of 1024
tokens of the default model up to twice as often as modelled.
"""

import json

import harness
import real_widths
from gguf import Reader
from harness import HostTest

BENCH = harness.BUILD_DIR / "bin" / "rknpu2-bench"
LOGITS = harness.BUILD_DIR / "bin" / "logits_of_model"
FULL_EVERY = {"gemma3": 6}  # of so many layers the last one has no window; llama.cpp knows that by the architecture


def product(shape):
    return shape[0] * product(shape[1:]) if shape else 1


def shape_of(path):
    """A row of bench/models.csv, as a table of its own."""
    file = Reader(path)
    arch = file.keys["general.architecture"][1]

    def key(name, default=0):
        return file.keys.get(f"{arch}.{name}", (None, default))[1]

    heads = key("attention.head_count")
    tied = "output.weight" not in file.tensors
    full_every = FULL_EVERY.get(arch, 0)
    row = {"name": "made", "layers": key("block_count"), "hidden_size": key("embedding_length"), "heads": heads,
           "kv_heads": key("attention.head_count_kv", heads),
           "head_dim": key("attention.key_length") or key("embedding_length") // heads, "ffn_size": key("feed_forward_length"),
           "vocabulary": file.tensors["token_embd.weight"][0][1], "tied_embeddings": int(tied),
           "norms_per_layer": 4 if "blk.0.post_ffw_norm.weight" in file.tensors else 2,
           "window": key("attention.sliding_window") if full_every else "", "full_every": full_every or "",
           "parameters": sum(product(tensor[0]) for tensor in file.tensors.values()), "source": "its GGUF file"}
    return ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n"


def flat(counts, name=""):
    """{"bytes.weights": 1, ...}"""
    if not isinstance(counts, dict):
        return {name[1:]: counts}
    return {key: value for field, part in counts.items() for key, value in flat(part, f"{name}.{field}").items()}


class Prediction(HostTest):
    def predicted(self, model, tokens, precision, *options, part="prefill"):
        table = self.folder / "model.csv"
        table.write_text(shape_of(model))
        run = self.host(BENCH, "predict", "--model", table, "--prompt", tokens, "--precision", precision, "--format", "json", *options,
                        precision=None)
        return flat(json.loads(run.out)["predictions"][0][part]["counts"])

    def check(self, model, tokens, precision="fast", ubatch=512, attention="auto"):
        run = self.host("llama-bench", "-m", model, "-p", tokens, "-n", 0, "-r", 1, "--no-warmup", "-b", 4096, "-ub", ubatch, "-ngl", 99,
                        precision=precision, extra={"GGML_RKNPU2_ATTENTION": attention})
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(run.stats.document["attention"]["tokens_without_halves"], 0)
        wanted = self.predicted(model, tokens, precision, "--ubatch", ubatch, "--attention", attention)
        counted = flat(run.stats.document)
        self.assertEqual({name: counted.get(name) for name in wanted}, wanted)
        self.assertGreater(wanted["flow_chunks"], 0)
        self.assertEqual(wanted["attention.runs"] == 0, attention == "cpu")
        # Another schedule has other numbers.
        other = self.predicted(model, tokens, precision, "--ubatch", ubatch, "--attention", attention, "--schedule", "chunk_rows=80")
        self.assertNotEqual(other["runs"], wanted["runs"])
        print(f"{tokens} tokens, {precision}: {wanted}")

    def check_made(self, name, *arguments, **options):
        """Two layers with the widths of that model."""
        model = self.folder / "model.gguf"
        real_widths.write_model(name, model)
        self.check(model, *arguments, **options)

    def check_rows(self, model, rows, precision):
        """Two graphs: so many tokens at once, and one after them."""
        run = self.host(str(LOGITS), model, self.folder / "logits", "--lengths", rows, precision=precision)
        several, one = self.compare_rows(model, rows, precision, run.stats.document)
        self.assertEqual(several["bytes.weights"], one["bytes.weights"])
        self.assertGreater(one["attention.few_tokens"], 0)
        self.assertGreater(several["bytes.results"], one["bytes.results"])

    def compare_rows(self, model, rows, precision, document):
        """What is predicted of `rows` tokens at once, and of one."""
        several, one = (self.predicted(model, 1, precision, "--rows", count, "--context", rows, part="decode") for count in (rows, 1))
        counted = flat(document)
        self.assertEqual((counted["graphs"], counted["failures"]), (2, 0))
        self.assertEqual({name: counted.get(name) for name in one}, {name: several[name] + one[name] for name in one})
        print(f"{rows} tokens at once, {precision}: {several}")
        return several, one

    def test_whole_chunks(self):
        self.check(harness.MODEL, 1024)

    def test_two_planes_and_a_rest(self):
        self.check(harness.MODEL, 1100, precision="balanced")

    def test_attention_of_the_cpu(self):
        self.check(harness.MODEL, 1024, attention="cpu")

    def test_short_batches(self):
        """Keys and values are packed anew for each."""
        self.check(harness.MODEL, 1900, ubatch=200)

    def test_few_tokens_of_the_npus(self):
        """The last batch has 8 tokens and sees 2056: 64 query rows of a KV head. There is room for the blocks of both layers."""
        self.check_made("qwen2.5-3b", 2056)

    def test_windows(self):
        self.check_made("gemma-3-1b", 1500)

    def test_segments(self):
        """A weight with more inputs than a run takes."""
        self.check_made("qwen2.5-3b", 1024)

    def test_few_tokens_in_two_planes(self):
        self.check_rows(harness.MODEL, 7, "balanced")

    def test_few_tokens_in_segments(self):
        model = self.folder / "model.gguf"
        real_widths.write_model("qwen2.5-3b", model)
        self.check_rows(model, 15, "fast")


if __name__ == "__main__":
    harness.main()
