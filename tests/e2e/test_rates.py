# SPDX-License-Identifier: MIT
"""NPU or CPU by the rates of the board in use (GGML_RKNPU2_RATES): boards that are played, and the measuring itself."""

import fcntl
import re
import threading
import time

import harness
from harness import HostTest

SAYS = r"rates by which NPU or CPU is chosen: (.*)"
LAYERS = harness.ALL_WEIGHTS - 1


class Rates(HostTest):
    """Each run is the warm-up, which packs, and a prompt with some tokens, all of few rows."""

    def rates_file(self, name, **rates):
        path = self.folder / name
        path.write_text("version = 1\n" + "".join(f"{rate} = {value}\n" for rate, value in rates.items()))
        return path

    def run_with(self, **settings):
        ours = {"GGML_RKNPU2_" + name: str(value) for name, value in settings.items() if name.isupper() and not name.startswith("RKNN")}
        others = {name: str(value) for name, value in settings.items() if name.startswith("RKNN")}
        extra = {"GGML_RKNPU2_MATRICES": "auto", "RKNPU2_CACHE": str(self.folder / "cache"), **ours, **others}
        run = self.complete(count=4, extra=extra)
        self.assertEqual(run.stats.failures, 0)
        return run, self.assert_says(SAYS, run.log).group(1), run.stats.document["matrices_on_cpu"]

    def test_the_profile_decides(self):
        """A board whose NPU is slow leaves all to the CPU, one whose CPU is slow nothing, whatever the compiled-in rates say."""
        model = self.run_with()
        self.assertIn("the model's, as always on a simulator", model[1])
        self.assertGreater(model[2], 0, "layers, which are stored in four bits")
        slow_npu = self.folder / "npu.profile"
        slow_npu.write_text("npu_stream_gbps = 0.5\nnpu_run_us = 400\n")
        _, says, on_cpu = self.run_with(PROFILE=slow_npu)
        self.assertTrue(says.startswith("the board profile"), says)
        self.assertGreater(on_cpu, model[2], "the head, too")
        slow_cpu = self.rates_file("cpu.rates", cpu_4bit_gbps=0.5, cpu_8bit_gbps=0.5)
        _, says, on_cpu = self.run_with(RATES=slow_cpu)
        self.assertIn(str(slow_cpu), says)
        self.assertEqual(on_cpu, 0)

    def test_npu_has_all(self):
        """With MATRICES=npu no rate moves anything, or changes a bit."""
        sums = []
        for name, rates in (("a", {"npu_stream_gbps": 0.1}), ("b", {"cpu_4bit_gbps": 0.1, "cpu_8bit_gbps": 0.1})):
            checksums = self.folder / f"checksums-{name}"
            _, _, on_cpu = self.run_with(MATRICES="npu", EXPERTS="auto", RATES=self.rates_file(name, **rates), CHECKSUMS=checksums)
            self.assertEqual(on_cpu, 0)
            sums.append(checksums.read_bytes())
        self.assertGreater(len(sums[0]), 1000)
        self.assertEqual(*sums)

    def test_measured(self):
        """Runs take as long as on a chip whose memory gives 1 GB/s: measured so, kept, and the kept file says the same.

        On one core: the simulator gives a run its rate by the cores that are busy when it begins, so that runs which begin together on
        three get more than the rate played for three (1.3 GB/s). The checker makes them slower (0.8).
        """
        profile = self.folder / "slow.profile"
        text = (harness.ROOT / "sim/profiles/rk3588.profile").read_text()
        profile.write_text(re.sub(r"(?m)^((?:stream|mixed)_gbps\.[123]) = [\d.]+", r"\1 = 1", text))
        played = {"RKNNSIM_REALTIME": 1, "RKNNSIM_PROFILE": profile, "CORES": 1}
        for _ in range(8):  # on a machine that others use the times may differ too much to be kept
            run, says, on_cpu = self.run_with(RATES="measure", **played)
            if "repeats on the NPU differ by much" not in run.log:
                break
        found = re.search(r"measured now, kept in (\S+) \(([\d.]+) s\): NPU ([\d.]+) GB/s; CPU, 4 bits", says)
        self.assertIsNotNone(found, says)
        self.assertLess(float(found[3]), 1.2, "no faster than what is played")
        self.assertEqual(on_cpu % harness.ALL_WEIGHTS, 0, "all, the head, too")
        self.assertGreater(on_cpu, 0)
        kept = (self.folder / "cache/rates").glob("simulator-*.rates")
        self.assertEqual([str(path) for path in kept], [found[1]])
        again_run, again, on_cpu_again = self.run_with(RATES=found[1], CORES=1)
        self.assertEqual(again, f"{found[1]}: {says.partition('): ')[2]}")
        self.assertEqual(on_cpu_again, on_cpu)
        self.assertEqual(run.stats.names(), again_run.stats.names(), "what was made to measure with is not listed")
        for count in ("cpu_copies", "cpu_copy_bytes", "cpu_copies_refused"):
            self.assertEqual(run.stats.experts[count], again_run.stats.experts[count])

    def assert_not_kept(self, says, run):
        self.assertEqual(says, "the model's")
        self.assert_says("rates cannot be measured, so the model's are used: the NPU was in use by others, or failed", run.log)
        self.assertEqual(list((self.folder / "cache").rglob("*.rates")), [])

    def test_faults_are_not_the_npus_rates(self):
        """A run that the CPU did, or that was done again, took another time than the NPU's."""
        for remedies in ("cpu", "retry,fail"):
            with self.subTest(remedies):
                run, says, _ = self.run_with(RATES="measure", ON_ERROR=remedies, RKNNSIM_FAULTS="fail:rknn_matmul_run:nth=9:code=-1")
                self.assertEqual(run.stats.document["faults"]["failed"], 1)
                self.assert_not_kept(says, run)

    def test_others_use_the_npu(self):
        """Another process takes turns at the device all the time."""
        lock = self.folder / "lock"
        ended = threading.Event()

        def take_turns():
            while not lock.exists() and not ended.wait(0.001):
                pass
            with open(lock, "rb") as file:
                while not ended.is_set():
                    fcntl.flock(file, fcntl.LOCK_EX)
                    time.sleep(0.002)
                    fcntl.flock(file, fcntl.LOCK_UN)
                    time.sleep(0.0005)

        other = threading.Thread(target=take_turns)
        other.start()
        try:
            run, says, _ = self.run_with(RATES="measure", LOCK=lock)
        finally:
            ended.set()
            other.join()
        self.assert_not_kept(says, run)


if __name__ == "__main__":
    harness.main()
