# SPDX-License-Identifier: MIT
"""One libggml-rknpu2.so in hosts that others have built (prebuilt_hosts.csv): the device is listed, the greedy text in `exact` is
the one that the host's CPU alone writes, the matrices are on the NPU, and nothing is left at the end.

The model is the default one in F16, whose products the CPU rounds as little as `exact` does, so that both write one text. A host
that scripts/prebuilt_hosts.py has not fetched is skipped. What is found of each host goes to hosts.json of the output folder, and must
be what docs/hosts.csv says (hosts_table.py).
"""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import unittest

import harness
import hosts_table
import made_models
from harness import ALL_WEIGHTS, HostTest, english

import prebuilt_hosts  # of scripts/, which harness makes known

DRIVER = pathlib.Path(__file__).with_name("node_host.cjs")
DEVICE = "Rockchip RK3588 NPU (simulated)"
LONG = 300  # tokens of the prompt that flows, and more


def f16_model():
    """The default model in F16, made once for all tests."""
    made = harness.OUT_DIR / "hosts-f16.gguf"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(f".{os.getpid()}.part")
        subprocess.run([harness.BIN_DIR / "llama-quantize", "--allow-requantize", harness.MODEL, partial, "F16"], check=True, capture_output=True)
        os.replace(partial, made)
    return made


class Prebuilt(HostTest):
    """What the classes of one host share."""

    version = ""
    machine = platform.machine()

    @classmethod
    def setUpClass(cls):
        if cls.version == "named":
            cls.row = {"package": "named", "version": cls.version, "ggml": "", "layout": ""}
            cls.libraries = pathlib.Path(harness.setting("HOST"))
            if not harness.setting("HOST"):
                raise unittest.SkipTest("RKNPU2_E2E_HOST names no folder (scripts/newest-host.sh sets it)")
            return
        if not cls.version:
            raise unittest.SkipTest("no host: a base of others")
        cls.row = next(row for row in prebuilt_hosts.packages(cls.machine) if row["version"] == cls.version)
        cls.libraries = prebuilt_hosts.folder(cls.row)
        if not cls.libraries.is_dir():
            raise unittest.SkipTest(f"not fetched: scripts/prebuilt_hosts.py {cls.version}")
        if shutil.which("node") is None:
            raise unittest.SkipTest("node is not installed")

    def start(self, wanted, **options):
        return self.host(shutil.which("node"), DRIVER, self.libraries / "llama-addon.node", wanted, **options)

    def drive(self, wanted, precision):
        """(what the host's driver says, its Run); precision None: the CPU alone."""
        run = self.start(json.dumps(wanted), precision=precision)
        self.assertNotIn("[leak]", run.log)
        return json.loads(run.out.splitlines()[-1]), run

    def generate(self, prompt=harness.CAPITAL, precision="exact", layers=999, **wanted):
        return self.drive({"model": str(f16_model()), "prompt": prompt, "gpuLayers": layers, "tokens": 12, **wanted}, precision)

    def assert_as_the_cpu(self, prompt, **wanted):
        """Returns (what the host said, its Run) with the plug-in."""
        expected, _ = self.generate(prompt, precision=None, layers=0, **wanted)
        self.assertEqual(expected["devices"], [])
        made, run = self.generate(prompt, **wanted)
        self.assertEqual(made["devices"], [DEVICE], run.log)
        self.assertEqual(made["tokens"], expected["tokens"], (made["text"], expected["text"]))
        return made, run

    def found(self, **facts):
        """For the table of hosts, which must say so, too."""
        if self.version != "named":
            self.assertEqual(hosts_table.record(harness.OUT_DIR / "hosts.json", self.row, facts), [])

    def found_text(self, made, run):
        """What a host that works has said of itself, if it tells what it debugs."""
        log = run.log + "\n".join(made.get("log", []))
        said = re.search(r"the host's ggml is of version (.*?)[,;].* those of (\S+ to \S+)", log)
        if self.version == "named":
            print(f"found: ggml {said[1]} with the structures of {said[2]}")
            return
        self.assertNotIn("nobody has tried", log)
        if said:
            self.assertEqual((said[1], "older" if said[2].startswith("0.9.") else "newer"), (self.row["ggml"], self.row["layout"]))
        self.found(text="yes", matrices=str(len(run.stats.weights)))


class Checks:
    """The tests of each host that writes text."""

    def test_text(self):
        made, run = self.assert_as_the_cpu(harness.CAPITAL)
        self.assert_ran_on_npu(run)
        self.assertRegex(made["text"], "Paris")
        self.found_text(made, run)

    def test_a_prompt_that_flows(self):
        prompt = english(self.folder, 3000).read_text()
        made, run = self.assert_as_the_cpu(prompt, tokens=4)
        self.assertGreater(made["prompt"], LONG)
        self.assert_ran_on_npu(run)
        self.assertGreater(run.stats.document["flows"], 0)
        self.found(flow="yes")

    def test_some_layers(self):
        made, run = self.assert_as_the_cpu(harness.CAPITAL, tokens=4)
        self.assertEqual(len(run.stats.weights), ALL_WEIGHTS)
        some, run = self.generate(layers=10, tokens=4)
        self.assertEqual(some["tokens"], made["tokens"])
        self.assertGreater(len(run.stats.weights), 0)
        self.assertLess(len(run.stats.weights), 80)
        self.found(ngl="yes")

    def test_a_lora(self):
        adapter = self.folder / "adapter.gguf"
        matrices = made_models.write_adapter(adapter)
        plain, _ = self.generate()
        made, run = self.assert_as_the_cpu(harness.CAPITAL, lora=str(adapter))
        self.assertNotEqual(made["tokens"], plain["tokens"])
        self.assertEqual(len(run.stats.names(r"\.lora_[ab]$")), matrices)
        self.found(lora="yes")

    def test_a_state_in_a_file(self):
        plain, _ = self.generate()
        made, _ = self.generate(state=str(self.folder / "state"))
        self.assertEqual(made["tokens"], plain["tokens"])
        self.found(state="yes")


for _row in prebuilt_hosts.packages():
    _name = "Host_" + _row["version"].replace(".", "_")
    globals()[_name] = type(_name, (Checks, Prebuilt), {"version": _row["version"], "__module__": __name__})


class Named(Checks, Prebuilt):
    """The host whose libraries are in RKNPU2_E2E_HOST, whoever it is."""

    version = "named"


if __name__ == "__main__":
    harness.main()
