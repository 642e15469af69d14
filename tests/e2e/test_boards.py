# SPDX-License-Identifier: MIT
"""Three boards in a network, each a stock ggml-rpc-server with our device, and a stock client without the plug-in.

Every board has a network namespace of its own, with an address on a bridge in the client's; that needs root. A server whose
host dies in the middle of a generation is played by kill -9.
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import time

import harness
import test_tools

BOARDS = 3
PORT = 50052
DIES_WITHIN = 60  # seconds from the kill to the end of the client; it takes less than one on an idle machine
# The host may lose the last words (harness.host).
TEXT = "(?s)" + re.escape(harness.CAPITAL) + ".{20}"
CLIENT_SAYS = r"Remote RPC server crashed or returned malformed response"

# What a server was, when more than one runs: `process`, and the files it writes.
Board = collections.namedtuple("Board", "address process stats_file log")


def ip(*arguments):
    return subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True, check=False)


class Network(test_tools.RpcServer):
    """Namespaces `client` and a board's each, one switch; or a reason to skip."""

    def setUp(self):
        super().setUp()
        if shutil.which("ip") is None:
            self.skipTest("no program ip (Debian: iproute2) to make network namespaces with")
        self.client = f"rknpu2-{os.getpid()}-client"
        self.boards = []
        self.make(self.client)
        for command in (["link", "add", "switch0", "type", "bridge"], ["addr", "add", "10.77.0.1/24", "dev", "switch0"],
                        ["link", "set", "switch0", "up"], ["link", "set", "lo", "up"]):
            self.configure(self.client, *command)

    def make(self, namespace):
        made = ip("netns", "add", namespace)
        if made.returncode != 0:
            self.skipTest("no network namespaces here: " + made.stderr.strip())
        self.addCleanup(ip, "netns", "del", namespace)

    def configure(self, namespace, *command):
        done = ip("-n", namespace, *command)
        if done.returncode != 0:
            self.skipTest(f"ip -n {namespace} {' '.join(command)}: {done.stderr.strip()}")

    def start_board(self):
        number = len(self.boards) + 1
        namespace, cable, host = f"rknpu2-{os.getpid()}-{number}", f"port{number}", f"10.77.0.{10 + number}"
        self.make(namespace)
        self.configure(self.client, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self.configure(self.client, "link", "set", cable, "master", "switch0", "up")
        self.configure(namespace, "addr", "add", host + "/24", "dev", "eth0")
        self.configure(namespace, "link", "set", "eth0", "up")
        # Each board has files of its own, as hosts have.
        self.start_rpc(host, PORT, self.inside(namespace), GGML_RKNPU2_WEIGHT_CACHE=str(self.folder / f"weights-{number}"))
        self.boards.append(Board(f"{host}:{PORT}", self.process, self.stats_file, self.log))

    @staticmethod
    def inside(namespace):
        return [shutil.which("ip"), "netns", "exec", namespace]

    def arguments(self, program, count):
        """Of a client in its namespace, whose layers are spread over all boards."""
        wrapper, *rest = [*self.inside(self.client), harness.BIN_DIR / program, "-m", harness.MODEL, "-ngl", 99, "--rpc",
                          ",".join(board.address for board in self.boards), "-p", harness.CAPITAL, "-n", count, "--temp", 0,
                          "-no-cnv", "-lv", 4, "-c", 512]
        return wrapper, rest

    def stop_boards(self):
        """Their statistics."""
        found = []
        for board in self.boards:
            self.process, self.log = board.process, board.log
            self.assertEqual(self.stop(), 0, harness.tail(self.log_text()))
            found.append(harness.read_stats(board.stats_file))
        return found


class Boards(Network):
    """Layers on three boards."""

    def generate(self):
        wrapper, rest = self.arguments("llama-completion", 12)
        run = self.host(wrapper, *rest, precision=None, says=TEXT)
        self.assertIsNone(run.stats, "the client must do without the plug-in")
        for number, board in enumerate(self.boards):
            self.assert_says(rf"RPC{number} \({board.address}\)", run.log)
        return self.assert_says(TEXT, run.out).group(0)

    def test_same_text_and_weights_packed_once(self):
        """A second client sends the model again, as the protocol has it; the boards find what they have packed in files."""
        alone = self.complete(count=12, says=TEXT)
        for _ in range(BOARDS):
            self.start_board()
        texts = [self.generate() for _ in range(2)]
        self.assertEqual(texts, [self.assert_says(TEXT, alone.out).group(0)] * 2)
        names = []
        for board, stats in zip(self.boards, self.stop_boards()):
            cache, here = stats.document["weight_cache"], set(stats.names())
            print(f"{board.address}: {len(here)} weights, {stats.npu} multiplications, packed {cache['written']}, "
                  f"from files {cache['loaded']}")
            self.assertGreater(len(here), 30)
            self.assertEqual(cache["written"], len(here), "each is packed once, for the first client")
            self.assertEqual(cache["loaded"], len(here), "and is there for the second")
            self.assertEqual(cache["rejected"] + cache["not_written"], 0)
            self.assertEqual((stats.failures, stats.reference), (0, 0))
            # Two clients, a warm-up, a prompt and eleven tokens each.
            self.assertGreaterEqual(stats.npu, 2 * 12 * len(here))
            names += here
        self.assertEqual(sorted(names), alone.stats.names(), "each weight is on one board")

    def test_a_board_that_dies_ends_the_client(self):
        """Stock llama.cpp ends and does not wait, and the other boards go on.

        It aborts with a line that says why where it was reading from the dead board, and dies of SIGPIPE without a word where
        it was writing to it.
        """
        for _ in range(BOARDS):
            self.start_board()
        wrapper, rest = self.arguments("llama-completion", 400)
        self.start(wrapper, rest, precision=None, extra={"GGML_NO_BACKTRACE": "1"})
        self.wait_until(lambda: "Paris" in self.log_text())
        self.boards[1].process.kill()
        killed = time.monotonic()
        code = self.process.wait(DIES_WITHIN)
        print(f"the client ended after {time.monotonic() - killed:.2f} s with {code}")
        self.assertIn(code, (-signal.SIGABRT, -signal.SIGPIPE))
        if code == -signal.SIGABRT:
            self.assert_says(CLIENT_SAYS, self.log_text())
        for board in (self.boards[0], self.boards[2]):
            self.assertIsNone(board.process.poll(), "a board ended with the client")
        self.boards.pop(1)
        # With the boards that are left.
        run = self.host(self.inside(self.client)[0], *self.arguments("llama-completion", 8)[1], precision=None, says=r"Paris")
        self.assert_says(r"Paris", run.out)


if __name__ == "__main__":
    harness.main()
