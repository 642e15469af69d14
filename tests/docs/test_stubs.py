#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/lint.sh --fix writes stubs for new messages and blocks, once, and what it writes fails until a person has filled it in."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import not_run
import pages
import stubs
import test_messages

PAGE = "# Trouble\n\n* `the old one …`: this → that\n"


class Stubs(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="rknpu2-stubs-")
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        for folder in ("docs", "src/base", "src/system", "tests/docs", "scripts"):
            (self.root / folder).mkdir(parents=True)
        for name in test_messages.SCRIPTS:
            (self.root / f"scripts/{name}.sh").write_text("")
        (self.root / "docs/troubleshooting.md").write_text(PAGE)
        (self.root / "tests/docs/not_run.py").write_text('"""Kept."""\n\nREVIEWED = {\n    ("docs/gone.md", "was here"): 1,\n}\n')
        (self.root / "src/system/file.cpp").write_text('log(LogLevel::kError, "the old one %s", name);\n')

    def fix(self):
        return list(stubs.fix(self.root))

    def page(self):
        return (self.root / "docs/troubleshooting.md").read_text()

    def test_a_new_message(self):
        (self.root / "src/system/file.cpp").write_text('log(LogLevel::kError, "the old one %s", x);\nlog(LogLevel::kWarning, "half a|b is %d", n);\n')
        self.assertIn("docs/troubleshooting.md: say what causes `half a|b is …` and what to do", self.fix())
        self.assertIn("## New messages\n\n* `half a|b is …`: TODO → TODO\n", self.page())
        self.assertEqual(test_messages.messages_of_page(self.page()), {"the old one …", "half a|b is …"})
        self.assertEqual(test_messages.entries_without_words(self.page()), ["* `half a|b is …`: TODO → TODO\n"])
        self.assertEqual(self.fix(), [])

    def test_a_second_one_joins_the_first(self):
        for text in ("one thing is wrong", "one more thing is wrong"):
            (self.root / f"src/base/{len(text)}.cpp").write_text(f'log(LogLevel::kError, "{text}");\n')
            self.fix()
        self.assertEqual(self.page().count(stubs.HEADING), 1)
        self.assertEqual(len(test_messages.entries_without_words(self.page())), 2)

    def test_a_new_block_of_commands(self):
        page = self.root / "docs/new.md"
        page.write_text("# New\n\n<!-- nothing that we know -->\n```bash\nls\n```\n\n<!-- run: full -->\n```sh\nid\n```\n\n```console\nid\n```\n")
        self.assertIn("docs/new.md: look at the comments above its blocks of commands", self.fix())
        blocks = pages.blocks_of("docs/new.md", page.read_text())
        self.assertEqual([(block.kind, block.what.split()[0] if block.what else "") for block in blocks],
                         [("not run", "TODO"), ("run", "full"), ("run", "")])
        self.assertIn('("docs/new.md", "TODO say why, or which test runs this"): 1,', (self.root / "tests/docs/not_run.py").read_text())
        self.assertEqual(self.fix(), [])

    def test_entries_follow_the_blocks(self):
        (self.root / "docs/new.md").write_text("# New\n\n<!-- not run: it takes a board -->\n```sh\nls\n```\n")
        self.fix()
        self.assertEqual((self.root / "tests/docs/not_run.py").read_text(),
                         '"""Kept."""\n\nREVIEWED = {\n    ("docs/new.md", "it takes a board"): 1,\n}\n')

    def test_a_reason_with_quotes(self):
        (self.root / "docs/new.md").write_text('# New\n\n<!-- not run: it says "no" -->\n```sh\nls\n```\n')
        self.fix()
        self.assertIn('("docs/new.md", "it says \\"no\\""): 1,', (self.root / "tests/docs/not_run.py").read_text())
        self.assertEqual(self.fix(), [])

    def test_nothing_new_changes_nothing(self):
        (self.root / "tests/docs/not_run.py").write_text("REVIEWED = {\n}\n")
        self.assertEqual(self.fix(), [])
        self.assertEqual(self.page(), PAGE)


class Here(unittest.TestCase):
    def test_no_stub_is_left(self):
        self.assertEqual([entry for entry in not_run.REVIEWED if stubs.TODO in entry[1]], [])
        self.assertEqual(test_messages.entries_without_words(test_messages.PAGE.read_text()), [])


if __name__ == "__main__":
    unittest.main()
