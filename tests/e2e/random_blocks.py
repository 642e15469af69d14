"""Random weights straight in the blocks of a quantised type: no float is ever made, so a model of 100 MB takes a second.

Each block gets the same scale and random codes, which are evenly distributed; `deviation` is the standard deviation of the numbers
that the blocks mean. Standard library only.
"""

import struct

# Type -> (GGUF's number of it, elements of a block).
TYPES = {"q4_0": (2, 32), "q8_0": (8, 32), "q4_K": (12, 256)}


def _half(value):
    return struct.pack("<e", value)


def _q4_0(generator, blocks, deviation):
    """Codes 0 to 15 mean -8 to 7, of standard deviation 4.6."""
    scale, codes = _half(deviation / 4.6), generator.randbytes(16 * blocks)
    return b"".join(scale + codes[16 * i:16 * i + 16] for i in range(blocks))


def _q8_0(generator, blocks, deviation):
    """Bytes mean -128 to 127, of standard deviation 74."""
    scale, codes = _half(deviation / 74), generator.randbytes(32 * blocks)
    return b"".join(scale + codes[32 * i:32 * i + 32] for i in range(blocks))


def _q4_K(generator, blocks, deviation):  # noqa: N802
    """Eight sub-blocks of scale s and minimum m, 6 bits each; m = s and a minimum of 7.5 codes make numbers that are even around 0."""
    step = deviation / (4.6 * 36)  # 36: root mean square of the random s
    head = _half(step) + _half(7.5 * step)
    scales, codes = generator.randbytes(8 * blocks), generator.randbytes(128 * blocks)
    parts = []
    for i in range(blocks):
        s = [code & 63 for code in scales[8 * i:8 * i + 8]]
        first = bytes(s[j] | (s[j + 4] >> 4) << 6 for j in range(4))
        last = bytes((s[j + 4] & 15) * 17 for j in range(4))
        parts.append(head + first + first + last + codes[128 * i:128 * i + 128])
    return b"".join(parts)


_MAKERS = {"q4_0": _q4_0, "q8_0": _q8_0, "q4_K": _q4_K}


def random_blocks(generator, kind, count, deviation):
    """(bytes, GGUF's number of the type) of `count` numbers, a multiple of the block."""
    number, block = TYPES[kind]
    if count % block:
        raise ValueError(f"{count} numbers are no whole blocks of {kind}")
    return _MAKERS[kind](generator, count // block, deviation), number
