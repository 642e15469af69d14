# SPDX-License-Identifier: MIT
"""One libggml-rknpu2.so in hosts of the Python index (prebuilt_hosts.csv): llama-cpp-python has the tests of test_hosts.py,
whisper.cpp listens, stable-diffusion.cpp draws, and a ggml of 2024 is refused in one line. One that scripts/python_hosts.py has not
installed is skipped.
"""

import pathlib
import sys
import unittest

import diffusion_model
import harness
import test_hosts
import whisper_model

import python_hosts  # of scripts/, which harness makes known

HERE = pathlib.Path(__file__).parent


class OfPip(test_hosts.Prebuilt):
    """What the classes of one host share."""

    driver = "python_host.py"

    @classmethod
    def setUpClass(cls):
        cls.row = next(row for row in python_hosts.packages() if row["version"] == cls.version)
        if not python_hosts.is_here(cls.row):
            raise unittest.SkipTest(f"not installed: scripts/python_hosts.py {cls.version}")

    def start(self, wanted, **options):
        return self.host(sys.executable, HERE / self.driver, wanted, extra={"PYTHONPATH": python_hosts.python_path(self.row)}, **options)

    def drive_twice(self, model, **wanted):
        """What the host's driver says by the CPU alone, what it says with the plug-in, and that Run. model: a module that writes one."""
        wanted["model"] = str(self.folder / "model")
        model.write(wanted["model"])
        expected, _ = self.drive(wanted, None)
        return expected, *self.drive(wanted, "exact")

    def assert_refused(self, run, why):
        said = [line for line in run.log.splitlines() if "ggml-rknpu2:" in line]
        self.assertEqual(len(said), 1, said)
        self.assertRegex(said[0], "not loaded: the host's ggml .* " + why)
        self.assertIsNone(run.stats)
        self.found(text="refused")


class Listens:
    """The test of a whisper.cpp."""

    driver = "whisper_host.py"

    def test_text(self):
        expected, made, run = self.drive_twice(whisper_model, tokens=16)
        self.assertEqual((expected["devices"], made["devices"]), ([], [test_hosts.DEVICE]))
        self.assertEqual(made["tokens"], expected["tokens"])
        self.assertGreater(len(set(made["tokens"])), 8, made["text"])
        # The CPU's attention of an old ggml adds halves up: it is farther from a newer ggml's (1.8 %) than the NPU's is (0.5 %).
        allowed = 0.03 if self.row["layout"] == "older" else 0.01
        for ours, theirs in zip(made["probabilities"], expected["probabilities"]):
            self.assertAlmostEqual(ours, theirs, delta=allowed * theirs)
        self.assert_ran_on_npu(run, whisper_model.MATRICES)
        self.assertGreater(run.stats.document["flows"], 0)
        self.found_text(made, run)
        self.found(flow="yes")


class Draws:
    """The tests of a stable-diffusion.cpp. Its ggml has names of 128 bytes, so its tensors are longer."""

    driver = "diffusion_host.py"

    def test_pixels(self):
        expected, made, run = self.drive_twice(diffusion_model, size=24)
        self.assertEqual((expected["devices"], made["devices"]), ([], [test_hosts.DEVICE]))
        self.assertEqual(made["pixels"], expected["pixels"])
        self.assertGreater(len(set(made["pixels"])), 16)
        self.assert_ran_on_npu(run, 0)  # its convolutions multiply what they compute by a weight, not a weight by that
        self.assertGreater(run.stats.document["cpu_nodes"], 0)
        self.found_text(made, run)

    def test_flows_and_experts(self):
        """No small model of these hosts has layers of weights; our own tests have, and open the package's library."""
        library = next(python_hosts.folder(self.row).glob("*/lib/libstable-diffusion.so"))
        for tests in ("flow", "experts", "experts --gtest_filter=*OnTheCpu*"):
            program, *arguments = f"{harness.BUILD_DIR}/bin/test_ggml_{tests}".split()
            self.host(program, *arguments, precision=None, extra={
                "RKNPU2_TEST_LIBRARY": str(library), "RKNNSIM_CHECK": "strict", "GGML_RKNPU2_MATRICES": "npu"})
        self.found(flow="yes")


class Refused:
    """The test of a ggml of 2024."""

    def test_one_line(self):
        made, run = self.generate()
        self.assertEqual(made["devices"], [])
        self.assertRegex(made["text"], "Paris")
        self.assert_refused(run, "has no function .*; use another release of the host")


def checks_of(row):
    known = {"pywhispercpp": Listens, "stable-diffusion-cpp-python": Draws}
    return known.get(row["package"], Refused if row["layout"] == "refused" else test_hosts.Checks)


for _row in python_hosts.packages():
    _name = "Host_" + _row["version"].replace(".", "_")
    globals()[_name] = type(_name, (checks_of(_row), OfPip), {"version": _row["version"], "__module__": __name__})
del OfPip  # a base of others, without tests

if __name__ == "__main__":
    harness.main()
