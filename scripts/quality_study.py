# SPDX-License-Identifier: MIT
"""Runs llama-perplexity for one study - a model, a text, a number of chunks - and keeps what it measured.

A study has a folder of its own in the cache, named by a hash of everything that decides the figures: the bytes of the model,
of the text, of the plug-in and of llama.cpp's programs and libraries. In it is a file for each measurement, written whole
when that is done, and while any is missing the logits of the base, which are large. So an interrupted study goes on
where it was, and one that was changed starts anew.

Figures are believed only when the plug-in's own counters agree: the precision that was asked for, no failed
multiplication, and the reference for the base.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

import quality_figures
from report import plain_environment, say

CONTEXT = 512  # of a chunk, unless another number of tokens is asked for
ATTENTIONS = ("auto", "npu", "cpu")  # values of GGML_RKNPU2_ATTENTION
# Stock llama.cpp ends without waiting for the thread that writes its output (common_log_main() in common/log.cpp), and on a busy
# machine the last lines, which are the figures, can be lost.
ATTEMPTS = 4
ALL_LAYERS = 99
# cpu is llama.cpp's own backend without the plug-in; the others are values of GGML_RKNPU2_PRECISION. With statistics of the
# activations a mode has another name; `compact` has none without, and may have a budget of bytes a weight.
WITH_STATISTICS = "+statistics"
LARGER_BUDGET = "@0.75"
MODES = ("cpu", "naive", "fast", "balanced", "exact", "reference", *(mode + WITH_STATISTICS for mode in (
    "fast", "balanced", "compact", "compact" + LARGER_BUDGET)))


class Failure(Exception):
    """What is to be said in one line, perhaps with a line that repeats the run."""

    def __init__(self, text, repeat=None):
        super().__init__(text)
        self.repeat = repeat


def hash_of(path, digest=None):
    digest = digest or hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def extra_work(weights):
    """What second planes add to the NPU's multiplications, as a share, when every row goes through every weight."""
    work = sum(weight["K"] * weight["N"] for weight in weights)
    return sum((weight["planes"] - 1) * weight["K"] * weight["N"] for weight in weights) / work if work else 0.0


@dataclass(frozen=True)
class Programs:
    """What takes part in a run besides the model and the text."""

    host_dir: str
    plugin: str
    runtime: str  # GGML_RKNPU2_RUNTIME
    runtime_library: str = ""  # the file behind it, where it is ours

    def files(self):
        libraries = {path.resolve() for path in pathlib.Path(self.host_dir).glob("lib*.so*")}
        return [self.plugin, *filter(None, [self.runtime_library]), os.path.join(self.host_dir, "llama-perplexity"),
                *sorted(map(str, libraries))]

    def hash(self):
        digest = hashlib.sha256()
        for path in self.files():
            hash_of(path, digest)
        return digest.hexdigest()


@dataclass(frozen=True)
class Case:
    """One measurement; ngl is what llama.cpp is told, 99 for all."""

    mode: str
    ngl: int

    @property
    def precision(self):
        return self.mode.removesuffix(WITH_STATISTICS).removesuffix(LARGER_BUDGET)

    @property
    def with_statistics(self):
        return self.mode.endswith(WITH_STATISTICS)

    def __str__(self):
        if self.mode == "cpu":
            return "cpu"
        return f"{self.mode}, {'all layers' if self.ngl == ALL_LAYERS else f'-ngl {self.ngl}'}"


def write_whole(path, text):
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


@contextlib.contextmanager
def undisturbed():
    """Signals that end us take effect after the block: a program is started and known, or it is not started."""
    seen = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda received, _: seen.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        raise KeyboardInterrupt


class Study:
    """Measures cases of one model, one text and one number of chunks. `statistics`: a file, for the modes that have them."""

    def __init__(self, cache, programs, model, text, chunks, vocabulary, statistics=None, context=CONTEXT, attention="auto"):
        self.context, self.attention = context, attention
        self.programs, self.model, self.text, self.chunks = programs, model, text, chunks
        self.vocabulary, self.statistics = vocabulary, statistics
        self.statistics_hash = hash_of(statistics) if statistics else ""
        say(f"reading {os.path.basename(model)} and {os.path.basename(text)} ...")
        self.identity = {"schema": 1, "model": hash_of(model), "text": hash_of(text), "chunks": chunks, "context": context,
                         "attention": attention, "runtime": programs.runtime, "programs": programs.hash()}
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = pathlib.Path(cache) / "quality" / key
        self.base = self.folder / "base.kld"

    @contextlib.contextmanager
    def locked(self):
        """One process at a time works in a study's folder. The bases that interrupted studies left are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another quality.sh that measures the same ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._remove_other_bases()
            write_whole(self.folder / "identity.json", json.dumps(self.identity, indent=2) + "\n")
            yield

    def _remove_other_bases(self):
        for base in self.folder.parent.glob("*/base.kld*"):
            if base.parent == self.folder:
                continue
            with open(base.parent / "lock", "a", encoding="utf-8") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                base.unlink()

    # --- What is there already ---

    def _file(self, case):
        of_statistics = f"-{self.statistics_hash[:16]}" if case.with_statistics else ""
        return self.folder / f"{case.mode}{of_statistics}-{case.ngl}.json"

    def known(self, case):
        """The row of a case that was measured before, or None."""
        try:
            return json.loads(self._file(case).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def forget(self, cases):
        for case in cases:
            self._file(case).unlink(missing_ok=True)
        self.base.unlink(missing_ok=True)

    # --- Runs ---

    def make_base(self, progress):
        """The logits of the reference on all chunks, unless they are there."""
        if self.base.exists():
            return
        need = self.chunks * (self.context // 2) * (2 * ((self.vocabulary + 1) // 2) + 4) * 2
        free = shutil.disk_usage(self.folder).free
        if free < need + (64 << 20):
            raise Failure(f"the base's logits take {need >> 20} MB in {self.folder}, which has {free >> 20} MB: "
                          "free some space, take fewer --chunks, or set RKNPU2_CACHE to a folder elsewhere")
        partial = self.base.with_name("base.kld.part")
        case = Case("reference", ALL_LAYERS)
        out, repeat = self._run(case, ["-f", self.text, "--chunks", str(self.chunks), "--kl-divergence-base", str(partial)],
                                "base", progress)
        done = quality_figures.chunks_done(out)
        if not done:
            raise Failure(f"{case}: no chunk was done: {self._cause('base')}; the log: {self._log('base')}", repeat)
        if done != self.chunks:
            raise Failure(f"{self.text} has {done} chunks of {self.context} tokens, not {self.chunks}: "
                          "take a longer text or fewer --chunks", repeat)
        self._counted(case, "base", repeat)
        os.replace(partial, self.base)

    def measure(self, case, progress):
        """The row of a case: its figures, and what the plug-in says it did."""
        begin, name = time.monotonic(), self._file(case).stem
        for attempt in range(ATTEMPTS):
            out, repeat = self._run(case, ["--kl-divergence-base", str(self.base), "--kl-divergence"], name, progress)
            counted = self._counted(case, name, repeat)
            try:
                row = quality_figures.figures(out)
                break
            except quality_figures.NoFigures as error:
                if attempt + 1 == ATTEMPTS:
                    raise Failure(f"{case}: {error}; its log: {self._log(name)}", repeat) from None
        row |= {"mode": case.mode, "ngl": case.ngl, "chunks": self.chunks, "seconds": round(time.monotonic() - begin, 1),
                "date": time.strftime("%Y-%m-%d"), **counted}
        write_whole(self._file(case), json.dumps(row, indent=2) + "\n")
        return row

    def _stats_file(self, case):
        return self.folder / f"stats-{case.mode}-{case.ngl}.json"

    def _log(self, name):
        return self.folder / f"{name}.log"

    def _cause(self, name):
        return quality_figures.cause(self._log(name).read_text(encoding="utf-8", errors="replace"))

    def _counted(self, case, name, repeat):
        """{matrices, simulated}: from the plug-in's counters, after checking that it did what was asked for."""
        if case.mode == "cpu":
            return {"matrices": 0, "simulated": None, "extra_work": None}
        try:
            stats = json.loads(self._stats_file(case).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if case.ngl == 0:  # no backend of ours was asked to compute
                return {"matrices": 0, "simulated": None, "extra_work": None}
            raise Failure(f"{case}: the plug-in did not take part: {self._cause(name)}; the log: {self._log(name)}",
                          repeat) from None
        on_reference = case.precision == "reference"
        matrices = len({weight["name"] for weight in stats["weights"]})
        ran, other = stats["matmuls"]["npu"], stats["matmuls"]["cpu_reference"]
        if on_reference:
            ran, other = other, ran
        if stats["precision"] != case.precision or stats["failures"] or other:
            raise Failure(f"{case}: the plug-in ran in precision {stats['precision']} with {stats['failures']} failed and "
                          f"{other} unexpected multiplications", repeat)
        if case.ngl and not (ran and matrices):
            raise Failure(f"{case}: nothing was multiplied by the plug-in", repeat)
        used = sum(weight["activation_statistics"] for weight in stats["weights"])
        if used != (len(stats["weights"]) if case.with_statistics else 0):
            raise Failure(f"{case}: {used} of {len(stats['weights'])} weights were packed with statistics", repeat)
        return {"matrices": matrices, "simulated": stats["runtime"].get("simulated"), "extra_work": extra_work(stats["weights"])}

    def _environment(self, case):
        if case.mode == "cpu":
            return {}
        budget = {"GGML_RKNPU2_COMPACT_BYTES": LARGER_BUDGET[1:]} if LARGER_BUDGET in case.mode else {}
        return {"GGML_BACKEND_PATH": self.programs.plugin, "GGML_RKNPU2_RUNTIME": self.programs.runtime, **budget,
                "GGML_RKNPU2_PRECISION": case.precision, "GGML_RKNPU2_ATTENTION": self.attention, "GGML_RKNPU2_STATS": str(self._stats_file(case)),
                "GGML_RKNPU2_STATISTICS": self.statistics if case.with_statistics else "none"}

    def _run(self, case, arguments, name, progress):
        """(what llama-perplexity printed, the line that repeats it)."""
        ours = self._environment(case)
        self._stats_file(case).unlink(missing_ok=True)
        command = [os.path.join(self.programs.host_dir, "llama-perplexity"), "-m", self.model, "-ngl", str(case.ngl),
                   "-c", str(self.context), *arguments]
        repeat = " ".join([f"{key}={shlex.quote(value)}" for key, value in ours.items()] + [shlex.join(command)])
        # Threads of ggml's OpenMP that spin keep each other from running on a busy machine.
        environment = {"OMP_WAIT_POLICY": "passive", **plain_environment(), **ours}
        process = None
        with open(self._log(name), "wb") as log:
            try:
                with undisturbed():
                    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
                out = self._read(process.stdout, progress)
                process.wait()
            except BaseException:
                if process:
                    process.kill()
                    process.wait()
                raise
        process.stdout.close()
        if process.returncode:
            raise Failure(f"{case}: llama-perplexity ended with status {process.returncode}: {self._cause(name)}; "
                          f"its log: {self._log(name)}", repeat)
        if self.programs.hash() != self.identity["programs"]:
            raise Failure(f"{case}: the plug-in or llama.cpp was built anew meanwhile: run this again")
        return out, repeat

    @staticmethod
    def _read(stream, progress):
        """All of the output; progress(chunks) is called as they come."""
        out, done = b"", 0
        while block := os.read(stream.fileno(), 1 << 16):
            out += block
            now = quality_figures.chunks_done(out.decode(errors="replace"))
            if now != done:
                progress(now)
                done = now
        return out.decode(errors="replace")
