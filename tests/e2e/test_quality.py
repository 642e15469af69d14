# SPDX-License-Identifier: MIT
"""scripts/quality.sh end to end: one chunk, and figures that tell good arithmetic from bad.

The first RKNPU2 experiment's arithmetic (`naive`) must look bad and the default good; else the measurement cannot fail.
"""

import csv
import json
import os
import subprocess
import xml.etree.ElementTree as tree

import harness
from harness import HostTest, english

NAIVE_AT_LEAST = 0.1
BALANCED_AT_MOST = 0.01


class Quality(HostTest):
    def measure(self, *options):
        """(table, progress, files by extension) of quality.sh with a cache of its own, so that it does measure."""
        out = self.folder / "out"
        command = [str(harness.ROOT / "scripts" / "quality.sh"), "--model", harness.MODEL, "--text", str(english(self.folder)),
                   "--chunks", "1", "--build-dir", str(harness.BUILD_DIR), "--out", str(out), *options]
        ours = {"RKNPU2_CACHE": str(self.folder / "cache"), "RKNPU2_LLAMA_BUILD_DIR": str(harness.BIN_DIR.parent)}
        self.repros.append(" ".join([f"{name}={value}" for name, value in ours.items()] + command))
        # The host's source is found by its build; nothing is downloaded.
        done = subprocess.run(command, env={**harness.clean_environment(), **ours, "GGML_RKNPU2_RUNTIME": "sim"},
                              capture_output=True, text=True, timeout=1100, check=False)
        self.assertEqual(done.returncode, 0, harness.tail(done.stderr))
        return done.stdout, done.stderr, {extension: out / f"quality.{extension}" for extension in ("md", "csv", "json", "svg")}

    def test_one_chunk(self):
        options = ("--modes", "cpu naive balanced", "--layers", "30")
        shown, progress, files = self.measure(*options)
        print(shown)
        with open(files["csv"], newline="", encoding="utf-8") as file:
            rows = {row["mode"]: row for row in csv.DictReader(file)}
        self.assertEqual(list(rows), ["cpu", "naive", "balanced"])
        kld = {mode: float(row["kld"]) for mode, row in rows.items()}
        self.assertGreater(kld["naive"], NAIVE_AT_LEAST)
        self.assertLess(kld["balanced"], BALANCED_AT_MOST)
        self.assertLess(kld["cpu"], BALANCED_AT_MOST)
        self.assertGreater(kld["balanced"], 0)
        self.assertNotEqual(kld["balanced"], kld["cpu"])
        self.assertEqual([int(row["matrices"]) for row in rows.values()], [0, harness.ALL_WEIGHTS, harness.ALL_WEIGHTS])
        self.check_files(files, kld)
        self.assertIn("[4/4] balanced, all layers ...", progress)
        again, progress, _ = self.measure(*options)
        self.assertEqual(again, shown)
        self.assertIn("3 of 3 were measured before", progress)

    def check_files(self, files, kld):
        document = json.loads(files["json"].read_text())
        self.assertEqual({row["mode"]: row["kld"] for row in document["rows"]}, kld)
        self.assertTrue(all(row["simulated"] for row in document["rows"] if row["mode"] != "cpu"))
        text = files["md"].read_text()
        for mode, value in kld.items():
            self.assertRegex(text, rf"(?m)^\| {mode} \|.* {value:.6f} ±")
        bars = [bar for bar in tree.parse(files["svg"]).getroot().iter("{http://www.w3.org/2000/svg}rect")]
        self.assertGreaterEqual(len(bars), 3)
        self.assertFalse(os.path.exists(str(files["svg"]) + ".part"))


if __name__ == "__main__":
    harness.main()
