# SPDX-License-Identifier: MIT
"""Reads what llama-perplexity prints: the figures of --kl-divergence, how far it is, and why it gave up.

All is from its own words, with the names of the columns of quality.csv. A figure that is missing or not finite is an
error of its run, never a zero.
"""

import math
import re

NUMBER = r"(-?(?:[0-9.]+(?:e[-+]?[0-9]+)?|nan|inf))"

# name: (pattern, names of its groups)
PATTERNS = (
    (rf"Mean\s+KLD:\s*{NUMBER}\s*±\s*{NUMBER}", ("kld", "kld_error")),
    (rf"99\.0%\s+KLD:\s*{NUMBER}", ("kld_99",)),
    (rf"Mean PPL\(Q\)\s*:\s*{NUMBER}\s*±\s*{NUMBER}", ("ppl", "ppl_error")),
    (rf"Mean PPL\(base\)\s*:\s*{NUMBER}\s*±\s*{NUMBER}", ("base_ppl", "base_ppl_error")),
    (rf"Same top p:\s*{NUMBER}\s*±\s*{NUMBER}", ("same_top", "same_top_error")),
)


class NoFigures(Exception):
    """The output lacks a figure, or has one that is not finite."""


def figures(output):
    """{name: float} of the output of llama-perplexity --kl-divergence; KLD in nats, same_top in percent."""
    found = {}
    for pattern, names in PATTERNS:
        match = re.search(pattern, output)
        if not match:
            raise NoFigures(f"llama-perplexity printed no {names[0]}")
        found.update(zip(names, map(float, match.groups())))
    wrong = [name for name, value in found.items() if not math.isfinite(value)]
    if wrong:
        raise NoFigures(f"not finite: {', '.join(wrong)}")
    return found


def chunks_done(output):
    """How many chunks are in this output so far, of either kind: `[1]8.1,[2]9.2,` or a table with a row for each."""
    numbers = re.findall(rf"\[(\d+)\]{NUMBER},", output) or re.findall(rf"^\s*(\d+)\s+{NUMBER}\s*±", output, re.MULTILINE)
    return int(numbers[-1][0]) if numbers else 0


def cause(log):
    """The first error in a log of llama.cpp, which is nearest to the cause."""
    for line in log.splitlines():
        if re.match(r"[0-9.]+ E ", line):
            return re.sub(r"^[0-9.]+ E ", "", line).strip()
    found = re.search(r"^.*error:.*$", log, re.MULTILINE)
    return found.group(0).strip() if found else "no reason given"
