# SPDX-License-Identifier: MIT
"""The drawing of docs/measurements/architectures.md, from the CSV that test_real_widths.py writes.

    python3 tests/e2e/real_widths_page.py build/release/e2e/real-widths.csv bench-out
"""

import csv
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from report import COLOURS, LogAxis, Svg, say, write_files  # noqa: E402

CASES = ("", ", adapter", ", split")
LEFT, TOP, ROW, WIDTH = 150, 50, 18, 760


def drawing(rows):
    """A line for each model, a mark for each case in each precision."""
    bottom = TOP + ROW * len(rows)
    svg = Svg(WIDTH, bottom + 50, "NMSE of the logits of models of real widths")
    axis = LogAxis([1e-8, 1e-2], LEFT, WIDTH - 30)
    for value in axis.decades():
        svg.line(axis.place(value), TOP - 8, axis.place(value), bottom, stroke="#dddddd")
        svg.text(axis.place(value), bottom + 16, f"{value:.0e}", text_anchor="middle", font_size=11)
    svg.text(LEFT, 20, "NMSE of the logits; an open circle is with adapter, a square with a third on the CPU, a tick the bound")
    for index, row in enumerate(rows):
        y = TOP + ROW * index + 4
        svg.text(LEFT - 8, y + 4, row["model"], text_anchor="end", font_size=11)
        for precision, colour, bound in (("exact", COLOURS[2], 1e-6), ("default", COLOURS[0], float(row["bound of the default"]))):
            plain, adapter, split = (axis.place(float(row[precision + case])) for case in CASES)
            svg.line(axis.place(bound), y - 6, axis.place(bound), y + 6, stroke=colour, stroke_width=2)
            svg.add("rect", x=split - 3, y=y - 3, width=6, height=6, fill="none", stroke=colour)
            svg.add("circle", cx=adapter, cy=y, r=4, fill="none", stroke=colour)
            svg.add("circle", cx=plain, cy=y, r=3, fill=colour)
    svg.text(LEFT, bottom + 40, "exact", fill=COLOURS[2])
    svg.text(LEFT + 60, bottom + 40, "default (balanced)", fill=COLOURS[0])
    return str(svg)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: real_widths_page.py CSV FOLDER")
    with open(sys.argv[1], newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    for path in write_files(sys.argv[2], "real-widths", {"svg": drawing(rows)}):
        say(path)


if __name__ == "__main__":
    main()
