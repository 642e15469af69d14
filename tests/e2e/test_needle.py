# SPDX-License-Identifier: MIT
"""A needle in a haystack of 8,000 tokens: where the CPU backend finds it, so does the NPU, with attention there, too.

The haystack is prose, the needle a sentence with a number, and the end of the prompt that sentence once more without its number.
RKNPU2_E2E_DEPTHS: where it is put, in per cent of the text.
"""

import harness
from harness import HostTest

CONTEXT = 8192  # of the default model; the text has 7,900 tokens
BYTES = 36000
SENTENCE = "The number that opens the door of the old lighthouse is"
NUMBER = "48173"
DEPTHS = harness.setting("DEPTHS", "10,50,90")


class Needle(HostTest):
    def prompt(self, depth):
        lines = harness.english(self.folder, BYTES).read_text().split("\n")
        lines.insert(len(lines) * depth // 100, f"{SENTENCE} {NUMBER}.")
        path = self.folder / f"needle-{depth}.txt"
        path.write_text("\n".join(lines) + f"\n{SENTENCE}")
        return path

    def answer(self, prompt, precision):
        layers = 0 if precision is None else 99
        run = self.host("llama-completion", "-m", harness.MODEL, "-ngl", layers, "-f", prompt, "-n", 8, "--temp", 0, "-no-cnv", "-lv", 4,
                        "-c", CONTEXT, "-fa", "on", "--no-warmup", precision=precision, timeout=7000, says=harness.WHOLE_TEXT)
        return run, run.out.rpartition(SENTENCE)[2]

    def test_where_the_cpu_finds_it(self):
        found = 0
        for depth in map(int, DEPTHS.split(",")):
            prompt = self.prompt(depth)
            _, wanted = self.answer(prompt, None)
            run, answer = self.answer(prompt, "fast")
            print(f"{depth} %: the CPU says {wanted!r}, the NPU {answer!r}")
            # Sixteen micro-batches in each layer.
            self.assertGreaterEqual(run.stats.document["attention"]["nodes"], 30 * 14)
            if NUMBER in wanted:
                found += 1
                self.assertIn(NUMBER, answer, f"at {depth} %")
        self.assertGreater(found, 0, "the CPU backend finds none")


if __name__ == "__main__":
    harness.main()
