#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/profile_of_report.py finds what a board is like from the times in a doctor's report: test_profile_of_report.py SIMULATOR DOCTOR BENCH"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SIMULATOR, DOCTOR, BENCH = sys.argv[1:]
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
from fit_profile import Model  # noqa: E402
from profile_of_report import TYPES, Fit  # noqa: E402

# A board that is slower than the simulator takes it to be, in every way that is measured.
SLOW = {"stream_gbps.1": 8, "stream_gbps.2": 14, "stream_gbps.3": 17, "mixed_gbps.1": 7, "mixed_gbps.2": 11, "mixed_gbps.3": 13,
        "mac_efficiency": 0.45, "submit_us": 71, "bind_us": 3, "sync_us": 4, "sync_gbps": 10, "line_ns": 20}


def doctor(folder, profile=None):
    """The report of a quick run on the simulator with that profile."""
    report = pathlib.Path(folder, "report.json")
    environment = dict(os.environ, **({"RKNNSIM_PROFILE": str(profile)} if profile else {}))
    subprocess.run([DOCTOR, "--runtime", SIMULATOR, "--quick", "--output", report], env=environment, capture_output=True, check=False)
    return json.loads(report.read_text())


def values(text):
    return {name: float(value) for name, value in re.findall(r"^(\S+) = (\S+)  # ", text, flags=re.M)}


class ProfileOfReport(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Model(SIMULATOR)
        cls.names = re.findall(r"^(\S+) = ", (SCRIPTS.parent / "sim/profiles/rk3588.profile").read_text(), flags=re.M)
        cls.own = {name: cls.model.get(name) for name in cls.names}
        with tempfile.TemporaryDirectory() as folder:
            slow = pathlib.Path(folder, "slow.profile")
            slow.write_text("".join(f"{name} = {value}\n" for name, value in (cls.own | SLOW).items()))
            cls.report = doctor(folder, slow)

    def fitted(self, report):
        for name, value in self.own.items():
            self.model.set(**{name.replace(".", "__"): value})
        fit = Fit(report, self.model)
        fit.fit()
        return fit

    def changed(self, change):
        report = json.loads(json.dumps(self.report))
        for shape in report["measurements"]["shapes"]:
            change(shape)
        return report

    def test_what_a_board_is_like_is_found_from_its_times(self):
        fit = self.fitted(self.report)
        found = values(fit.text())
        self.assertEqual(list(found), self.names)
        for name, value in SLOW.items():
            self.assertLess(abs(found[name] / value - 1), 0.01, name)
            self.assertIn("measured: ", fit.sources[name])
        for name in ("bank_bytes", "clock_mhz", "convert_gbps"):
            self.assertEqual(found[name], self.own[name])
            self.assertIn(f"{name} = {self.own[name]:.10g}  # not measured", fit.text())
        self.assertLess(found["error.worst"], 1.02)
        self.assertIn("\n# SIMULATED", fit.text())

    def test_errors_say_how_far_the_model_is(self):
        last = self.report["measurements"]["shapes"][-1]["run_us"]  # a shape that is not fitted to
        found = values(self.fitted(self.changed(lambda shape: shape["run_us"] == last and shape.update(run_us=3 * last))).text())
        self.assertLess(abs(found["error.worst"] - 3), 0.05)
        self.assertLess(found["error.typical"], 1.02)

    def test_times_that_no_value_explains_change_nothing(self):
        def faster(shape):
            if shape["m"] == 128 and shape["type"] == "int8":
                shape["run_us"] /= 20
        fit = self.fitted(self.changed(faster))
        self.assertEqual(values(fit.text())["mac_efficiency"], self.own["mac_efficiency"])
        self.assertIn("not measured: 128x1024x4096 int8, 1 core", fit.sources["mac_efficiency"])

    def test_a_name_is_no_line_of_the_profile(self):
        text = self.fitted(self.report | {"board": "a board\nwith = two lines"}).text()
        self.assertIn("# board: a board with = two lines;", text)

    def test_simulator_and_predict_take_it(self):
        with tempfile.TemporaryDirectory() as folder:
            report, profile = pathlib.Path(folder, "report.json"), pathlib.Path(folder, "measured.profile")
            report.write_text(json.dumps(self.report))
            command = [sys.executable, SCRIPTS / "profile_of_report.py", "--library", SIMULATOR, report]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            profile.write_text(text)
            again = doctor(folder, profile)
            theirs = {tuple(shape[name] for name in "mkn") + (shape["type"], shape["cores"]): shape["run_us"]
                      for shape in self.report["measurements"]["shapes"]}
            for shape in again["measurements"]["shapes"]:
                time = theirs[tuple(shape[name] for name in "mkn") + (shape["type"], shape["cores"])]
                self.assertLess(abs(shape["run_us"] / time - 1), 0.02, shape)
            predict = [BENCH, "predict", "--model", "SmolLM2-135M", "--profile", profile]
            self.assertIn("SmolLM2-135M", subprocess.run(predict, capture_output=True, text=True, check=True).stdout)
            report.write_text(json.dumps(self.report | {"measurements": None}))
            failed = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertIn("nothing was measured in", failed.stderr)
            self.assertEqual((failed.returncode, failed.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
