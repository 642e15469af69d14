# SPDX-License-Identifier: MIT
"""Ollama's ggml, of the Go module that ollama_host/go.sum pins, refuses the plug-in in one line and goes on (docs/hosts.md)."""

import pathlib
import shutil
import subprocess
import unittest

import harness


class Ollama(harness.HostTest):
    def said(self, *flags):
        """The plug-in's lines in a program that Go links with these flags."""
        if shutil.which("go") is None:
            self.skipTest("go is not installed")
        source, program = pathlib.Path(__file__).with_name("ollama_host"), self.folder / "bin" / "host"
        if (done := subprocess.run(["go", "mod", "download"], cwd=source, capture_output=True, text=True, check=False)).returncode != 0:
            self.skipTest(f"Go cannot fetch Ollama: {done.stderr.strip()}")
        subprocess.run(["go", "build", "-buildvcs=false", *flags, "-o", program, "."], cwd=source, check=True)
        run = self.host(program, precision="exact")
        self.assertEqual(run.out, "went on\n")
        return [line for line in run.log.splitlines() if line.startswith("ggml-rknpu2:")]

    def test_its_functions_cannot_be_found(self):
        [line] = self.said()
        self.assertRegex(line, r"not loaded: the host's ggml \(the program itself\) has no function")

    def test_its_tables_differ(self):
        [line] = self.said("-ldflags=-extldflags=-rdynamic")
        self.assertRegex(line, "not loaded: .* it differs from ggml .* in a device's table")


if __name__ == "__main__":
    harness.main()
