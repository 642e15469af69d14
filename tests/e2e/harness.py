# SPDX-License-Identifier: MIT
"""Runs stock programs of llama.cpp with our plug-in, for the end-to-end tests.

The one idea: a test never believes an exit code alone. Every run returns the text, the log and the plug-in's own counters
(the JSON of GGML_RKNPU2_STATS), and the tests assert on the counters: what was multiplied where, and in which precision.

ctest hands over where things are (see CMakeLists.txt); by hand, set the same variables:
    RKNPU2_E2E_BIN_DIR   programs of a built llama.cpp       RKNPU2_E2E_BUILD_DIR  our build folder (bin/, sim/)
    RKNPU2_E2E_MODEL     the default GGUF model              RKNPU2_E2E_OUT_DIR    where results are written
    RKNPU2_E2E_LLAMA_DIR sources of that llama.cpp (test_real_widths.py)
and run `python3 tests/e2e/test_generate.py [Class[.test]]`. Without the first two the exit code is 77: not run.
A failure prints for each program it started one line that starts the same again.
Only Python's standard library is used.
"""

import collections
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))  # what our programs share with the tests
SKIPPED = 77
ALL_WEIGHTS = 211  # SmolLM2-135M: 30 layers of 7 matrices, and the output head
CAPITAL = "The capital of France is"
WHOLE_TEXT = "common_perf_print: +sampling time"  # what llama-completion logs after its text


def setting(name, default=""):
    return os.environ.get("RKNPU2_E2E_" + name, "") or default


BIN_DIR = pathlib.Path(setting("BIN_DIR"))
MODEL = setting("MODEL")
BUILD_DIR = pathlib.Path(setting("BUILD_DIR", str(ROOT / "build" / "release")))
OUT_DIR = pathlib.Path(setting("OUT_DIR", str(BUILD_DIR / "e2e")))
PLUGIN = BUILD_DIR / "bin" / "libggml-rknpu2.so"
SIMULATOR = BUILD_DIR / "sim" / "librknnrt.so"
# Which board the simulator plays: empty, or a setting such as RKNNSIM_BOARD=worst.
BOARD = dict([setting("BOARD").split("=", 1)]) if setting("BOARD") else {}


def why_not_here():
    """The reason why no end-to-end test can run here, or None."""
    if not setting("BIN_DIR"):
        return "RKNPU2_LLAMA_BIN_DIR is empty: no llama.cpp to run (scripts/host-llama.sh --bin-dir makes one)"
    if not MODEL:
        return "RKNPU2_MODEL is empty: no model to run (scripts/model.sh obtains one)"
    return None


def clean_environment():
    """The caller's environment without settings of llama.cpp, of the plug-in or of the simulator."""
    ours = re.compile(r"^(GGML_|RKNNSIM_|LLAMA_ARG_|LLAMA_LOG_|RKNPU2_E2E_)")
    return {name: value for name, value in os.environ.items() if not ours.match(name)}


class Stats:
    """The plug-in's counters for one process; docs/statistics.md describes the fields."""

    def __init__(self, document):
        self.document = document
        self.weights = document["weights"]
        self.npu = document["matmuls"]["npu"]
        self.reference = document["matmuls"]["cpu_reference"]
        self.int8 = document["matmuls"]["by_precision"]["int8"]
        self.fp16 = document["matmuls"]["by_precision"]["fp16"]
        self.refused = document["refused"]
        self.experts = document["experts"]
        self.failures = document["failures"]
        self.precision = document["precision"]

    def names(self, pattern=""):
        """Names of the weights that have been multiplied by us, with duplicates, in order."""
        return sorted(w["name"] for w in self.weights if re.search(pattern, w["name"]))

    def weight_precisions(self):
        return {w["precision"] for w in self.weights}


# stats is None when the plug-in wrote none; repro is the line that starts the same again.
Run = collections.namedtuple("Run", "code out log stats repro")


class HostTest(unittest.TestCase):
    """A test that starts host programs. Each has a folder of its own, self.folder, which stays when it fails."""

    maxDiff = 2000

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rknpu2-e2e-"))
        self.repros = []
        self.count = 0

    def environment(self, precision, stats_file, extra):
        """What turns a stock program into one with our device; precision None: without the plug-in.

        What the simulator's checker finds in the plug-in is an error, leaks at the end of a process included.
        """
        ours = {}
        if precision is not None:
            ours = {"GGML_BACKEND_PATH": str(PLUGIN), "GGML_RKNPU2_RUNTIME": "sim", "GGML_RKNPU2_STATS": str(stats_file),
                    "RKNNSIM_CHECK": "strict", "GGML_RKNPU2_STATISTICS": "none", "GGML_RKNPU2_PROFILE": "none",
                    "GGML_RKNPU2_MATRICES": "npu", **BOARD}
            if precision != "default":
                ours["GGML_RKNPU2_PRECISION"] = precision
        ours.update(extra or {})
        return ours

    def prepare(self, program, arguments, precision="default", extra=None):
        """(command, environment, stats file) of a program; remembers the line that repeats it."""
        self.count += 1
        stats_file = self.folder / f"stats-{self.count}.json"
        path = program if os.sep in str(program) else BIN_DIR / program
        command = [str(path), *map(str, arguments)]
        ours = self.environment(precision, stats_file, extra)
        words = [f"{name}={shlex.quote(value)}" for name, value in ours.items() if name != "GGML_RKNPU2_STATS"]
        self.repros.append(" ".join(words + [shlex.join(command)]))
        return command, {**clean_environment(), **ours}, stats_file

    def host(self, program, *arguments, says=None, before=None, **options):
        """Runs a program to its end and returns a Run. says: a pattern that its output is to have.

        Stock llama.cpp ends without waiting for the thread that writes its log (common_log_main() in common/log.cpp says so), and
        on a busy machine the last lines are lost: of 40 runs of llama-perplexity on a tiny model, without the plug-in, ten lost
        their figures. So a run that lacks what it is to say is repeated; one that never says it is for the caller to judge.
        before: is called before each run, and brings back what an earlier one has changed.
        """
        for _ in range(8):
            if before:
                before()
            run = self.run_once(program, *arguments, **options)
            if says is None or re.search(says, run.out + run.log):
                break
        return run

    def run_once(self, program, *arguments, precision="default", extra=None, timeout=1500, code=0, text=""):
        """code: the exit code the program must have; None: any."""
        command, environment, stats_file = self.prepare(program, arguments, precision, extra)
        try:
            done = subprocess.run(command, env=environment, input=text.encode(), capture_output=True, timeout=timeout,
                                  cwd=self.folder, check=False)
        except subprocess.TimeoutExpired:
            self.fail(f"{program} did not end within {timeout} s")
        out, log = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        if code is not None and done.returncode != code:
            self.fail(f"{program} ended with {done.returncode}, not {code}:\n{tail(out)}\n{tail(log)}")
        return Run(done.returncode, out, log, read_stats(stats_file), self.repros[-1])

    def complete(self, *arguments, layers=99, prompt=CAPITAL, count=16, model=None, **options):
        """Greedy text by llama-completion; a small context keeps attention cheap."""
        return self.host("llama-completion", "-m", model or MODEL, "-ngl", layers, "-p", prompt, "-n", count, "--temp", 0,
                         "-no-cnv", "-lv", 4, "-c", 512, *arguments, **options)

    def assert_ran_on_npu(self, run, weights=ALL_WEIGHTS):
        """The named number of weight matrices was packed for the NPU, all were multiplied there, nothing failed."""
        self.assertIsNotNone(run.stats, "the plug-in wrote no statistics: it was not loaded\n" + tail(run.log))
        self.assertEqual(len(run.stats.weights), weights, "weights on the NPU")
        self.assertEqual(run.stats.failures, 0)
        self.assertEqual(run.stats.reference, 0)
        if weights:
            self.assertGreaterEqual(run.stats.npu, weights, "matmuls on the NPU")
        else:
            self.assertEqual(run.stats.npu, 0, "matmuls on the NPU")

    def assert_says(self, pattern, text):
        found = re.search(pattern, text)
        self.assertIsNotNone(found, f"no /{pattern}/ in:\n{tail(text)}")
        return found


def read_stats(path):
    return Stats(json.loads(path.read_text())) if path.exists() else None


def tail(text, lines=30):
    return "\n".join(text.splitlines()[-lines:])


def script(name, *arguments):
    """The path that one of our scripts prints."""
    environment = {**os.environ, "RKNPU2_LLAMA_BUILD_DIR": str(BIN_DIR.parent)}
    done = subprocess.run([str(ROOT / "scripts" / name), *arguments], env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"scripts/{name} {shlex.join(arguments)} ended with {done.returncode}; its reason is above")
    return done.stdout.decode().strip()


def english(folder, size=16000):
    """A file with the first `size` bytes of the test text; tokenizing all of it takes ten seconds."""
    path = pathlib.Path(folder) / "text.txt"
    with open(script("model.sh", "--text"), "rb") as source:
        path.write_bytes(source.read(size).rpartition(b"\n")[0])
    return path


class Reporter(unittest.TextTestResult):
    """Prints after each failure the commands of that test, a line each; removes the folders of the others."""

    def _repeat(self, test):
        test.failed = True
        for line in getattr(test, "repros", []):
            self.stream.writeln("repeat with: " + line)

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._repeat(test)

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._repeat(test)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._repeat(test)

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        if not getattr(test, "failed", False):
            shutil.rmtree(getattr(test, "folder", ""), ignore_errors=True)


def main():
    """Runs the tests of the calling file. Exit 77, with the reason, when nothing could run."""
    reason = why_not_here()
    if reason:
        print("skipped:", reason)
        sys.exit(SKIPPED)
    OUT_DIR.mkdir(parents=True, exist_ok=True)
    runner = unittest.TextTestRunner(stream=sys.stdout, resultclass=Reporter, verbosity=2)
    result = unittest.main(module="__main__", testRunner=runner, exit=False).result
    # A class that skips all its tests is one more entry, and none of them counts as run.
    ran = result.testsRun - sum(isinstance(test, unittest.TestCase) for test, _ in result.skipped)
    if result.wasSuccessful() and result.skipped and ran == 0:
        sys.exit(SKIPPED)
    sys.exit(0 if result.wasSuccessful() and ran else 1)
