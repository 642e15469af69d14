#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that lines of Markdown have at most 160 characters, so that a change of a page can be read.

    check_markdown.py [ROOT]    one line `file:line: what is wrong` per finding, exit 1 if any
    check_markdown.py --self-test

Let through are rows of tables and code spans, which cannot be broken, up to 240 characters; and what has no space to break at: a
link, an address.
"""

import pathlib
import re
import subprocess
import sys

MAX_LINE = 160
MAX_ROW = 240
# A row of a table, or a line of a list that is one code span: the words of a message.
UNBROKEN = re.compile(r"\||(?:\* |  )`[^`]+`[,:]$")


def pages_of(root):
    """The Markdown files that git knows or would know; without git all outside build folders."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md"], capture_output=True, text=True)
    if listed.returncode == 0:
        return sorted(root / name for name in listed.stdout.split("\0") if name and (root / name).is_file())
    return sorted(path for path in root.rglob("*.md") if "build" not in path.relative_to(root).parts)


def findings_in(text):
    """Yields (number, length, limit) of each line that is too long."""
    for number, line in enumerate(text.splitlines(), 1):
        limit = MAX_ROW if UNBROKEN.match(line) else MAX_LINE
        if len(line) > limit and re.search(r"\S\s", line[:limit].lstrip("*- >")):
            yield number, len(line), limit


def self_test():
    long_word = "x" * 200
    cases = {"a " * 80: [], "a " * 80 + "b": [1], long_word: [], f"* {long_word}": [], f"see {long_word}": [1],
             "| a |" + " b |" * 58: [], "| a |" + " b |" * 60: [1], "* `" + "a " * 100 + "`:": [], "* `" + "a " * 100 + "`: b": [1], "ok\n" + "ä " * 81: [2], "ä" * 160: [], "```\n" + "run " * 41 + "\n```": [2]}
    failures = [text for text, expected in cases.items() if [found[0] for found in findings_in(text)] != expected]
    print(f"self-test: {len(cases) - len(failures)} passed, {len(failures)} failed", *failures, sep="\n")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).resolve().parent.parent
    found = {path.relative_to(root).as_posix(): list(findings_in(path.read_text(encoding="utf-8"))) for path in pages_of(root)}
    findings = [f"{name}:{number}: {length} characters, more than {limit}" for name, lines in found.items() for number, length, limit in lines]
    print("\n".join(findings) if findings else "markdown: nothing to report")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
