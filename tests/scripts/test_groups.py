#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The table of docs/testing.md against ctest and scripts/test.sh: no test is lost, and each runs by the option that the table names.

    test_groups.py BUILD_DIRECTORY [unittest options]

A test of the build has labels; the table has one row for each set of labels that occurs, and says which command runs it. What the
commands run is what `scripts/test.sh --list` prints. Exits with 77 (skipped) where the build is not one of a preset's.
"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path()
COMMANDS = ("scripts/test.sh", "scripts/test.sh --all", "scripts/test.sh --full")
# Prefix of a test's name on another board -> what its environment must contain (cmake/Boards.cmake).
BOARDS = dict(re.findall(r'^set\(RKNPU2_BOARD_(\S+) "(\S+)"\)', (ROOT / "cmake/Boards.cmake").read_text(), re.M))


def rows_of(page):
    """{labels or part: command} of the table. A part is what has no labels: `preset asan`, `lint`."""
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and "`scripts/test.sh" in cells[2]:
            key = " ".join(sorted(cells[1].replace("`", "").split()))
            assert key not in rows, f"two rows for '{key}'"
            rows[key] = cells[2].strip("`")
    return rows


def faults(rows, labels_of, lists, parts):
    """What is wrong, a line each. labels_of: {test: set of labels}; lists: {command: set of tests}; parts: {command: list}."""
    found = []
    for test, labels in sorted(labels_of.items()):
        key = " ".join(sorted(labels))
        if key not in rows:
            found.append(f"{test}: no row has its labels '{key}'")
            continue
        first = next((command for command in COMMANDS if test in lists[command]), "nothing")
        if first != rows[key]:
            found.append(f"{test} ({key}): run by {first}, and the table says {rows[key]}")
    for smaller, larger in zip(COMMANDS, COMMANDS[1:]):
        found += [f"{test}: {smaller} runs it, and {larger} does not" for test in sorted(lists[smaller] - lists[larger])]
    keys = {" ".join(sorted(labels)) for labels in labels_of.values()}
    for command in COMMANDS:
        keys |= {part_key(part) for part in parts[command]}
    found += [f"the row '{key}' is about nothing that runs" for key in sorted(set(rows) - keys)]
    for part in parts["scripts/test.sh --full"]:
        first = next(command for command in COMMANDS if part in parts[command])
        if rows.get(part_key(part)) != first:
            found.append(f"{part}: run by {first}, and the table says {rows.get(part_key(part), 'nothing')}")
    return found


def part_key(part):
    return part if part == "lint" else " ".join(sorted(("preset", part)))


def tests_of_the_build():
    """[(name, labels, environment)]"""
    shown = subprocess.run(["ctest", "--test-dir", BUILD, "--show-only=json-v1"], capture_output=True, text=True, check=True)
    found = []
    for test in json.loads(shown.stdout)["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test["properties"]}
        found.append((test["name"], set(properties.get("LABELS", [])), properties.get("ENVIRONMENT", [])))
    return found


def listed(command):
    """(tests, parts) that the command would run."""
    words = command.split()
    if BUILD.name != "release":
        # Only the release build has parts after it.
        words += ["--preset", BUILD.name]
    done = subprocess.run([ROOT / words[0], *words[1:], "--list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    parts = [line[1:-1] for line in lines if re.fullmatch(r"\(\w+\)", line)]
    return {line for line in lines if not re.fullmatch(r"\(\w+\)", line)}, parts


class Groups(unittest.TestCase):
    def test_each_test_is_run_by_the_command_of_its_row(self):
        rows = rows_of((ROOT / "docs/testing.md").read_text(encoding="utf-8"))
        answers = {command: listed(command) for command in COMMANDS}
        lists = {command: answer[0] for command, answer in answers.items()}
        parts = {command: answer[1] for command, answer in answers.items()}
        if BUILD.name != "release":
            rows = {key: command for key, command in rows.items() if key != "lint" and "preset" not in key}
        labels_of = {name: labels for name, labels, _ in tests_of_the_build()}
        self.assertGreater(len(labels_of), 500)
        self.assertEqual(faults(rows, labels_of, lists, parts), [])

    def test_a_test_on_a_board_has_the_board(self):
        self.assertIn("worst", BOARDS)
        seen = set()
        for name, _, environment in tests_of_the_build():
            board = name.split(".")[0]
            if board not in BOARDS:
                continue
            seen.add((board, "e2e." in name))
            setting = "RKNPU2_E2E_BOARD=" + BOARDS[board] if "e2e." in name else BOARDS[board]
            self.assertIn(setting, environment, name)
        self.assertEqual(seen, {(board, e2e) for board in BOARDS for e2e in (False, True)})

    def test_a_precision_in_a_name_is_the_tests(self):
        suffixes = ("fast", "exact", "reference")
        of = {suffix: [env for name, _, env in tests_of_the_build() if name.endswith("." + suffix)] for suffix in suffixes}
        for suffix, environments in of.items():
            self.assertTrue(environments, suffix)
            for environment in environments:
                self.assertIn(f"GGML_RKNPU2_PRECISION={suffix}", environment)
                self.assertIn("RKNNSIM_CHECK=strict", environment)
                self.assertIn("GGML_RKNPU2_STATISTICS=none", environment)


class Spoiled(unittest.TestCase):
    """Each kind of fault is found."""

    def setUp(self):
        self.rows = {"unit": COMMANDS[0], "all unit": COMMANDS[1], "full": COMMANDS[2], "asan preset": COMMANDS[1], "lint": COMMANDS[1]}
        self.labels_of = {"a": {"unit"}, "b": {"unit", "all"}, "c": {"full"}}
        self.lists = {COMMANDS[0]: {"a"}, COMMANDS[1]: {"a", "b"}, COMMANDS[2]: {"a", "b", "c"}}
        self.parts = {COMMANDS[0]: [], COMMANDS[1]: ["asan", "lint"], COMMANDS[2]: ["asan", "lint"]}

    def assert_found(self, *texts):
        found = faults(self.rows, self.labels_of, self.lists, self.parts)
        self.assertEqual(len(found), len(texts), found)
        for text in texts:
            self.assertTrue(any(text in fault for fault in found), (text, found))

    def test_nothing_is_wrong(self):
        self.assert_found()

    def test_a_test_without_a_row(self):
        self.labels_of["d"] = {"new"}
        self.assert_found("d: no row has its labels 'new'")

    def test_a_test_that_no_command_runs(self):
        self.lists[COMMANDS[2]] = {"a", "b"}
        self.assert_found("c (full): run by nothing")

    def test_a_test_that_runs_earlier_than_the_table_says(self):
        self.lists[COMMANDS[0]] = {"a", "b"}
        self.assert_found("b (all unit): run by scripts/test.sh, and the table says scripts/test.sh --all")

    def test_a_test_that_a_larger_run_leaves_out(self):
        self.lists[COMMANDS[2]] = {"b", "c"}
        self.assert_found("a: scripts/test.sh --all runs it, and scripts/test.sh --full does not")

    def test_a_row_about_nothing(self):
        self.rows["sim"] = COMMANDS[0]
        self.assert_found("the row 'sim' is about nothing")

    def test_a_part_without_a_row(self):
        del self.rows["asan preset"]
        self.assert_found("asan: run by scripts/test.sh --all, and the table says nothing")

    def test_rows_are_read(self):
        page = "| Tests | Labels, or part | Run by |\n|---|---|---|\n| x | `unit all` | `scripts/test.sh --all` |\n| y | lint | `scripts/test.sh` |\n"
        self.assertEqual(rows_of(page), {"all unit": COMMANDS[1], "lint": COMMANDS[0]})


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    if BUILD.parent != ROOT / "build":
        print(f"skipped: scripts/test.sh knows the build folders below {ROOT / 'build'}, and this is {BUILD}")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
