#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whole hosts for AArch64 with our plug-in and a model, under QEMU. The text of llama.cpp is that of the same program on this PC; that
of hosts that others have built (tests/e2e/prebuilt_hosts.csv) is that of their CPU.

    test_model.py BUILD_DIRECTORY HOST_BIN_DIRECTORY PC_BUILD_DIRECTORY QEMU SYSROOT [CLASS...]

HOST_BIN_DIRECTORY is what `scripts/host-llama.sh --target rk3588 --bin-dir` prints. The build for this PC (preset release, configured
with RKNPU2_LLAMA_BIN_DIR and RKNPU2_MODEL) tells where its llama.cpp and the model are; its plug-in is brought up to date.
Floats of the two CPU backends differ in their last bits, hence a short text whose tokens are clear decisions.
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENS = 6


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def cached(folder, name):
    """A setting of a build folder, or an empty string."""
    path = folder / "CMakeCache.txt"
    found = re.search(rf"^{name}:\w+=(.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found.group(1) if found else ""


BUILD, HOST, PC = (pathlib.Path(argument) for argument in sys.argv[1:4])
QEMU, SYSROOT = sys.argv[4:6]
for setting, name in (("BIN_DIR", "RKNPU2_LLAMA_BIN_DIR"), ("MODEL", "RKNPU2_MODEL")):
    os.environ["RKNPU2_E2E_" + setting] = cached(PC, name)
    if not cached(PC, name):
        skip(f"{PC} is not a build for this PC with {name}: scripts/test.sh makes one before this test")
os.environ["RKNPU2_E2E_BUILD_DIR"] = str(BUILD)
del sys.argv[1:6]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402: it reads the environment
import test_hosts  # noqa: E402
from test_hosts import prebuilt_hosts  # noqa: E402


class Model(harness.HostTest):
    """llama-simple with every layer on the device."""

    def generate(self, program, *wrapper_arguments, plugin):
        run = self.host(program, *wrapper_arguments, "-m", harness.MODEL, "-ngl", 99, "-n", TOKENS, harness.CAPITAL,
                        extra={"GGML_BACKEND_PATH": str(plugin)}, timeout=800)
        self.assert_ran_on_npu(run)
        self.assertIn("Paris", run.out)
        return run

    def test_same_text(self):
        if not (HOST / "llama-simple").exists():
            self.skipTest(f'RKNPU2_CROSS_LLAMA_BIN_DIR ("{HOST}") has no llama-simple: scripts/host-llama.sh --target rk3588 --bin-dir makes one')
        subprocess.run(["cmake", "--build", PC, "--target", "ggml-rknpu2", "rknnrt"], check=True, stdout=subprocess.DEVNULL)
        here = self.generate("llama-simple", plugin=PC / "bin/libggml-rknpu2.so")
        there = self.generate(QEMU, "-cpu", "cortex-a76", "-L", SYSROOT, "-E", f"LD_LIBRARY_PATH={HOST}", HOST / "llama-simple",
                              plugin=harness.PLUGIN)
        self.assertEqual(there.out, here.out)
        self.assertEqual(there.stats.weights, here.stats.weights)
        self.assertEqual(there.stats.document["matmuls"], here.stats.document["matmuls"])
        self.assertEqual(there.stats.document["bytes"], here.stats.document["bytes"])
        print(f"{TOKENS} tokens, {there.stats.npu} multiplications by the NPU: {there.out.strip()!r}")


class There(test_hosts.Prebuilt):
    """A package of node-llama-cpp, whose programs are those of a board."""

    machine = "aarch64"
    node = prebuilt_hosts.folder(prebuilt_hosts.NODE) / "node"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls.node.exists():
            raise unittest.SkipTest("not fetched: scripts/prebuilt_hosts.py --machine aarch64")

    def host(self, program, *arguments, **options):
        return super().host(QEMU, "-cpu", "cortex-a76", "-L", SYSROOT, self.node, *arguments, **options)

    def test_text(self):
        made, run = self.assert_as_the_cpu(harness.CAPITAL, tokens=4)
        self.assert_ran_on_npu(run)
        self.assertRegex(made["text"], "Paris")
        self.found_text(made, run)


for _row in prebuilt_hosts.packages("aarch64"):
    _name = "Host_" + _row["version"].replace(".", "_")
    globals()[_name] = type(_name, (There,), {"version": _row["version"], "__module__": __name__})


if __name__ == "__main__":
    harness.main()
