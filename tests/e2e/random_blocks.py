# SPDX-License-Identifier: MIT
"""Random weights straight in the blocks of a stored type: no float is made on the way, so a model of 1 GB takes seconds.

Codes are evenly distributed (those of F16 and BF16 as a normal distribution asks), and each block has a scale of its own;
`deviation` is the standard deviation of the numbers that the blocks mean. Their mean is 0, as that of trained weights nearly is: one of a
tenth of the deviation, as all codes of Q4_0 from -8 to 7 have it, makes the sum over a row of activations grow from matrix to matrix, and
any rounding error of that sum with it. A block is put together column by column: byte j of all blocks is one slice. Standard library only.
"""

import math
import statistics
import struct

# Type -> (GGUF's number of it, elements of a block, bytes of a block).
TYPES = {"f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q8_0": (8, 32, 34), "q4_K": (12, 256, 144),
         "q6_K": (14, 256, 210), "bf16": (30, 1, 2), "mxfp4": (39, 32, 17)}
PORTION = 1 << 20  # blocks made at a time


def _halves(values):
    """Two tables for bytes.translate(): the low and the high bytes of 256 numbers in float16."""
    packed = struct.pack("<256e", *values)
    return packed[0::2], packed[1::2]


def _scales(deviation, unit):
    """The numbers that a block's scale may be: half to one and a half times what gives codes of deviation `unit` the wanted one."""
    base = deviation / (unit * math.sqrt(13 / 12))
    return [base * (0.5 + i / 255) for i in range(256)]


def _put(blocks, first, columns):
    """Writes columns (all blocks' byte first, first + 1, ...), which stand one after the other in `columns`."""
    size, count = blocks.size, blocks.count
    for j in range(len(columns) // count):
        blocks.bytes[first + j::size] = columns[j * count:(j + 1) * count]


class _Blocks:
    def __init__(self, count, size):
        self.count, self.size, self.bytes = count, size, bytearray(count * size)

    def put_half(self, first, random_bytes, values):
        low, high = _halves(values)
        self.bytes[first::self.size] = random_bytes.translate(low)
        self.bytes[first + 1::self.size] = random_bytes.translate(high)


def _q4_0(blocks, generator, deviation):
    """Codes 1 to 15 mean -7 to 7, of standard deviation 4.2; the lowest, which has no counterpart, becomes the middle one."""
    even = bytes((code & 15 or 8) | (code >> 4 or 8) << 4 for code in range(256))
    blocks.put_half(0, generator.randbytes(blocks.count), _scales(deviation, 4.2))
    _put(blocks, 2, generator.randbytes(16 * blocks.count).translate(even))


def _q4_1(blocks, generator, deviation):
    """A minimum of 7.5 codes makes numbers that are even around 0."""
    scales, choice = _scales(deviation, 4.6), generator.randbytes(blocks.count)
    blocks.put_half(0, choice, scales)
    blocks.put_half(2, choice, [-7.5 * scale for scale in scales])
    _put(blocks, 4, generator.randbytes(16 * blocks.count))


def _q8_0(blocks, generator, deviation):
    """Bytes mean -127 to 127, of standard deviation 73; the lowest becomes 0."""
    even = bytes(code if code != 128 else 0 for code in range(256))
    blocks.put_half(0, generator.randbytes(blocks.count), _scales(deviation, 73))
    _put(blocks, 2, generator.randbytes(32 * blocks.count).translate(even))


def _q4_K(blocks, generator, deviation):  # noqa: N802
    """Eight sub-blocks of scale s and minimum m, 6 bits each; m = s and a minimum of 7.5 codes make numbers that are even around 0.

    Bytes 0 to 3 of the packed scales have s of the first four and two upper bits of the others, bytes 4 to 7 the same of m,
    bytes 8 to 11 the lower bits of s and m of the others.
    """
    scales, choice = _scales(deviation, 4.6 * 36), generator.randbytes(blocks.count)  # 36: root mean square of the random s
    blocks.put_half(0, choice, scales)
    blocks.put_half(2, choice, [7.5 * scale for scale in scales])
    first = generator.randbytes(4 * blocks.count)
    last = generator.randbytes(4 * blocks.count).translate(bytes((code & 15) * 17 for code in range(256)))
    _put(blocks, 4, first + first + last)
    _put(blocks, 16, generator.randbytes(128 * blocks.count))


def _q6_K(blocks, generator, deviation):  # noqa: N802
    """Codes 0 to 63 mean -32 to 31; sixteen signed scales, here of 32 to 127 either way."""
    signed = bytes((32 + code % 96) if code < 128 else 256 - (32 + code % 96) for code in range(256))
    _put(blocks, 0, generator.randbytes(192 * blocks.count))
    _put(blocks, 192, generator.randbytes(16 * blocks.count).translate(signed))
    blocks.put_half(208, generator.randbytes(blocks.count), _scales(deviation, 18.5 * 84))


def _mxfp4(blocks, generator, deviation):
    """Codes mean 0, 0.5, 1, 1.5, 2, 3, 4 and 6 either way, of standard deviation 2.93; the scale is a power of two."""
    exponent = 127 + round(math.log2(deviation / 2.93))
    blocks.bytes[0::17] = generator.randbytes(blocks.count).translate(bytes(exponent - code % 2 for code in range(256)))
    _put(blocks, 1, generator.randbytes(16 * blocks.count))


def _normal(deviation):
    """256 numbers of the normal distribution, as far apart as it asks."""
    return [statistics.NormalDist(0, deviation).inv_cdf((i + 0.5) / 256) for i in range(256)]


def _flip_low_bits(low, generator):
    """Five low bits of each byte at random, so that there are more than 256 numbers."""
    mask = int.from_bytes(bytes([31]) * len(low), "little")
    noise = int.from_bytes(generator.randbytes(len(low)), "little") & mask
    return (int.from_bytes(low, "little") ^ noise).to_bytes(len(low), "little")


def _f16(blocks, generator, deviation):
    choice = generator.randbytes(blocks.count)
    blocks.put_half(0, choice, _normal(deviation))
    blocks.bytes[0::2] = _flip_low_bits(bytes(blocks.bytes[0::2]), generator)


def _bf16(blocks, generator, deviation):
    packed, choice = struct.pack("<256f", *_normal(deviation)), generator.randbytes(blocks.count)
    blocks.bytes[0::2] = _flip_low_bits(choice.translate(packed[2::4]), generator)
    blocks.bytes[1::2] = choice.translate(packed[3::4])


_MAKERS = {"f16": _f16, "q4_0": _q4_0, "q4_1": _q4_1, "q8_0": _q8_0, "q4_K": _q4_K, "q6_K": _q6_K, "bf16": _bf16, "mxfp4": _mxfp4}


def random_blocks(generator, kind, count, deviation):
    """(bytes, GGUF's number of the type) of `count` numbers, a multiple of the block."""
    number, block, size = TYPES[kind]
    if count % block:
        raise ValueError(f"{count} numbers are no whole blocks of {kind}")
    left, parts = count // block, []
    while left:
        blocks = _Blocks(min(left, PORTION), size)
        _MAKERS[kind](blocks, generator, deviation)
        parts.append(bytes(blocks.bytes))
        left -= blocks.count
    return b"".join(parts), number
