# SPDX-License-Identifier: MIT
"""What the programs that measure have in common: messages, where it was measured, reports in files, drawings as SVG.

A report is a set of files with one base name: Markdown to read, CSV or JSON to compute with, SVG to look at. Drawings are
made by hand, because they need nothing but Python's standard library that way.
"""

import math
import os
import platform
import re
import subprocess
import sys
from xml.sax.saxutils import escape

# Told apart by people who confuse red and green, too (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def say(text):
    print(text, file=sys.stderr, flush=True)


def output_of(*command):
    """The last line that a command prints, such as the path that one of our scripts names."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]


def plain_environment():
    """The caller's environment without settings of llama.cpp, of the plug-in or of the simulator."""
    return {name: value for name, value in os.environ.items()
            if not re.match(r"(GGML_|RKNNSIM_|LLAMA_ARG_|LLAMA_LOG_)", name)}


def machine():
    """Such as `x86_64, 2 CPUs (AMD EPYC Processor)`; the model's name is where Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return f"{platform.machine()}, {os.cpu_count()} CPUs" + (f" ({found.group(1).strip()})" if found else "")


def write_files(folder, name, contents):
    """Writes {extension: text} as folder/name.extension, each whole or not at all. Returns the paths."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for extension, text in contents.items():
        path = os.path.join(folder, f"{name}.{extension}")
        with open(path + ".part", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".part", path)
        paths.append(path)
    return paths


class Svg:
    """A drawing: shapes in the order they are added, y downwards. Attributes' underscores become hyphens."""

    def __init__(self, width, height, title):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
                      f"<title>{escape(title)}</title>", '<rect width="100%" height="100%" fill="white"/>']

    @staticmethod
    def _attributes(attributes):
        def text(value):
            return f"{value:.1f}" if isinstance(value, float) else escape(str(value), {'"': "&quot;"})
        return " ".join(f'{name.replace("_", "-")}="{text(value)}"' for name, value in attributes.items())

    def add(self, tag, **attributes):
        self.parts.append(f"<{tag} {self._attributes(attributes)}/>")

    def text(self, x, y, text, **attributes):
        self.parts.append(f"<text {self._attributes({'x': x, 'y': y, **attributes})}>{escape(text)}</text>")

    def line(self, x1, y1, x2, y2, **attributes):
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, **{"stroke": "black", **attributes})

    def curve(self, points, **attributes):
        self.add("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", **attributes)

    def __str__(self):
        return "\n".join([*self.parts, "</svg>"]) + "\n"


class LogAxis:
    """Positive values on a logarithmic scale of whole decades, from `start` to `end` of the drawing."""

    def __init__(self, values, start, end):
        values = [value for value in values if value > 0]
        self.low = math.floor(math.log10(min(values))) if values else 0
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1) if values else 1
        self.start, self.end = start, end

    def place(self, value):
        """What lies below the axis, zero among it, is drawn at its start."""
        share = (math.log10(value) - self.low) / (self.high - self.low) if value > 0 else 0.0
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def decades(self):
        return [10.0 ** exponent for exponent in range(self.low, self.high + 1)]
