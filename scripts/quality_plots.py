# SPDX-License-Identifier: MIT
"""The drawings of a study: KLD of each mode with all layers on the NPU, and KLD against what is on the NPU.

Both axes of KLD are logarithmic, since modes differ by a factor of a hundred thousand. Bars begin at the bottom of the
drawing, which means nothing on such an axis: it is their ends that compare.
"""

import math

from report import COLOURS, LogAxis, Svg

WIDTH, HEIGHT = 900, 400
TOP, BOTTOM, LEGEND = 64, 330, 388
# Naive and what replaces it; exact would need an axis of its own.
CURVES = ("naive", "fast", "balanced")
MODE_COLOURS = {"naive": COLOURS[1], "fast": COLOURS[4], "balanced": COLOURS[0], "fast+statistics": COLOURS[5],
                "balanced+statistics": "#222222", "exact": COLOURS[2], "reference": COLOURS[3],
                "compact+statistics": COLOURS[1], "compact@0.75+statistics": COLOURS[5]}
GREY = "#555555"
HALO = {"stroke": "white", "stroke_width": 4, "paint_order": "stroke"}  # text on lines stays readable


def tick(value):
    return f"{value:.{max(0, round(-math.log10(value)))}f}"


def digits(value):
    """Three significant digits without an exponent, as far as llama-perplexity prints them."""
    return "0" if value < 1e-6 else f"{value:.{min(6, 2 - math.floor(math.log10(value)))}f}"


def draw_axis(svg, axis, left, right):
    for value in axis.decades():
        y = axis.place(value)
        svg.line(left, y, right, y, stroke="#dddddd")
        svg.text(left - 6, y + 4, tick(value), text_anchor="end", font_size=11)
    svg.line(left, axis.start, left, axis.end)
    svg.line(left, axis.start, right, axis.start)


def draw_cpu(svg, axis, cpu, left, right):
    """The CPU backend's own distance, the line to be below; named under the drawing, where it hides nothing."""
    if cpu is None or cpu["kld"] <= 0:
        return
    dashes = {"stroke": GREY, "stroke_dasharray": "6 4", "stroke_width": 1.5}
    svg.line(left, axis.place(cpu["kld"]), right, axis.place(cpu["kld"]), **dashes)
    svg.line(right - 162, LEGEND - 5, right - 140, LEGEND - 5, **dashes)
    svg.text(right, LEGEND, f"CPU backend {cpu['kld']:.5f}", text_anchor="end", font_size=12, fill=GREY)


def draw_bars(svg, rows, cpu, left, right):
    """One bar for each mode, at the most layers it was measured with."""
    last = {}
    for row in rows:
        if row["mode"] != "cpu" and row["ngl"] >= last.get(row["mode"], row)["ngl"]:
            last[row["mode"]] = row
    axis = LogAxis([row["kld"] for row in [*last.values(), *([cpu] if cpu else [])]], BOTTOM, TOP)
    svg.text(left, TOP - 18, "Mean KLD from exact arithmetic, most layers on the NPU")
    draw_axis(svg, axis, left, right)
    step = (right - left) / max(len(last), 1)
    for index, (mode, row) in enumerate(last.items()):
        x, y = left + step * (index + 0.5), axis.place(row["kld"])
        svg.add("rect", x=x - step * 0.3, y=y, width=step * 0.6, height=BOTTOM - y, fill=MODE_COLOURS[mode])
        low, high = axis.place(row["kld"] - row["kld_error"]), axis.place(row["kld"] + row["kld_error"])
        svg.line(x, low, x, high)
        svg.text(x, high - 6, digits(row["kld"]), text_anchor="middle", font_size=12, **HALO)
        svg.text(x, BOTTOM + 18, mode, text_anchor="middle")
        svg.text(x, BOTTOM + 34, f"{row['matrices']} matrices", text_anchor="middle", font_size=11, fill=GREY)
    draw_cpu(svg, axis, cpu, left, right)


def draw_curves(svg, rows, cpu, total, left, right):
    """KLD against the number of weight matrices on the NPU."""
    curves = {mode: sorted((row["matrices"], row["kld"], row["kld_error"]) for row in rows if row["mode"] == mode)
              for mode in CURVES}
    curves = {mode: points for mode, points in curves.items() if points}
    axis = LogAxis([kld for points in curves.values() for _, kld, _ in points] + ([cpu["kld"]] if cpu else []), BOTTOM, TOP)
    svg.text(left, TOP - 18, "Mean KLD against weight matrices on the NPU")
    draw_axis(svg, axis, left, right)
    draw_cpu(svg, axis, cpu, left, right)

    def across(matrices):
        return left + 8 + (right - left - 16) * matrices / max(total, 1)
    for matrices in sorted({point[0] for points in curves.values() for point in points}):
        svg.line(across(matrices), BOTTOM, across(matrices), BOTTOM + 5)
        svg.text(across(matrices), BOTTOM + 18, str(matrices), text_anchor="middle", font_size=11)
    svg.text((left + right) / 2, BOTTOM + 36, f"of {total} weight matrices", text_anchor="middle", font_size=11, fill=GREY)
    for index, (mode, points) in enumerate(curves.items()):
        colour = MODE_COLOURS[mode]
        svg.curve([(across(matrices), axis.place(kld)) for matrices, kld, _ in points], stroke=colour, stroke_width=2)
        for matrices, kld, error in points:
            svg.add("circle", cx=across(matrices), cy=axis.place(kld), r=4, fill=colour)
            svg.line(across(matrices), axis.place(kld - error), across(matrices), axis.place(kld + error), stroke=colour)
        svg.add("rect", x=left + 62 * index, y=LEGEND - 10, width=14, height=10, fill=colour)
        svg.text(left + 62 * index + 19, LEGEND, mode, font_size=12)


def draw(rows, total, title):
    """The SVG of all rows; each has mode, ngl, matrices, kld, kld_error. `total`: the model's weight matrices."""
    cpu = next((row for row in rows if row["mode"] == "cpu"), None)
    svg = Svg(WIDTH, HEIGHT, title)
    svg.text(WIDTH / 2, 22, title, text_anchor="middle", font_size=15)
    draw_bars(svg, rows, cpu, 72, 442)
    draw_curves(svg, rows, cpu, total, 510, 880)
    return str(svg)
