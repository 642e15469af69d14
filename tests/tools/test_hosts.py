#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rknpu2-info --hosts: where it looks, what it says of hosts that take the plug-in, and of those that do not.

    test_hosts.py RKNPU2_INFO DIFFERING_HOST [unittest's options]

DIFFERING_HOST is built of tests/ggml/differing_host.cpp where there is a llama.cpp; without it, its tests are skipped.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import prebuilt_hosts

PROGRAM, DIFFERING = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
LAYOUTS = {"older": "0.9.3 to 0.9.11", "newer": "0.11.0 to 0.25.3"}


class Hosts(unittest.TestCase):
    def setUp(self):
        kept = tempfile.TemporaryDirectory(prefix="rknpu2-hosts.")
        self.addCleanup(kept.cleanup)
        self.folder = pathlib.Path(kept.name).resolve()

    def run_program(self, *arguments, program=PROGRAM, **environment):
        done = subprocess.run([program, *arguments], env={"PATH": os.environ["PATH"], **environment}, cwd=self.folder, text=True, capture_output=True)
        return done.returncode, done.stdout, done.stderr

    def ask(self, *arguments, **environment):
        """{path of a library from the folder on: its object} of the report."""
        status, out, err = self.run_program("--json", "--hosts", *arguments, **environment)
        self.assertEqual((status, err), (0, ""))
        return {os.path.relpath(host["library"], self.folder): host for host in json.loads(out)["hosts"]}

    def differing(self, name="libggml.so"):
        if not DIFFERING.is_file():
            self.skipTest("there is no built llama.cpp, which the host that differs needs")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(DIFFERING)

    def test_prebuilt_hosts_load_it(self):
        rows = [row for row in prebuilt_hosts.packages() if prebuilt_hosts.folder(row).is_dir()]
        if not rows:
            self.skipTest("no host was fetched (scripts/prebuilt_hosts.py)")
        for row in rows:
            [host] = self.ask(prebuilt_hosts.folder(row)).values()
            self.assertEqual((host["version"], host["layout"], host["loads"], host["tried"], host["why_not"]),
                             (row["ggml"], LAYOUTS[row["layout"]], True, True, ""))
        status, out, _ = self.run_program("--hosts", prebuilt_hosts.folder(rows[0]))
        self.assertEqual(status, 0)
        self.assertRegex(out, rf"(?m)^GGML +LAYOUT OF +LOADS +LIBRARY\n{rows[0]['ggml']} +{LAYOUTS[rows[0]['layout']]} +yes +/")

    def test_a_host_that_differs(self):
        self.differing()
        for differs, fact in (("the shape", "in a tensor's shape"), ("no MUL_MAT", "no operation MUL_MAT")):
            host = self.ask(self.folder, DIFFERS=differs)["libggml.so"]
            self.assertEqual((host["loads"], host["layout"]), (False, ""))
            self.assertIn(fact, host["why_not"])
        _, out, _ = self.run_program("--hosts", self.folder, DIFFERS="the shape")
        self.assertRegex(out, r" - +no +/.*/libggml\.so\n\n/.*/libggml\.so: .* in a tensor's shape;")
        host = self.ask(self.folder, DIFFERS="a release of tomorrow")["libggml.so"]
        self.assertEqual((host["version"], host["loads"], host["tried"], host["layout"]), ("0.99.0", True, False, LAYOUTS["newer"]))

    def test_a_crash_is_one_hosts_alone(self):
        self.differing("a/libggml.so.0")
        (self.folder / "b").mkdir()
        (self.folder / "b/libggml.so").write_text("no library")
        hosts = self.ask(self.folder, DIFFERS="a crash")
        self.assertEqual(sorted(hosts), ["a/libggml.so.0", "b/libggml.so"])
        self.assertIn("ended by signal 6", hosts["a/libggml.so.0"]["why_not"])
        self.assertIn("cannot be opened", hosts["b/libggml.so"]["why_not"])

    def test_a_ggml_that_loads_nothing(self):
        self.differing()
        (self.folder / "libggml.so").unlink()
        for name, why in (("libggml-base.so", "only that can tell"), ("libggml.so", "a ggml of 2024")):
            shutil.copy(DIFFERING.with_name("ggml_lacks_function.so"), self.folder / name)
            host = self.ask(self.folder)[name]
            self.assertFalse(host["loads"])
            self.assertRegex(host["why_not"], f"no function ggml_backend_load: .*{why}")

    def test_the_library_of_a_folder(self):
        for name in ("libggml-base.so", "libggml-cpu-zen4.so", "libggml.b7347.so.0", "libggml.b7347.so", "libggml-vulkan.so", "libllama.so",
                     "hashed/libggml-3ea5c1a2.so.0.9.4", "hashed/libggml-base-77ab12cd.so.0.9.4", "none/libggml-cpu-x64.so", "whole/libstable-diffusion.so"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).touch()
        self.assertEqual(sorted(self.ask(self.folder)), ["hashed/libggml-3ea5c1a2.so.0.9.4", "libggml.b7347.so", "whole/libstable-diffusion.so"])

    def test_where_it_looks(self):
        places = ("build/bin/libggml.so", "prefix/lib/ollama/libggml-base.so", "node_modules/@a/b/bins/libggml.b1.so", "python/a/lib/libggml.so")
        for name in (*places, "build/bin/llama-server", "prefix/bin/ollama", "elsewhere/libggml.so"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch(mode=0o755)
        (self.folder / "links").mkdir()
        (self.folder / "links/llama-server").symlink_to(self.folder / "build/bin/llama-server")
        path = f"{self.folder}/links:{self.folder}/prefix/bin:{os.environ['PATH']}"
        found = self.ask(PATH=path, PYTHONPATH=f"{self.folder}/python", HOME=os.environ.get("HOME", "/"))
        self.assertEqual({name for name in found if not name.startswith("..")}, set(places))

    def test_failures_are_one_line(self):
        status, out, err = self.run_program("--hosts", self.folder / "none")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"{self.folder}/none", err)
        status, out, err = self.run_program("--hosts", program=shutil.copy(PROGRAM, self.folder))
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("libggml-rknpu2.so is not there", err)
        (self.folder / "empty").mkdir()
        self.assertIn("no ggml was found", self.run_program("--hosts", self.folder / "empty")[1])


if __name__ == "__main__":
    unittest.main()
