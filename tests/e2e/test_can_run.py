# SPDX-License-Identifier: MIT
"""The commands of docs/what-can-i-run.md do what the page says, with the NPU and beside llama.cpp's CPU backend.

The page's own commands are run: `model.gguf` and the other files stand for models that are here, the port for a free one.
"""

import base64
import concurrent.futures
import math
import re
import shlex
import struct
import sys
import zlib

import harness
import made_models
from test_tools import Server, free_port

sys.path.insert(0, str(harness.ROOT / "tests/docs"))
import pages

PAGE = "docs/what-can-i-run.md"


def command_of(heading):
    """The words of the one command below a heading of the page."""
    text = (harness.ROOT / PAGE).read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block, = pages.blocks_of(PAGE, section)
    return shlex.split(block.commands)


def picture(red):
    """A PNG in one colour but for a diagonal, as a URL."""
    side = made_models.IMAGE_SIDE
    rows = b"".join(b"\0" + b"".join(bytes((red, 40, 90) if x != y else (255, 255, 255)) for x in range(side)) for y in range(side))
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def apart(one, other):
    """The mean distance of the log probabilities of the tokens that both have among their first."""
    both = set(one) & set(other)
    return sum(abs(one[token] - other[token]) for token in both) / len(both) if len(both) >= 3 else math.inf


class CanRun(Server):
    test_two_slots = None  # of the base class, which has it in a test of its own

    def words(self, heading, files, port):
        program, *arguments = command_of(heading)
        known = {**{name: str(path) for name, path in files.items()}, "8080": str(port)}
        return program, [known.get(word, word) for word in arguments]

    def serve(self, heading, files, question, precision="exact", more=()):
        """(what `question` returns, the run) of a server by the page's command; precision None: llama.cpp's CPU backend."""
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        program, arguments = self.words(heading, files, port)
        self.start(program, [*arguments, "--no-webui", *more], precision=precision)
        self.wait_until(self.healthy)
        answer = question()
        self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
        return answer, harness.Run(0, "", self.log_text(), harness.read_stats(self.stats_file), "")

    def test_chat(self):
        program, arguments = self.words("Chat", {"model.gguf": harness.MODEL}, 0)
        run = self.host(program, *arguments, "--single-turn", "--temp", 0, "-n", 12, "-p", "What is the capital of France?", says="Paris")
        self.assertIn("The capital of France is Paris", run.out)
        self.assert_ran_on_npu(run)

    def test_server(self):
        def ask(question):
            body = {"messages": [{"role": "user", "content": question}], "max_tokens": 8, "temperature": 0}
            return self.ask("/v1/chat/completions", body)["choices"][0]["message"]["content"]

        def ask_all():
            questions = ["What is the capital of France?", "What is the capital of Italy?"]
            alone = [ask(question) for question in questions]
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                return len(self.ask("/slots")), alone, list(pool.map(ask, questions))

        (slots, alone, together), run = self.serve("A server with slots", {"model.gguf": harness.MODEL}, ask_all, precision="default")
        self.assertEqual(slots, 2)
        for answers in (alone, together):
            self.assertIn("Paris", answers[0])
            self.assertIn("Rome", answers[1])
        self.assert_ran_on_npu(run)

    def test_embeddings(self):
        model = self.folder / "made.gguf"
        matrices = made_models.write_encoder(model)
        texts = ["A clock on a tower.", "Rain over the sea.", "A clock in a tower."]
        ask = lambda: [row["embedding"] for row in self.ask("/v1/embeddings", {"input": texts})["data"]]
        cpu, _ = self.serve("Embeddings", {"encoder.gguf": model}, ask, precision=None)
        for precision, least in (("exact", 0.9999), ("default", 0.99)):
            npu, run = self.serve("Embeddings", {"encoder.gguf": model}, ask, precision=precision)
            self.assertEqual(run.stats.names(), matrices)
            self.assertEqual(run.stats.failures, 0)
            self.assertEqual(len(npu), len(texts))
            for one, other in zip(npu, cpu):
                self.assertGreater(cosine(one, other), least)
        self.assertLess(cosine(cpu[0], cpu[1]), 0.99, "texts that differ have vectors that differ")

    def test_reranking(self):
        model = self.folder / "made.gguf"
        matrices = made_models.write_encoder(model, ranks=True)
        body = {"query": "What hangs in the tower?", "documents": ["A clock.", "Rain over the sea and the hills.", "The baker sells bread."]}
        ask = lambda: {row["index"]: row["relevance_score"] for row in self.ask("/v1/rerank", body)["results"]}
        cpu, _ = self.serve("Reranking", {"reranker.gguf": model}, ask, precision=None)
        npu, run = self.serve("Reranking", {"reranker.gguf": model}, ask)
        self.assertEqual(set(matrices) - set(run.stats.names()), set())
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(sorted(npu), [0, 1, 2])
        spread = max(cpu.values()) - min(cpu.values())
        self.assertGreater(spread, 0)
        for index, score in npu.items():
            self.assertLess(abs(score - cpu[index]), 0.05 * spread + 1e-3, (npu, cpu))

    def test_vision(self):
        projector = self.folder / "made.gguf"
        matrices = made_models.write_projector(projector, embedding=576)

        def ask(red):
            content = [{"type": "image_url", "image_url": {"url": picture(red)}}, {"type": "text", "text": "What is this?"}]
            body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 5}
            answer = self.ask("/v1/chat/completions", body)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            return {row["token"]: row["logprob"] for row in answer}

        files = {"model.gguf": harness.MODEL, "projector.gguf": projector}
        both = lambda: (ask(20), ask(230))
        cpu, _ = self.serve("Vision", files, both, precision=None, more=["-c", "1024"])
        npu, run = self.serve("Vision", files, both, more=["-c", "1024"])
        self.assertEqual(set(matrices) - set(run.stats.names()), set(), "of the projector's matrices")
        self.assert_ran_on_npu(run, harness.ALL_WEIGHTS + len(matrices))
        for at in (0, 1):
            self.assertLess(apart(npu[at], cpu[at]), 0.5 * apart(npu[at], cpu[1 - at]), (npu, cpu))
        self.assertNotEqual(cpu[0], cpu[1], "another picture is another answer")


if __name__ == "__main__":
    harness.main()
