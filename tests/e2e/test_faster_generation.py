# SPDX-License-Identifier: MIT
"""The commands of docs/faster-generation.md: with GGML_RKNPU2_MATRICES=npu the text is the one without drafts and without neighbours.

A draft is checked by several rows at once, and a slot's row lies beside those of others; a row's bits on the NPU depend on neither.
"""

import concurrent.futures
import shlex
import sys

import harness
from test_tools import Server, free_port

sys.path.insert(0, str(harness.ROOT / "tests/docs"))
import pages

PAGE = "docs/faster-generation.md"
COUNT = 32


def command_of(heading):
    """The words of the one server below a heading of the page."""
    section = (harness.ROOT / PAGE).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block, = pages.blocks_of(PAGE, section)
    return shlex.split(block.commands)


class FasterGeneration(Server):
    test_two_slots = None  # of the base class, which has it in a test of its own

    plain = []
    PROMPTS = [harness.CAPITAL, "One, two, three, four, five. One, two, three, four, five. One, two,",
               "Water boils at", "The first month of the year is January. The second month is"]

    def complete_at_server(self, prompt):
        body = {"prompt": prompt, "n_predict": COUNT, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        return self.ask("/completion", body)

    def serve(self, arguments, ask):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.start("llama-server", [*arguments, "-c", 2048, "--port", port, "--no-webui"])
        self.wait_until(self.healthy)
        answer = ask()
        self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
        run = harness.Run(0, "", self.log_text(), harness.read_stats(self.stats_file), "")
        self.assertEqual((run.stats.failures, run.stats.document["matrices_on_cpu"]), (0, 0))
        return answer

    def one_by_one(self):
        return [self.complete_at_server(prompt) for prompt in self.PROMPTS]

    def plain_texts(self):
        """What a server says that does one thing after the other; asked once for all tests."""
        if not FasterGeneration.plain:
            FasterGeneration.plain = [answer["content"] for answer in
                                      self.serve(["-m", harness.MODEL, "-ngl", 99, "-np", 1], self.one_by_one)]
        return FasterGeneration.plain

    def page_arguments(self, heading, **files):
        program, *arguments = command_of(heading)
        self.assertEqual(program, "llama-server")
        return [str(files.get(word.partition(".")[0], word)) for word in arguments]

    def compare(self, heading, accepted_share, **files):
        answers = self.serve([*self.page_arguments(heading, model=harness.MODEL, **files), "-np", 1], self.one_by_one)
        drafted, accepted = (sum(answer["timings"].get(name, 0) for answer in answers) for name in ("draft_n", "draft_n_accepted"))
        print(f"{heading}: {accepted} of {drafted} drafted tokens kept")
        self.assertGreater(drafted, 8, "nothing was drafted")
        self.assertGreaterEqual(accepted, accepted_share * drafted)
        self.assertEqual([answer["content"] for answer in answers], self.plain_texts())
        return drafted, accepted

    def test_draft_model(self):
        """The draft is the same model in other numbers, so that most of its tokens are kept, and not all."""
        draft = self.folder / "draft.gguf"
        self.host("llama-quantize", "--allow-requantize", harness.MODEL, draft, "Q4_0", precision=None)
        drafted, accepted = self.compare("A draft model", 0.3, draft=draft)
        self.assertLess(accepted, drafted, "some must be refused, or the test shows little")

    def test_look_up(self):
        self.compare("Look up in the text", 0.05)

    def test_slots(self):
        def together():
            with concurrent.futures.ThreadPoolExecutor(len(self.PROMPTS)) as pool:
                return [answer["content"] for answer in pool.map(self.complete_at_server, self.PROMPTS)]

        self.assertEqual(self.serve(self.page_arguments("Several at once", model=harness.MODEL), together), self.plain_texts())


if __name__ == "__main__":
    harness.main()
