# SPDX-License-Identifier: MIT
"""Reads the files of GGML_RKNPU2_CHECKSUMS (docs/statistics.md) and compares them."""

import collections

# What a row of a result depends on.
Key = collections.namedtuple("Key", "weight size precision input")


class TwoOutputs(Exception):
    """The same input had different outputs."""


def add_line(found, line, path):
    went_in, came_out, precision, size, weight = line.rstrip("\n").split(" ", 4)
    key = Key(weight, size, precision, went_in)
    if found.setdefault(key, came_out) != came_out:
        raise TwoOutputs(f"{path}: {weight} ({size}, {precision}) made two results of the same row {went_in}")


def read(path):
    """{Key: output}; raises TwoOutputs when a key has more than one."""
    found = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            add_line(found, line, path)
    return found


def common(one, other):
    """The keys of both; raises TwoOutputs when their outputs differ."""
    keys = one.keys() & other.keys()
    differing = sorted(key for key in keys if one[key] != other[key])
    if differing:
        raise TwoOutputs(f"{len(differing)} of {len(keys)} rows differ: "
                         + ", ".join(f"{key.weight} ({key.size}, {key.precision})" for key in differing[:5]))
    return keys
