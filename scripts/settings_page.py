#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the list of docs/settings.md from the table in the code, or tells that the page is out of date.

    scripts/settings_page.py [--write]

The table is in config.cpp. The text between the marks of the page is replaced; what stands around them is written by hand. Without --write the exit status is 1 when the page differs.
"""

import argparse
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = "docs/settings.md"
CONFIG = "src/config/config.cpp"

BEGIN, END = "<!-- settings: begin (scripts/settings_page.py) -->", "<!-- settings: end -->"

# String literals beside each other are one string.
STRINGS = r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*'


def text_of(literals):
    """The text of C++ string literals that stand beside each other."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', literals)
    return re.sub(r"\\(.)", r"\1", "".join(parts))


def plugin_settings(source):
    """[(name, type, default, range, help)] of the rows of kSettings."""
    row = re.compile(r"Setting\{\s*" + r",\s*".join([f"({STRINGS})"] * 5) + r",\s*[\w:<>&, ]+\s*\}")
    rows = [tuple(map(text_of, found.groups())) for found in row.finditer(source)]
    check_all_rows(rows, source, r'Setting\{\s*"(\w+)"')
    return rows


def check_all_rows(rows, source, name):
    """A row that cannot be read must not be left out without a word."""
    names = re.findall(name, source)
    if not names or names != [row[0] for row in rows]:
        raise ValueError(f"cannot read {sorted(set(names) - {row[0] for row in rows}) or 'any row'} of the table of settings")


def entry(head, text):
    """A point of a list, in lines that a reader of the source can take in. < would begin a tag."""
    return textwrap.fill(f"* {head}: {text}".replace("<", "&lt;"), 150, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def plugin_list(root=ROOT):
    return "\n".join(entry(f"`{name}` ({f'`{default}`' if default else 'not set'}; {values})", text)
                     for name, _, default, values, text in plugin_settings((root / CONFIG).read_text()))


def renewed(page, root=ROOT):
    """The page with its list as the code has it. ValueError when a mark is missing."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{PAGE} needs one pair of marks around the settings")
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{plugin_list(root)}\n{END}{rest.split(END)[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the page anew")
    arguments = parser.parse_args()
    path = ROOT / PAGE
    try:
        now, wanted = path.read_text(), renewed(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"settings_page.py: error: {error}")
    if arguments.write:
        path.write_text(wanted)
    elif now != wanted:
        sys.exit(f"settings_page.py: error: {PAGE} is not what the code says: scripts/settings_page.py --write mends it")


if __name__ == "__main__":
    main()
