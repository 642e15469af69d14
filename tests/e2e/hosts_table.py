# SPDX-License-Identifier: MIT
"""The table of hosts, docs/hosts.csv: what the tests of hosts have found.

    python3 tests/e2e/hosts_table.py [--write FILE...]

Says what the table lacks; with --write, first brings it up to date with what tests have left in these files (hosts.json in the
folder e2e of a build). A test of a host that finds something else than the table says fails; "-" says nothing.
"""

import argparse
import csv
import datetime
import io
import json
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs/hosts.csv"
PINS = ROOT / "tests/e2e/prebuilt_hosts.csv"
HOST = ("package", "version", "ggml", "layout")  # as in the pins
FOUND = ("text", "matrices", "flow", "ngl", "lora", "state", "date")
NOT_ASKED = "-"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def key(row):
    return f"{row['package']} {row['version']}"


def written(rows):
    text = io.StringIO()
    table = csv.DictWriter(text, HOST + FOUND, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def record(file, row, facts):
    """Adds what a test has found of a host to a file; tests may run in processes of their own. Returns what the table says otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(file.read_text()) if file.exists() else {}
    rows[key(row)] = {**rows.get(key(row), {}), **facts, "date": datetime.date.today().isoformat()}
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(rows, indent=2) + "\n")
    os.replace(partial, file)
    said = next((other for other in read(TABLE) if key(other) == key(row)), {})
    return [f"docs/hosts.csv says of {key(row)}: {name} is {said.get(name)}; the test found {value}. Run python3 {__file__} --write {file}"
            for name, value in facts.items() if said.get(name) not in (value, NOT_ASKED)]


def brought_up_to_date(table, pins, files):
    """The rows of the table: a row for each pinned host, with the newest that is known of it."""
    known = {key(row): row for row in table}
    rows = []
    for pin in pins:
        row = {**dict.fromkeys(FOUND, NOT_ASKED), **known.get(key(pin), {}), **{name: pin[name] for name in HOST}}
        for found in files:
            row.update(found.get(key(pin), {}))
        rows.append(row)
    return rows


def faults(table, pins):
    """Yields what is wrong with the table."""
    if [[row[name] for name in HOST] for row in table] != [[pin[name] for name in HOST] for pin in pins]:
        yield "docs/hosts.csv has other hosts than tests/e2e/prebuilt_hosts.csv, or has them in another order"
    for row in table:
        if not all(row.get(name) for name in HOST + FOUND):
            yield f"{key(row)}: an empty field"
        elif {row[name] for name in FOUND} != {NOT_ASKED} and (
                row["text"] == NOT_ASKED or not re.fullmatch(r"20\d\d-\d\d-\d\d", row["date"])):
            yield f"{key(row)}: no text, or no date of the last run"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", nargs="+", type=pathlib.Path, metavar="FILE", default=[])
    options = parser.parse_args()
    if options.write:
        files = [json.loads(file.read_text()) for file in options.write]
        TABLE.write_text(written(brought_up_to_date(read(TABLE) if TABLE.exists() else [], read(PINS), files)))
    found = list(faults(read(TABLE), read(PINS)))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
