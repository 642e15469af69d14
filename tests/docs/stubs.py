#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes what a new message or a new block of commands needs in the pages and their tests; a person fills it in.

    stubs.py [ROOT]    scripts/lint.sh --fix calls it

* A message that docs/troubleshooting.md lacks becomes a point of a list at its end, with TODO for cause and remedy.
* A block of commands in a fence that nobody reads (```bash, ```shell, ```console) becomes ```sh.
* A comment above a block that says neither what runs it nor why nothing does becomes `<!-- not run: TODO ... -->`.
* A reason why a block is not run becomes an entry of tests/docs/not_run.py, for a reviewer to see; an entry without a block goes.

Each line that it prints is one thing to do. The tests fail as long as a TODO stands there (test_stubs.py, test_messages.py).
"""

import ast
import collections
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import pages
import test_messages

TODO = "TODO"
HEADING = "## New messages"
RUNS = {"", "release", "rk3588", "full"}
NOT_RUN = f"<!-- not run: {TODO} say why, or which test runs this -->"


def with_entries_for(text, messages):
    """The page with a point for each message; what is there already stays."""
    if not messages:
        return text
    points = "".join(f"* `{message}`: {TODO} → {TODO}\n" for message in sorted(messages))
    if HEADING not in text:
        text = f"{text.rstrip()}\n\n{HEADING}\n\n"
        return text + points
    return text.rstrip("\n") + "\n" + points


def with_markers(text):
    """The page whose blocks of commands are all ones that tests read."""
    text = re.sub(r"^```(?:bash|shell|console)$", "```sh", text, flags=re.M)

    def marker(found):
        kind, _, what = found[1].partition(":")
        kind, what = kind.strip(), what.strip()
        sound = kind in ("not run", "run by") and what or kind == "run" and what in RUNS
        return found[0] if sound else f"{NOT_RUN}\n```sh"

    return re.sub(r"^<!-- (.*?) -->\n```sh$", marker, text, flags=re.M)


def reviewed_of(root):
    """(page, reason) -> number of the blocks that are not run."""
    counts = collections.Counter()
    for page in pages.all_pages(root):
        for block in pages.blocks_of(page, (root / page).read_text()):
            if block.kind == "not run" and block.what:
                counts[page, block.what] += 1
    return counts


def with_entries(text, counts):
    """tests/docs/not_run.py with these entries; as it is if it has them, in whatever order."""
    found = re.search(r"(?ms)^REVIEWED = (\{\n.*?^\})", text)
    if ast.literal_eval(found[1]) == dict(counts):
        return text
    rows = "".join(f"    ({quoted(page)}, {quoted(reason)}): {count},\n" for (page, reason), count in sorted(counts.items()))
    return f"{text[:found.start(1)]}{{\n{rows}}}{text[found.end(1):]}"


def quoted(words):
    return json.dumps(words, ensure_ascii=False)


def rewrite(path, text):
    """Writes the file if that changes it; returns whether it did."""
    if path.read_text() == text:
        return False
    path.write_text(text)
    return True


def fix(root):
    """Writes all stubs; yields a line for each thing that a person has to do."""
    page = root / "docs/troubleshooting.md"
    known = test_messages.documented(root) | test_messages.NOT_ON_THE_PAGE.keys()
    missing = test_messages.messages_of_sources(root) - known
    if rewrite(page, with_entries_for(page.read_text(), missing)):
        yield from (f"docs/troubleshooting.md: say what causes `{message}` and what to do" for message in sorted(missing))
    for name in pages.all_pages(root):
        if rewrite(root / name, with_markers((root / name).read_text())):
            yield f"{name}: look at the comments above its blocks of commands"
    entries = root / "tests/docs/not_run.py"
    if rewrite(entries, with_entries(entries.read_text(), reviewed_of(root))):
        yield "tests/docs/not_run.py: look at its entries"


def main():
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else pages.ROOT
    for line in fix(root):
        print(line)


if __name__ == "__main__":
    main()
