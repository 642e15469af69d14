#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/settings.md is what the code says, and the README has the five settings that most people need.

    test_settings.py [Class or Class.test ...]
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import settings_page

README = ["GGML_RKNPU2_RUNTIME", "GGML_RKNPU2_PRECISION", "GGML_RKNPU2_CORES", "GGML_RKNPU2_WEIGHT_CACHE", "GGML_RKNPU2_ON_ERROR"]
CONFIG = (ROOT / settings_page.CONFIG).read_text()


class Settings(unittest.TestCase):
    maxDiff = None

    def page(self):
        return (ROOT / settings_page.PAGE).read_text()

    def test_the_page_is_what_the_code_says(self):
        page = self.page()
        self.assertEqual(page, settings_page.renewed(page), "scripts/settings_page.py --write mends it")

    def test_the_page_has_each_setting(self):
        """By another way of looking: the names in the sources, whatever the rows around them look like."""
        names = set(re.findall(r'"(GGML_RKNPU2_\w+)"', CONFIG))
        self.assertGreater(len(names), 20)
        self.assertEqual(sorted(re.findall(r"^\* `(GGML_RKNPU2_\w+)`", self.page(), re.M)), sorted(names))

    def test_the_readme_is_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 100)

    def test_the_readme_has_five(self):
        rows = re.findall(r"^\| `(GGML_RKNPU2_\w+)` \| `([^`]*)` \|", (ROOT / "README.md").read_text(), re.M)
        defaults = {row[0]: row[2] for row in settings_page.plugin_settings(CONFIG)}
        self.assertEqual(rows, [(name, defaults[name]) for name in README])


class Spoiled(unittest.TestCase):
    """What makes the page differ, and what the reader of the sources must not overlook."""

    def test_a_row_that_changed(self):
        row = 'Setting{"GGML_RKNPU2_X", "number", "3",\n "1 to 3", "NPU "\n "cores", parse_x},'
        self.assertEqual(settings_page.plugin_settings(row), [("GGML_RKNPU2_X", "number", "3", "1 to 3", "NPU cores")])
        page = (ROOT / settings_page.PAGE).read_text()
        self.assertNotEqual(page.replace("`3`", "`2`", 1), settings_page.renewed(page.replace("`3`", "`2`", 1)))

    def test_a_row_that_cannot_be_read(self):
        with self.assertRaisesRegex(ValueError, "GGML_RKNPU2_X"):
            settings_page.plugin_settings('Setting{"GGML_RKNPU2_X", "number", kDefault, "1 to 3", "help", parse_x}')
        with self.assertRaisesRegex(ValueError, "any row"):
            settings_page.plugin_settings("")

    def test_a_page_without_its_marks(self):
        with self.assertRaisesRegex(ValueError, "marks"):
            settings_page.renewed("# Settings\n")


if __name__ == "__main__":
    unittest.main()
