#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/pictures (a token and a prompt in time, the grids of two weights) and the tables of modelled generation in docs/measurements.

    pictures.py           writes them
    pictures.py --check   exit status 1 if one is not what this would write

The prompt is laid out by the rules of src/ggml/flow/flow_execution.cpp with made-up lengths of the stages; the grids are what
plan_weight() answers (PlanWeight.TheGridsOfThePicture holds that).
"""

import pathlib
import sys

import generation_pictures

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "docs"
COLOURS = ("#9ecae1", "#fdae6b", "#a1d99b")

# A layer's stages with their lengths: a pass and attention are the CPU's, a product is the NPU's.
STAGES = (("pass", "norm, quantise", 2), ("product", "Q K V", 4), ("pass", "rope, K V to cache", 2), ("attention", "attention", 3),
          ("pass", "quantise", 1), ("product", "O", 2), ("pass", "add, norm, quantise", 2), ("product", "gate up", 6), ("pass", "gate, quantise", 3),
          ("product", "down", 4), ("pass", "add", 1))
WRITES_CACHE = 2  # the stage that attention waits for
CHUNKS_APART = 2  # stages


def is_product(stage):
    return STAGES[stage][0] == "product"


def flow(chunks):
    """Returns (who, chunk, stage, begin, end) of everything that chunks of a prompt do; who: cpu or npu."""
    stage, in_lane = [0] * chunks, [None] * chunks
    done, cpu, npu = [], 0, 0

    def come_back():
        for c in range(chunks):
            if in_lane[c] is not None and in_lane[c] <= cpu:
                in_lane[c] = None
                stage[c] += 1

    while any(s < len(STAGES) for s in stage):
        come_back()
        for c in range(chunks):
            if in_lane[c] is None and stage[c] < len(STAGES) and is_product(stage[c]):
                begin = max(cpu, npu)
                npu = in_lane[c] = begin + STAGES[stage[c]][2]
                done.append(("npu", c, stage[c], begin, npu))
        ready = [c for c in range(chunks) if in_lane[c] is None and stage[c] < len(STAGES) and
                 (STAGES[stage[c]][0] != "attention" or all(stage[o] > WRITES_CACHE for o in range(c + 1)))]
        if not ready:
            cpu = min(end for end in in_lane if end is not None)
            continue
        c = min(ready, key=lambda c: stage[c] + CHUNKS_APART * c)
        end = cpu + STAGES[stage[c]][2]
        done.append(("cpu", c, stage[c], cpu, end))
        cpu, stage[c] = end, stage[c] + 1
    return done


def text(x, y, what, size=11, anchor="start", weight="normal"):
    what = what.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">{what}</text>'


def box(x, y, width, height, colour):
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}" stroke="#444"/>'


def picture(width, height, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
            'font-family="sans-serif"><!-- made by scripts/pictures.py -->')
    return "\n".join([head, box(0, 0, width, height, "#fff"), *parts, "</svg>"]) + "\n"


def lanes(top, items, scale, label):
    """Two rows of boxes: what the team does, what the NPU does."""
    parts = [text(10, top - 12, label, 13, weight="bold")]
    for who, y, name in (("cpu", top, "CPU"), ("npu", top + 48, "NPU")):
        parts.append(text(10, y + 24, name))
        for c, stage, begin, end in [item[1:] for item in items if item[0] == who]:
            x, width = 60 + begin * scale, (end - begin) * scale
            parts.append(box(x, y, width, 40, COLOURS[c]))
            parts.append(text(x + width / 2, y + 25, str(stage), anchor="middle"))
    return parts


def time_picture():
    scale = 11
    token = [("npu" if is_product(s) else "cpu", 0, s) for s in range(len(STAGES))]
    at, laid_out = 0, []
    for who, c, s in token:  # a row's own work is short on the CPU
        length = STAGES[s][2] if who == "npu" else 1
        laid_out.append((who, c, s, at, at + length))
        at += length
    prompt = flow(3)
    parts = lanes(40, laid_out, scale, "One layer, a token: CPU and NPU take turns")
    parts += lanes(180, prompt, scale, "One layer, a prompt of three chunks (colours): the calling thread leads the team, lanes run the NPU")
    parts.append(text(10, 302, "Stages: " + "; ".join(f"{i} {name}" for i, (_, name, _) in enumerate(STAGES)) + ".", 10))
    parts.append(text(10, 320, "Attention (3) of a chunk waits for stage 2 of the chunks that its mask shows. Lengths are made up; the order is that of "
                      "src/ggml/flow/flow_execution.cpp.", 10))
    return picture(max(60 + max(item[4] for item in prompt) * scale, 780) + 20, 335, parts)


# Llama-2-7B, three cores, int8: plan_weight(N, K). Begins of the parts, and the end.
GRIDS = (("gate: K = 4096, N = 11008", (0, 2048, 4096), (0, 3680, 7360, 11008)),
         ("down: K = 11008, N = 4096", (0, 2048, 4096, 6144, 8192, 10240, 11008), (0, 4096)))


def grid_picture():
    parts, left = [], 60
    for title, segments, tiles in GRIDS:
        parts.append(text(left, 22, title, 13, weight="bold"))
        tall, wide = 170 / segments[-1], 260 / tiles[-1]
        for s in range(len(segments) - 1):
            y, height = 50 + segments[s] * tall, (segments[s + 1] - segments[s]) * tall
            parts.append(text(left - 6, y + 11, str(segments[s]), 10, "end"))
            for t in range(len(tiles) - 1):
                core = (s * (len(tiles) - 1) + t) % 3
                x, width = left + tiles[t] * wide, (tiles[t + 1] - tiles[t]) * wide
                parts.append(box(x, y, width, height, COLOURS[core]))
                parts.append(text(x + width / 2, y + height / 2 + 4, f"core {core}", 10, "middle"))
        parts += [text(left + t * wide, 44, str(t), 10) for t in tiles[:-1]]
        left += 350
    parts.append(text(10, 245, "Segments of K go down, tiles of N across. A box is a cell. Cells are dealt to the cores row by row. A strip is as "
                      "many tiles as there are cores.", 10))
    return picture(720, 260, parts)


PICTURES = {"pictures/time.svg": time_picture, "pictures/grid.svg": grid_picture,
            "measurements/generation.svg": generation_pictures.generation, "measurements/drafts.svg": generation_pictures.drafts}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__)
        return 0 if sys.argv[1] in ("--help", "-h") else 2
    stale = []
    for name, draw in PICTURES.items():
        path = FOLDER / name
        if check and (not path.is_file() or path.read_text() != draw()):
            stale.append(name)
        elif not check:
            path.write_text(draw())
    if stale:
        print(f"{', '.join(stale)}: not what scripts/pictures.py draws; run it")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
