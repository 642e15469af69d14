# SPDX-License-Identifier: MIT
"""The drawings of docs/measurements/generation.csv and drafts.csv: generation as rknpu2-bench predict models it."""

import csv
import pathlib

from report import COLOURS, LogAxis, Svg

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "docs/measurements"
GREY = "#555555"
PANEL, LEFT, TOP, BOTTOM = 172, 52, 62, 260  # width of a panel, and where the first one begins

# Files of 4.5 bits a weight: who multiplies, the column of the rate, and the colour.
CURVES = (("the CPU alone", "balanced", "cpu_tps", COLOURS[1]), ("the NPU, balanced", "balanced", "npu_tps", COLOURS[5]),
          ("the NPU, compact", "compact", "npu_tps", COLOURS[0]), ("auto, compact", "compact", "auto_tps", "#222222"))
DRAFTS = (("npu", "looked up", COLOURS[0], "the NPU, looked up"), ("npu", "SmolLM2-135M", COLOURS[5], "the NPU, a draft model"),
          ("auto", "looked up", COLOURS[1], "auto, looked up"), ("auto", "SmolLM2-135M", COLOURS[4], "auto, a draft model"))


def rows_of(name):
    with open(FOLDER / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def models_of(rows):
    return list(dict.fromkeys(row["model"] for row in rows))


def frame(models, title):
    svg = Svg(LEFT + PANEL * len(models), BOTTOM + 66, title)
    svg.text(LEFT, 22, title + " (modelled)", font_size=15)
    for index, model in enumerate(models):
        svg.text(LEFT + PANEL * index + 8, TOP - 12, model, font_weight="bold")
    return svg


def legend(svg, names):
    for index, (name, colour) in enumerate(names):
        svg.add("rect", x=LEFT + 190 * index, y=BOTTOM + 46, width=14, height=10, fill=colour)
        svg.text(LEFT + 190 * index + 20, BOTTOM + 55, name, font_size=12)


def generation():
    rows = [row for row in rows_of("generation.csv") if row["stored_bits"] == "4.5"]
    models = models_of(rows)
    svg = frame(models, "Tokens a second of files of 4.5 bits a weight, by the tokens before")
    axis = LogAxis([float(row[column]) for row in rows for _, _, column, _ in CURVES], BOTTOM, TOP)
    contexts = list(dict.fromkeys(row["context"] for row in rows))
    for value in axis.decades():
        svg.line(LEFT, axis.place(value), LEFT + PANEL * len(models), axis.place(value), stroke="#dddddd")
        svg.text(LEFT - 6, axis.place(value) + 4, f"{value:g}", text_anchor="end", font_size=11)
    for panel, model in enumerate(models):
        places = {context: LEFT + PANEL * panel + 24 + 56 * at for at, context in enumerate(contexts)}
        for context, x in places.items():
            svg.text(x, BOTTOM + 18, context, text_anchor="middle", font_size=11, fill=GREY)
        for _, precision, column, colour in CURVES:
            points = [(places[row["context"]], axis.place(float(row[column]))) for row in rows
                      if (row["model"], row["precision"]) == (model, precision)]
            svg.curve(points, stroke=colour, stroke_width=2)
            for x, y in points:
                svg.add("circle", cx=x, cy=y, r=3, fill=colour)
    legend(svg, [(name, colour) for name, _, _, colour in CURVES])
    return str(svg)


def drafts():
    rows = [row for row in rows_of("drafts.csv") if (row["stored_bits"], row["precision"]) == ("4.5", "compact")]
    models = models_of(rows)
    shares = list(dict.fromkeys(row["acceptance"] for row in rows))
    svg = frame(models, "Times as fast with drafts, by share of right guesses: context 512, compact, 4.5 bits")
    most = max(float(row["times_without"]) for row in rows)
    for value in [step / 2 for step in range(2, int(2 * most) + 1)]:
        y = BOTTOM - (BOTTOM - TOP) * (value - 1) / (most - 1)
        svg.line(LEFT, y, LEFT + PANEL * len(models), y, stroke="#dddddd")
        svg.text(LEFT - 6, y + 4, f"{value:g}x", text_anchor="end", font_size=11)
    for panel, model in enumerate(models):
        for at, share in enumerate(shares):
            x = LEFT + PANEL * panel + 8 + 54 * at
            svg.text(x + 22, BOTTOM + 18, f"{100 * float(share):.0f} %", text_anchor="middle", font_size=11, fill=GREY)
            for bar, (matrices, draft, colour, _) in enumerate(DRAFTS):
                if draft == model:
                    continue  # it would guess for itself
                times = next(float(row["times_without"]) for row in rows if
                             (row["model"], row["acceptance"], row["matrices"], row["draft"]) == (model, share, matrices, draft))
                height = (BOTTOM - TOP) * (times - 1) / (most - 1)
                svg.add("rect", x=x + 11 * bar, y=BOTTOM - height, width=10, height=height, fill=colour)
    legend(svg, [(name, colour) for _, _, colour, name in DRAFTS])
    return str(svg)
