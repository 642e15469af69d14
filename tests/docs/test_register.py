#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The register of assumptions (docs/hardware.csv) has no gap, and names steps of the doctor and settings of the simulator that there are.
The tables of published facts and of hosts have what they must.

    test_register.py [Class or Class.test ...]
"""

import csv
import io
import json
import pathlib
import re
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
import hosts_table  # noqa: E402
CODE = re.compile(r"`([^`]+)`")
COLUMNS = ["id", "part", "fact, and our value", "who says so", "if it is false", "doctor", "simulator"]
LETTER = re.compile(r"\[[^\]]*\b[DWMGC]\b[^\]]*\]")
# What a row may have in place of a step or a setting.
PARTS = re.compile(r"\*(Results|System|Speed)\*|nothing|takes its turns by the same lock")
PLAYED = re.compile(r"reading|not played|by its rule|costs nothing|a descriptor each|up to 4 GiB|board\.profile|RKNNSIM_FAULTS")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def doctor_steps():
    return set(re.findall(r'^ +\{"([a-z0-9-]+)", "', text("tools/doctor_reading.cpp"), re.M))


def simulator_settings():
    return set(re.findall(r'\{"(RKNNSIM_\w+)"', text("sim/core/settings.cpp")))


def profile_numbers():
    names = re.findall(r"^([\w.]+) = ", text("sim/profiles/rk3588.profile"), re.M)
    return set(names)


def findings(register, steps, settings, numbers):
    """Yields what is wrong with the text of the register."""
    seen = set()
    header, *rows = csv.reader(io.StringIO(register))
    if header != COLUMNS:
        yield f"the columns are {header}"
        return
    for row in rows:
        name = row[0]
        if name in seen:
            yield f"{name} stands there twice"
        seen.add(name)
        if len(row) != len(COLUMNS) or not all(row):
            yield f"{name}: a cell is empty or missing"
            continue
        if not LETTER.search(row[3]):
            yield f"{name}: nobody says so with a letter"
        for step in CODE.findall(row[5]):
            if step not in steps:
                yield f"{name}: the doctor has no step {step}"
        if not CODE.search(row[5]) and not PARTS.search(row[5]):
            yield f"{name}: \"{row[5]}\" is no step and no part of the doctor's report"
        for played in CODE.findall(row[6]):
            known = played in settings or played in numbers or played in ("rknnsim_cache_lines", "bench/profiles/board.profile")
            if not known:
                yield f"{name}: the simulator has no {played}"
        if not CODE.search(row[6]) and not PLAYED.search(row[6]):
            yield f"{name}: \"{row[6]}\" is no setting of the simulator and no reason"
    for step in sorted(steps - seen):
        yield f"the doctor's step {step} has no row"


class Register(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.register = text("docs/hardware.csv")
        self.known = doctor_steps(), simulator_settings(), profile_numbers()

    def test_no_gap_and_all_there(self):
        for found in self.known:
            self.assertGreater(len(found), 15)
        self.assertEqual(list(findings(self.register, *self.known)), [])
        self.assertGreater(self.register.count("\n"), 50)

    def test_readings_of_the_simulator_are_in_it(self):
        for setting in ("BIND", "IMPORT_SYNC", "RESULTS", "DIRTY", "NON_CACHEABLE", "CONTEXTS", "N_MAX", "K_MAX", "M_MAX", "INT4_INPUT", "QUANT",
                        "FOREIGN_MEMORY", "DOMAIN_BYTES", "CORE_MASK", "NORMAL_A", "INT4_NORMAL_B", "INT4_SATURATE"):
            self.assertIn(f"`RKNNSIM_{setting}`", self.register)

    def test_a_mistake_is_a_finding(self):
        row = "import-sync,cache,a value,[M: RKL],nothing,`import-sync`,`RKNNSIM_IMPORT_SYNC`\n"
        head = ",".join(f'"{column}"' for column in COLUMNS) + "\n"
        known = {"import-sync"}, *self.known[1:]
        self.assertEqual(list(findings(head + row, *known)), [])
        for good, bad, what in (("[M: RKL]", "RKL", "with a letter"), ("`import-sync`", "`import`", "no step import"),
                                ("RKNNSIM_IMPORT_SYNC", "RKNNSIM_IMPORTS", "simulator has no RKNNSIM_IMPORTS"), (",nothing,", ",,", "empty"),
                                ("import-sync,cache", "other,cache", "import-sync has no row"), ("`import-sync`", "somehow", "no part"),
                                ("`RKNNSIM_IMPORT_SYNC`", "perhaps", "no reason")):
            found = list(findings(head + row.replace(good, bad), *known))
            self.assertEqual(len(found), 1, (bad, found))
            self.assertIn(what, found[0])
        self.assertIn("twice", " ".join(findings(head + row + row, *known)))
        self.assertIn("columns", " ".join(findings(head.replace("id", "name", 1) + row, set(), *self.known[1:])))


def published_findings(rows, ids):
    """Yields what is wrong with the rows of docs/published-facts.csv, given the ids of the register."""
    for row in rows:
        if None in row or not all(row[name] for name in ("fact", "where")):
            yield f"{row['id']}: a cell is missing, or there is one too many"
        if row["verdict"] not in ("agreed", "changed", "not ours", "not built", "not used", "noted", "open"):
            yield f"{row['id']}: \"{row['verdict']}\" is no verdict"
        yield from (f"{row['id']}: the register has no row {name}" for name in (row["register"] or "").split() if name not in ids)


class Published(unittest.TestCase):
    def test_each_fact_has_a_verdict(self):
        ids = {row["id"] for row in csv.DictReader(io.StringIO(text("docs/hardware.csv")))}
        rows = list(csv.DictReader(io.StringIO(text("docs/published-facts.csv"))))
        self.assertGreater(len(ids), 50)
        self.assertEqual([row["id"] for row in rows if row["id"].isdigit()], [str(i) for i in range(1, 79)])
        self.assertEqual({row["id"] for row in rows if not row["id"].isdigit()}, {f"B{i}" for i in range(1, 8)})
        self.assertGreater(sum(len(row["register"].split()) for row in rows), 50)
        self.assertEqual(list(published_findings(rows, ids)), [])

    def test_a_mistake_is_a_finding(self):
        good = {"id": "1", "fact": "a", "where": "1o", "verdict": "agreed", "what became of it": "", "register": "wide-n k-max"}
        ids = {"wide-n", "k-max"}
        self.assertEqual(list(published_findings([good], ids)), [])
        for name, value, what in (("fact", "", "missing"), ("where", "", "missing"), ("verdict", "agrees", "no verdict"),
                                  ("register", "wide-n k", "no row k"), (None, ["more"], "too many")):
            found = list(published_findings([{**good, name: value}], ids))
            self.assertEqual(len(found), 1, (name, found))
            self.assertIn(what, found[0])


class Hosts(unittest.TestCase):
    def setUp(self):
        self.table, self.pins = hosts_table.read(hosts_table.TABLE), hosts_table.read(hosts_table.PINS)

    def test_each_pinned_host_was_run(self):
        self.assertGreater(len(self.table), 8)
        self.assertEqual(list(hosts_table.faults(self.table, self.pins)), [])

    def test_a_mistake_is_a_finding(self):
        for name, value, what in (("ggml", "1.0", "other hosts"), ("flow", "", "an empty field"), ("text", "-", "no text"), ("date", "today", "no date")):
            found = list(hosts_table.faults([{**self.table[0], name: value}, *self.table[1:]], self.pins))
            self.assertEqual(len(found), 1, (name, found))
            self.assertIn(what, found[0])

    def test_what_was_found_is_written(self):
        first = self.table[0]
        files = [{hosts_table.key(first): {"lora": "no", "date": "2027-01-01"}}]
        rows = hosts_table.brought_up_to_date(self.table, self.pins, files)
        self.assertEqual(rows, [{**first, "lora": "no", "date": "2027-01-01"}, *self.table[1:]])
        new = {**self.pins[0], "version": "99.0"}
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "hosts.json")
            [said] = hosts_table.record(file, first, {"text": first["text"], "matrices": "1"})
            self.assertIn(f"matrices is {first['matrices']}; the test found 1", said)
            self.assertEqual(json.loads(file.read_text())[hosts_table.key(first)]["matrices"], "1")
        [row] = hosts_table.brought_up_to_date(self.table, [new], [])
        self.assertEqual([row[name] for name in hosts_table.FOUND], ["-"] * len(hosts_table.FOUND))


if __name__ == "__main__":
    unittest.main()
