#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A page with a command that fails makes test_commands.py fail, and says where; a sound one passes."""

import argparse
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import test_commands


class Runner(unittest.TestCase):
    def run_text(self, text, group="copy"):
        with tempfile.TemporaryDirectory() as build:
            arguments = argparse.Namespace(build=pathlib.Path(build), llama=None, host=None, model=None)
            return test_commands.run_page("docs/page.md", text, group, arguments)

    def test_a_sound_page(self):
        page = "# A\n\n```sh\nx=1; cd docs && test -f design.md\n```\n\nand then\n\n```sh\ntest \"$x\" = 1   # one shell\n```\n"
        self.assertEqual(self.run_text(page), (2, None))

    def test_the_first_command_that_fails_is_named(self):
        for wrong in ("false", "test -f docs/none.md", "no-such-program", "false | cat", "scripts/model.sh --no-such-option", "echo $UNSET"):
            with self.subTest(wrong):
                # This group needs no copy of the checkout; a copy takes a second.
                mark = "<!-- run: release -->\n```sh\n"
                count, failure = self.run_text(f"{mark}true\n```\n\n{mark}true\n{wrong}\ntrue\n```\n", "release")
                self.assertEqual(count, 2)
                self.assertRegex(failure, r"^docs/page\.md:8: exit status [1-9]")

    def test_only_the_group_that_is_asked_for(self):
        page = "<!-- run: full -->\n```sh\nfalse\n```\n<!-- not run: it fails -->\n```sh\nfalse\n```\n"
        self.assertEqual(self.run_text(page), (0, None))
        self.assertIn("docs/page.md:3", self.run_text(page, "full")[1])

    def test_it_touches_a_copy_only(self):
        page = "```sh\necho spoiled >README.md\ntest \"$(cat README.md)\" = spoiled\n```\n"
        before = (test_commands.pages.ROOT / "README.md").read_text()
        self.assertEqual(self.run_text(page), (1, None))
        self.assertEqual((test_commands.pages.ROOT / "README.md").read_text(), before)

    def test_what_is_not_there_is_told(self):
        for needs in ("llama-cli --version", "rknpu2-info model.gguf", "ls /path/to/llama.cpp"):
            with self.assertRaises(LookupError):
                self.run_text(f"```sh\n{needs}\n```\n")


if __name__ == "__main__":
    unittest.main()
