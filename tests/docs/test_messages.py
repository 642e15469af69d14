#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/troubleshooting.md and its table have every message that a user can act upon, and no message that does not exist."""

import csv
import io
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import messages
import pages

PAGE = pages.ROOT / "docs/troubleshooting.md"
# Messages of packed weights, tools and scripts, which say themselves what to do: a row for each, with its cause.
TABLE = pages.ROOT / "docs/troubleshooting-tools.csv"
SOURCES = ("src/**/*.[ch]pp", "tools/*.[ch]pp", "bench/*.[ch]pp", "bench/predict/*.[ch]pp")
# For a user of the plug-in; lint.sh, test.sh and release.sh are for who works on it.
SCRIPTS = ("calibrate", "host-llama", "in-tree", "lib", "model", "quality", "quickstart")

# What is not on the page, with the reason.
USAGE = "a wrong option: the line says it, and --help lists the right ones"
PART = "a part of a line that says nothing by itself"
INTERNAL = "a mistake of ours, not of the user's"
ELSEWHERE = "progress of a measurement"
SILENT = "never shown: the caller goes on in another way"
ASKED = "an answer to the doctor, which reports it as what it has found"
NOT_ON_THE_PAGE = {
    "unknown option …; --help lists them": USAGE,
    "unknown option …; --help lists them, and options of llama.cpp stand after --": USAGE,
    "… needs a value; --help explains it": USAGE,
    "-n takes a number, not '…'": USAGE,
    "--chunks takes a number of at least 1, not '…'": USAGE,
    "(--help lists the options)": USAGE,
    "ggml-rknpu2: …": PART,
    "use another release of the host, or of the plug-in": PART,
    "…: warning: …": PART,
    "needs … MiB, which were refused": PART,
    "repeats on the NPU differ by much, so others use it": PART,
    "the NPU was in use by others, or failed": PART,
    "and … more by the same activations": PART,
    "…: unknown exception": INTERNAL,
    "unknown exception": INTERNAL,
    "a context without a row count": INTERNAL,
    "the host asked to stop": SILENT,
    "no build for …: --target takes rk3588": USAGE,
    "not needed any more": SILENT,
    "the runtime converts no weights": ASKED,
    "the runtime has no memory without a cache": ASKED,
    "the runtime asks for less memory than the operands have": ASKED,
    "… instead of …": ASKED,
    "… of … results wrong": ASKED,
    "a slice of … bytes at … is not in its buffer": INTERNAL,
    "… bytes in one device buffer are too many": INTERNAL,
    "not enough to flow": "never shown: a line on the page has told it",
    "a step of no kind": INTERNAL,
    "chunks of rows wait for each other; please report the model": INTERNAL,
    "more blocks of a cache at a time than there is room for": INTERNAL,
    "this CPU has no cache maintenance for programs": INTERNAL,
    "… of …: … ...": ELSEWHERE,
}


def entries_of_page(text):
    """The points of lists that begin with a code span, each as a whole."""
    return re.findall(r"^\* `.*\n(?:  .*\n)*", text, re.M)


def messages_of_page(text):
    """The code spans that begin a point of a list: `one`, or `one`, `another`. A colon ends them."""
    heads = [re.match(r"\* ((?:`[^`\n]+`(?:,\n  )?)+):\s", entry) for entry in entries_of_page(text)]
    return {message for head in heads if head for message in re.findall(r"`([^`]+)`", head[1])}


def rows_of_table(text):
    """The rows of docs/troubleshooting-tools.csv."""
    return list(csv.DictReader(io.StringIO(text)))


def documented(root=pages.ROOT):
    """The messages that the page or the table has."""
    table = root / TABLE.relative_to(pages.ROOT)
    return (messages_of_page((root / PAGE.relative_to(pages.ROOT)).read_text()) |
            {row["message"] for row in rows_of_table(table.read_text() if table.is_file() else "")})


def messages_of_sources(root=pages.ROOT):
    found = set()
    for pattern in SOURCES:
        for path in sorted(root.glob(pattern)):
            found |= messages.messages_in(path.read_text())
    for name in SCRIPTS:
        found |= messages.messages_of_script((root / f"scripts/{name}.sh").read_text())
    return found


def entries_without_words(text):
    """The points of messages that lack a cause or something to do, those that stubs.py wrote among them."""
    sound = re.compile(r"\* (?:`[^`\n]+`(?:,\n  )?)+:\s+[^\s→][^→]*\s→\s[^→]*\w[^→]*")
    return [entry for entry in entries_of_page(text) if not sound.fullmatch(entry) or "TODO" in entry]


class Messages(unittest.TestCase):
    maxDiff = None

    def test_the_page_has_them_all(self):
        missing = messages_of_sources() - documented() - NOT_ON_THE_PAGE.keys()
        self.assertEqual(sorted(missing), [], "docs/troubleshooting.md, or NOT_ON_THE_PAGE with a reason, has to have these")

    def test_the_page_has_no_others(self):
        sources = messages_of_sources()
        self.assertEqual(sorted(documented() - sources), [], "no source says these")
        self.assertEqual(sorted(NOT_ON_THE_PAGE.keys() - sources), [], "no source says these")
        self.assertEqual(sorted(documented() & NOT_ON_THE_PAGE.keys()), [])

    def test_every_row_has_a_cause_and_something_to_do(self):
        self.assertGreater(len(entries_of_page(PAGE.read_text())), 60)
        self.assertEqual(entries_without_words(PAGE.read_text()), [])
        rows = rows_of_table(TABLE.read_text())
        self.assertGreater(len(rows), 80)
        self.assertEqual([row for row in rows if None in row or not all(row.values())], [])


class Extraction(unittest.TestCase):
    """What is taken for a message in sources, and what is not."""

    def test_cpp(self):
        text = r'''
            // log(LogLevel::kError, "not this one");
            log(LogLevel::kInfo, "nor this line");
            log(LogLevel::kWarning, "%s and %zu more "
                "lines (%5.2f)", name.c_str(), n);
            log(expected ? LogLevel::kInfo : LogLevel::kError, "no NPU: %s", why);
            return {StatusCode::kIo, format("needs %" PRIu64 " bytes at %" PRIu64, a, b)};
            return Status(StatusCode::kUnsupported, "it \"ends\" here: " + printable(name) + " is odd");
            return bad(x ? "cut in two" : "too long by far");
            if (code == StatusCode::kIo) return 5; puts("not this line");
            return line.problem("no title: " + found + " is missing here",
                                "go (there; and back)");
        '''
        self.assertEqual(messages.messages_in(text),
                         {"… and … more lines (…)", "no NPU: …", "needs … bytes at …", 'it "ends" here: … is odd', "cut in two",
                          "too long by far", "no title: … is missing here", "go (there; and back)"})

    def test_scripts(self):
        text = '# die "not this"\n[[ -r $X ]] || die "there is no ${X##*/} in $DIR"\n'
        self.assertEqual(messages.messages_of_script(text), {"there is no … in …"})

    def test_a_page(self):
        page = "* `one …`,\n  `two: | three`:\n  a cause → `not this`\n* `four`: a cause → a way\n\n* other: `nor this`\n\n`nor` `that`: a → b\n"
        self.assertEqual(messages_of_page(page), {"one …", "two: | three", "four"})
        self.assertEqual(entries_without_words(page), [])
        for bad in ("* `one`: a cause\n", "* `one`: → a way\n", "* `one`: a cause →\n", "* `one` a cause → a way\n", "* `one`: TODO → TODO\n"):
            self.assertEqual(entries_without_words(page + bad), [bad])
        self.assertEqual(rows_of_table('message,cause\n"a, ""b""",c\n'), [{"message": 'a, "b"', "cause": "c"}])


if __name__ == "__main__":
    unittest.main()
