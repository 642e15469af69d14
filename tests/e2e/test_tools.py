# SPDX-License-Identifier: MIT
"""The other programs of llama.cpp: bench, perplexity, cli, server, imatrix, and the RPC server with our device."""

import concurrent.futures
import json
import math
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import gguf
import harness
from harness import BIN_DIR, BUILD_DIR, HostTest, english

IMATRIX_SAME = 0.01  # relative Frobenius norm, promised


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tools(HostTest):
    """Programs that run to their end use the NPU for every weight matrix and print what they are for."""

    def test_bench(self):
        run = self.host("llama-bench", "-m", harness.MODEL, "-ngl", 99, "-p", 32, "-n", 4, "-r", 1, "-o", "json")
        rows = json.loads(run.out)
        self.assertEqual([(row["n_prompt"], row["n_gen"]) for row in rows], [(32, 0), (0, 4)])
        for row in rows:
            self.assertIn("RKNPU", row["backends"])
            self.assertIn("RK3588", row["gpu_info"])
            self.assertGreater(row["avg_ts"], 0)
        self.assert_ran_on_npu(run)
        print(", ".join(f"{row['avg_ts']:.1f} tokens/s" for row in rows))

    def test_perplexity(self):
        """The model is as good at the text as it is on the CPU backend, within some percent."""
        text = english(self.folder, 6000)
        arguments = ["-m", harness.MODEL, "-ngl", 99, "-f", text, "-c", 256, "--chunks", 3]
        ours, cpu = (self.host("llama-perplexity", *arguments, precision=precision, says="Final estimate") for precision in ("default", None))
        self.assert_ran_on_npu(ours)
        found, expected = (float(self.assert_says(r"Final estimate: PPL = ([0-9.]+)", run.out + run.log).group(1))
                           for run in (ours, cpu))
        print(f"perplexity {found}, on the CPU {expected}")
        self.assertNotEqual(found, expected)
        self.assertLess(abs(found / expected - 1), 0.1)

    def test_cli(self):
        run = self.host("llama-cli", "-m", harness.MODEL, "-ngl", 99, "-p", "What is the capital of France?", "-st", "-n", 24,
                        "--temp", 0, "-c", 512, "--simple-io")
        self.assertRegex(run.out, r"capital of France is Paris")
        self.assert_ran_on_npu(run)


class Imatrix(HostTest):
    """llama-imatrix stops at each matmul and reads its activations: they must be there, and nearly the reference's."""

    def importance(self, precision, fuse=1):
        path = self.folder / f"{precision}-{fuse}.gguf"
        run = self.host("llama-imatrix", "-m", harness.MODEL, "-ngl", 99, "-f", english(self.folder, 8000), "-c", 256,
                        "--chunks", 3, "-o", path, "--no-ppl", precision=precision,
                        extra={"GGML_RKNPU2_FUSE": str(fuse)})
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(len(run.stats.weights), harness.ALL_WEIGHTS)
        self.assertEqual(run.stats.npu == 0, precision == "reference")
        return gguf.Reader(path)

    def distances(self, found, expected):
        """Relative Frobenius norm of the difference for each tensor of sums of squares."""
        self.assertEqual(set(found.tensors), set(expected.tensors))
        names = sorted(name for name in expected.tensors if name.endswith(".in_sum2"))
        self.assertGreaterEqual(len(names), harness.ALL_WEIGHTS - 1)
        distances = {}
        for name in names:
            counts = name.replace(".in_sum2", ".counts")
            self.assertEqual(found.floats(counts), expected.floats(counts))
            pairs = list(zip(found.floats(name), expected.floats(name)))
            self.assertGreater(max(right for _, right in pairs), 0, name)
            distances[name] = math.dist(*zip(*pairs)) / math.hypot(*(right for _, right in pairs))
        return distances

    def check(self, precision):
        distances = self.distances(self.importance(precision), self.importance("reference"))
        ordered = sorted(distances.values())
        worst = max(distances, key=distances.get)
        print(f"{precision}: median {ordered[len(ordered) // 2]:.5f}, worst {ordered[-1]:.5f} ({worst}), "
              f"{sum(d <= IMATRIX_SAME for d in ordered)} of {len(ordered)} within {IMATRIX_SAME}")
        return ordered

    def test_fusion_changes_nothing(self):
        fused, apart = self.importance("fast", 1), self.importance("fast", 0)
        self.assertEqual(set(fused.tensors), set(apart.tensors))
        for name in fused.tensors:
            self.assertEqual(fused.floats(name), apart.floats(name), name)

    def test_exact(self):
        self.assertLessEqual(self.check("exact")[-1], IMATRIX_SAME)

    def test_default(self):
        """int8 activations of earlier layers move the few very large ones of this model; the typical tensor is as promised."""
        ordered = self.check("default")
        self.assertLessEqual(ordered[len(ordered) // 2], IMATRIX_SAME)


class Service(HostTest):
    """Programs that wait for requests, until a signal ends them."""

    def start(self, program, arguments, **options):
        command, environment, self.stats_file = self.prepare(program, arguments, **options)
        self.log = self.folder / f"service-{self.count}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.folder)
        self.addCleanup(self.process.kill)

    def log_text(self):
        return self.log.read_text(errors="replace")

    def wait_until(self, ready, seconds=300):
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.fail("the service is not ready:\n" + harness.tail(self.log_text()))
            time.sleep(0.2)

    def stop(self):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(300)


class Server(Service):
    """llama-server with two slots answers two requests at once as it answers one, and ends cleanly."""

    def ask(self, path, body=None, address=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request((address or self.address) + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def healthy(self):
        try:
            return self.ask("/health").get("status") == "ok"
        except (urllib.error.URLError, ConnectionError):
            return False

    def answer(self, prompt):
        body = {"prompt": prompt, "n_predict": 12, "temperature": 0, "cache_prompt": False}
        return self.ask("/completion", body)["content"]

    def test_two_slots(self):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.start("llama-server", ["-m", harness.MODEL, "-ngl", 99, "-np", 2, "-c", 1024, "--port", port, "--no-webui"])
        self.wait_until(self.healthy)
        self.assertEqual(len(self.ask("/slots")), 2)
        prompts = [harness.CAPITAL, "The largest ocean on Earth is the"]
        single = [self.answer(prompt) for prompt in prompts]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            together = list(pool.map(self.answer, prompts * 2))
        print(single, "together the same:", together == single * 2)
        for prompt, alone, answer in zip(prompts * 2, single * 2, together):
            self.assertTrue(answer.strip(), prompt)
            # A different batch may tip a close decision later on; the first words are clear ones.
            self.assertEqual(answer.split()[:2], alone.split()[:2])
        self.assertIn("Paris", single[0])
        self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
        run = harness.Run(0, "", self.log_text(), harness.read_stats(self.stats_file), "")
        self.assert_ran_on_npu(run)


class RpcServer(Service):
    """ggml-rpc-server offers our device."""

    def start_rpc(self, host, port, wrapper=(), **settings):
        """wrapper: a command that runs the server, such as one that enters a namespace."""
        preload = BUILD_DIR / "tests" / "e2e" / "libexit_on_sigterm.so"
        self.assertTrue(preload.exists(), f"{preload} is not built")
        program, *arguments = [*wrapper, BIN_DIR / "ggml-rpc-server", "-d", "RKNPU0", "-H", host, "-p", port]
        # The server ends by a signal, with the client's model in it: a leak that is not ours.
        self.start(program, arguments, extra={"LD_PRELOAD": os.fspath(preload), "RKNNSIM_CHECK": "warn", **settings})
        self.wait_until(lambda: self.listens(port))

    def is_idle(self):
        """Has it done with all clients? Then it waits for the next one, and nothing of ours is interrupted by a signal."""
        said = self.log_text()
        return said.count("Accepted client connection") <= said.count("Client connection closed")

    def stop(self):
        self.wait_until(self.is_idle)
        return super().stop()

    def listens(self, port):
        """From /proc, of the server's own network: a trial connection would count as a client."""
        with open(f"/proc/{self.process.pid}/net/tcp", encoding="ascii") as table:
            return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table.readlines()[1:])


class Remote(RpcServer):
    """A client without the plug-in generates with the NPU of the server."""

    def test_generate(self):
        port = free_port()
        self.start_rpc("127.0.0.1", port)
        run = self.complete("--rpc", f"127.0.0.1:{port}", count=8, precision=None)
        self.assertIn("Paris", run.out)
        self.assertIsNone(run.stats, "the client must do without the plug-in")
        self.assert_says(r"RPC0.* model buffer size", run.log)
        self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
        served = harness.Run(0, "", self.log_text(), harness.read_stats(self.stats_file), "")
        self.assert_ran_on_npu(served)
        print(f"the server multiplied {served.stats.npu} times on the NPU")


if __name__ == "__main__":
    harness.main()
