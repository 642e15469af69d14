# SPDX-License-Identifier: MIT
"""A small upscaler (ESRGAN: one block, no upsampling) with random weights, in the format that stable-diffusion.cpp reads. Standard library only."""

import json
import random
import struct

WIDE, GROWTH, COLOURS = 64, 32, 3


def _shapes():
    """{name: shape} of the convolutions, the slowest dimension first."""
    convolutions = {"conv_first": (WIDE, COLOURS), "conv_body": (WIDE, WIDE), "conv_hr": (WIDE, WIDE), "conv_last": (COLOURS, WIDE)}
    for part in (1, 2, 3):
        for layer in range(5):
            made = GROWTH if layer < 4 else WIDE
            convolutions[f"body.0.rdb{part}.conv{layer + 1}"] = (made, WIDE + layer * GROWTH)
    return {name: (*channels, 3, 3) for name, channels in convolutions.items()}


def write(path, seed=1):
    generator = random.Random(seed)
    tensors, data = {}, bytearray()
    for name, shape in _shapes().items():
        spread = (3 / (9 * shape[1])) ** 0.5
        for part, sizes in (("weight", shape), ("bias", shape[:1])):
            count = 1
            for size in sizes:
                count *= size
            begin = len(data)
            data += struct.pack(f"{count}f", *(generator.uniform(-spread, spread) for _ in range(count)))
            tensors[f"{name}.{part}"] = {"dtype": "F32", "shape": sizes, "data_offsets": [begin, len(data)]}
    head = json.dumps(tensors).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + data)
