#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every source file names its licence in its first line, or in the second where the first is for the shell.

    spdx.py [--fix] FILE...

Prints the files that do not, and exits with 1 if there are any. --fix adds the line.
"""
import pathlib
import shutil
import sys

LICENCE = "SPDX-License-Identifier: MIT"
C_LIKE = {".c", ".h", ".cpp", ".hpp", ".inc"}


def comment(path):
    """The line that a file of this name must have; a template (.in) is commented like what is made of it."""
    suffix = pathlib.Path(path.name.removesuffix(".in")).suffix
    return f"{'//' if suffix in C_LIKE else '#'} {LICENCE}"


def place(lines):
    """The index of the line that names the licence."""
    return 1 if lines and lines[0].startswith("#!") else 0


def write(path, text):
    """A new file takes the old one's place: a shell that runs the old one reads on in it."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    shutil.copymode(path, new)
    new.replace(path)


def check(path, fix):
    """Whether the file had its line."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    at = place(lines)
    if at < len(lines) and lines[at].rstrip("\n") == comment(path):
        return True
    if LICENCE in "".join(lines[:8]):
        print(f"{path}: the licence stands elsewhere than in line {at + 1}, or in another form than '{comment(path)}'")
    elif fix:
        lines.insert(at, comment(path) + "\n")
        write(path, "".join(lines))
        return True
    else:
        print(f"{path}: line {at + 1} must be '{comment(path)}' (scripts/lint.sh --fix adds it)")
    return False


def main():
    names = [name for name in sys.argv[1:] if name != "--fix"]
    good = [check(pathlib.Path(name), "--fix" in sys.argv[1:]) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
