#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages: links lead somewhere, commands name programs, options and settings that there are, and what is not run is reviewed.

    test_pages.py [--build FOLDER] [--host FOLDER] [Class or Class.test ...]
"""

import argparse
import collections
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import commands
import not_run
import pages

OPTIONS = argparse.Namespace(build=None, host=None)
RUNS = {"", "release", "rk3588", "full"}


def checker(root=pages.ROOT):
    return commands.Checker(root, OPTIONS.build, OPTIONS.host)


def all_blocks(root=pages.ROOT):
    return [block for page in pages.all_pages(root) for block in pages.blocks_of(page, (root / page).read_text())]


def marker_findings(root, reviewed):
    """Yields what is wrong with the comments above blocks: each says what runs the block, or why nothing can."""
    unrun = collections.Counter()
    for block in all_blocks(root):
        if block.kind == "not run" and block.what:
            unrun[block.page, block.what] += 1
        elif block.kind == "run by" and (root / block.what).is_file():
            named = [words[0] for words in commands.simple_commands(block.commands)]
            ours = {word.rsplit("/", 1)[-1] for word in named if word.startswith("scripts/") or word in commands.OURS}
            for name in sorted(ours):
                test = (root / block.what).read_text()
                if name not in test and name.upper().replace("-", "_") not in test:
                    yield f"{block}: {block.what} does not call {name}"
        elif block.kind != "run" or block.what not in RUNS:
            yield f"{block}: \"{block.kind}: {block.what}\" says neither what runs this nor why nothing does"
    for (page, reason), count in (unrun - collections.Counter(reviewed)).items():
        yield f"{page}: {count} more blocks are not run (\"{reason}\") than tests/docs/not_run.py knows"
    for (page, reason), count in (collections.Counter(reviewed) - unrun).items():
        yield f"tests/docs/not_run.py: {page} has {count} blocks less that are not run (\"{reason}\")"


def shape_findings(root):
    """Commands outside ```sh blocks are commands that nobody checks."""
    for page in pages.all_pages(root):
        text = (root / page).read_text()
        for found in re.finditer(r"^(?: +```sh|```(?:bash|shell|console))$", text, re.M):
            yield f"{page}:{text.count(chr(10), 0, found.start()) + 1}: commands stand in ```sh blocks that are not indented"
        for found in re.finditer(r"\n\n((?: {4}|\t)(?![-*\d ]).*)", pages.without_code(text)):
            yield f"{page}:{text.count(chr(10), 0, found.start(1)) + 1}: a block is fenced, not indented"


def all_findings(root, reviewed):
    yield from pages.link_findings(root)
    yield from marker_findings(root, reviewed)
    yield from shape_findings(root)
    check = checker(root)
    for block in all_blocks(root):
        yield from check.block(block)
    for page in pages.all_pages(root):
        yield from check.variables(page, (root / page).read_text())
        yield from check.prose(page, (root / page).read_text())


class Pages(unittest.TestCase):
    maxDiff = None

    def test_nothing_is_wrong(self):
        self.assertEqual(list(all_findings(pages.ROOT, not_run.REVIEWED)), [])

    def test_there_is_something_to_check(self):
        blocks = all_blocks()
        kinds = collections.Counter(block.kind for block in blocks)
        unrun = kinds["not run"]
        print(f"{len(blocks)} blocks of commands: {kinds['run']} are run here, {kinds['run by']} by other tests, {unrun} not")
        self.assertGreater(kinds["run"], unrun)
        self.assertGreater(len(list(pages.links_of((pages.ROOT / "README.md").read_text()))), 5)

    def test_every_page_is_in_the_index(self):
        index = {target.partition("#")[0] for _, target in pages.links_of((pages.ROOT / "docs/README.md").read_text())}
        there = {path.relative_to(pages.ROOT / "docs").as_posix() for path in (pages.ROOT / "docs").rglob("*.md")}
        self.assertEqual(there - index - {"README.md"}, set())

    def test_files_that_pages_name_are_there(self):
        missing = []
        for page in pages.all_pages():
            text = (pages.ROOT / page).read_text()
            missing += [f"{page}:{line}: {span} is not there" for line, span in pages.spans_of(text)
                        if re.fullmatch(r"(?:src|sim|tests|tools|bench|scripts|cmake|packaging|examples)/[\w./-]+\.\w+", span) and
                        not (pages.ROOT / span).exists()]
        owners = re.findall(r"^\* \*\*.*\(`([\w./]+)`\)$", (pages.ROOT / "docs/glossary.md").read_text(), re.M)
        users = re.findall(r"`((?:host|node|buffer|cpu|flow|graph)/\w+\.\w+)`", (pages.ROOT / "docs/ggml-assumptions.md").read_text())
        self.assertGreater(len(owners), 35)
        self.assertGreater(len(users), 25)
        missing += [f"docs/glossary.md: src/{owner} is not there" for owner in owners if not (pages.ROOT / "src" / owner).is_file()]
        missing += [f"docs/ggml-assumptions.md: src/ggml/{user} is not there" for user in users if not (pages.ROOT / "src/ggml" / user).is_file()]
        self.assertEqual(missing, [])

    def test_tests_that_the_assumptions_name_are_there(self):
        text = (pages.ROOT / "docs/ggml-assumptions.md").read_text()
        sources = "".join(path.read_text() for path in (pages.ROOT / "tests/ggml").glob("*.cpp"))
        for suite, name in re.findall(r"`([A-Z]\w+)\.([A-Z]\w+|\*)`", text):
            found = re.search(rf"\bTEST(?:_[FP])?\({suite}, {name if name != '*' else ''}", sources)
            self.assertIsNotNone(found, f"{suite}.{name}")
        for name in re.findall(r"`(test_\w+\.py)`", text):
            self.assertTrue(any((pages.ROOT / folder / name).is_file() for folder in ("tests/e2e", "tests/cross")), name)

    def test_the_glossary_is_in_order_and_says_each_word_once(self):
        words = re.findall(r"^\* \*\*(.*?)\*\*", (pages.ROOT / "docs/glossary.md").read_text(), re.M)
        self.assertGreater(len(words), 35)
        self.assertEqual(words, sorted(set(words)))

    def test_a_word_of_the_glossary_is_in_its_owner(self):
        entries = re.findall(r"^\* \*\*(.*?)\*\*.*\(`([\w./]+)`\)$", (pages.ROOT / "docs/glossary.md").read_text(), re.M)
        self.assertGreater(len(entries), 35)
        for word, owner in entries:
            stem = word.split()[-1].removesuffix("s").removesuffix("y")
            self.assertIn(stem, (pages.ROOT / "src" / owner).read_text().lower(), f"{word}: {owner}")

    def test_add_a_soc_names_what_uses_the_chip(self):
        text = (pages.ROOT / "docs/add-a-soc.md").read_text()
        named = re.findall(r"`(\w+/[\w./]+)`", text.split("**3. What uses the facts.**")[1].split("\n\n")[1])
        users = [path.relative_to(pages.ROOT).as_posix() for folder in ("src", "sim", "tools", "bench")
                 for path in (pages.ROOT / folder).rglob("*.[ch]pp") if "rk3588::" in path.read_text() and path.name != "rk3588.hpp"]
        self.assertEqual(sorted(named), sorted(users))


class Spoiled(unittest.TestCase):
    """Each kind of mistake, in a small project made for it, is one finding."""

    def findings(self, page, reviewed=None):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name in ("docs", "scripts", "src/config", "sim/core"):
                (root / name).mkdir(parents=True)
            (root / "scripts/tool.sh").write_text("#!/bin/sh\necho 'tool.sh [--good] [-n N]'\n")
            (root / "scripts/tool.sh").chmod(0o755)
            (root / "CMakeLists.txt").write_text("option(RKNPU2_THING \"\" ON)\nadd_executable(thing thing.c)\n")
            (root / "CMakePresets.json").write_text('{ "name": "release" }')
            (root / "src/config/config.cpp").write_text('"GGML_RKNPU2_CORES"')
            (root / "docs/page.md").write_text(page)
            return list(all_findings(root, reviewed or {}))

    def block(self, text, marker=""):
        return self.findings(f"# A page\n\n{marker}```sh\n{text}\n```\n")

    def test_a_sound_page(self):
        sound = ("# A page\n\n## It's `one`: two\n\n[here](#its-one-two), [there](page.md#a-page)\n\n```sh\n"
                 "GGML_RKNPU2_CORES=2 scripts/tool.sh --good -n 5 | cat >out && cmake --preset release -DRKNPU2_THING=OFF   # why --not\n"
                 "cmake --build build/release --target thing; x=\"$(scripts/tool.sh --good)\"\n```\n")
        self.assertEqual(self.findings(sound), [])

    def test_mistakes(self):
        for text, what in {
            "scripts/tool.sh --bad": "tool.sh does not list --bad",
            "scripts/tool.sh --goo": "tool.sh does not list --goo",
            "x=\"$(scripts/tool.sh --bad)\"": "tool.sh does not list --bad",
            "true && scripts/none.sh": "scripts/none.sh is not there",
            "rknpu2-inof model.gguf": "rknpu2-inof is no program that is known",
            "build/release/bin/other": "nothing builds build/release/bin/other",
            "cmake --preset relaese": "there is no preset relaese",
            "cmake --build build/release --target other": "nothing builds other",
            "cmake -B build -DRKNPU2_OTHER=ON": "RKNPU2_OTHER is no option",
            "RKNPU2_NOWHERE=1 scripts/tool.sh": "RKNPU2_NOWHERE is no setting",
            "echo 'open": "unexpected EOF",
            "if true; then": "syntax error",
        }.items():
            with self.subTest(text):
                found = self.block(text)
                self.assertEqual(len(found), 1, found)
                self.assertIn(f"docs/page.md:4: {what}" if "syntax" not in what and "EOF" not in what else what, found[0])
        self.assertIn("GGML_RKNPU2_COERS is no setting", " ".join(self.block("GGML_RKNPU2_COERS=2 scripts/tool.sh")))

    def test_options_in_prose(self):
        """An option that a page names is one of some program, with or without the program's name."""
        with tempfile.TemporaryDirectory() as folder:
            host = pathlib.Path(folder) / "llama-thing"
            host.write_text("#!/bin/sh\necho '-lm, --load-mode MODE'\n")
            host.chmod(0o755)
            OPTIONS.host, before = host.parent, OPTIONS.host
            self.addCleanup(setattr, OPTIONS, "host", before)
            for text, what in {"With `-lm none` or `--load-mode none`, `llama-thing -lm none`, `--good`, `-DTHING=1`, `-O3` and `cat --any`": "",
                               "With `--no-mmap` both stay": "no program lists --no-mmap",
                               "With `llama-thing --no-mmap`": "llama-thing does not list --no-mmap",
                               "With `llama-other -lm none`": "llama.cpp has no program llama-other",
                               "With `-lm none --no-mmap`": "no program lists --no-mmap"}.items():
                self.assertEqual(self.findings(text), [f"docs/page.md:1: {what}"] if what else [], text)

    def test_markers(self):
        for marker in ("run: nowhere", "not run:", "skipped", "run by: tests/none.py"):
            self.assertIn("says neither", " ".join(self.block("true", f"<!-- {marker} -->\n")), marker)
        self.assertIn("scripts/tool.sh does not call rknpu2-info",
                      " ".join(self.block("rknpu2-info", "<!-- run by: scripts/tool.sh -->\n")))

    def test_what_is_not_run_is_reviewed(self):
        page = "<!-- not run: a board -->\n```sh\ntrue\n```\n"
        self.assertIn("1 more blocks are not run", " ".join(self.findings(page)))
        self.assertEqual(self.findings(page, {("docs/page.md", "a board"): 1}), [])
        self.assertIn("1 blocks less", " ".join(self.findings(page, {("docs/page.md", "a board"): 2})))
        self.assertIn("scripts/none.sh is not there",
                      " ".join(self.findings(page.replace("true", "scripts/none.sh"), {("docs/page.md", "a board"): 1})))

    def test_links(self):
        for text, what in {"[a](other.md)": "docs/page.md:1: other.md is not there",
                           "# A\n\n[`b`](#b)": "docs/page.md:3: page.md has no heading #b",
                           "![plot](plot.svg)": "plot.svg is not there",
                           "<img src=\"plot.svg\">": "plot.svg is not there"}.items():
            found = self.findings(text)
            self.assertEqual(len(found), 1, (text, found))
            self.assertIn(what.replace("page.md has", "docs/page.md has"), found[0])

    def test_blocks_that_would_be_missed(self):
        self.assertIn("```sh blocks", " ".join(self.findings("* a\n\n  ```sh\n  true\n  ```\n")))
        self.assertIn("```sh blocks", " ".join(self.findings("```bash\ntrue\n```\n")))
        self.assertIn("fenced", " ".join(self.findings("So:\n\n    scripts/tool.sh --bad\n")))
        self.assertIn("GGML_RKNPU2_COERS", " ".join(self.findings("Set `GGML_RKNPU2_COERS`.\n")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--host", type=pathlib.Path)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
