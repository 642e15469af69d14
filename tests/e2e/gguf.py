# SPDX-License-Identifier: MIT
"""Reads and writes GGUF files as far as the tests need it: metadata, and tensors of float32 or ready bytes of another type.
Standard library only."""

import array
import math
import mmap
import struct

FLOAT32 = 0
ALIGNMENT = 32
STRING, ARRAY, UINT32, FLOAT, BOOL = 8, 9, 4, 6, 7
# Type of a metadata value -> struct code; 7 is a bool.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


class Reader:
    """A file's metadata as {name: (type, value)} and its tensors as {name: (shape, type, offset)}."""

    def __init__(self, path):
        with open(path, "rb") as source:
            self.bytes = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0
        magic, version, tensors, keys = self._take("4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        self.keys = dict(self._key() for _ in range(keys))
        self.tensors = dict(self._tensor() for _ in range(tensors))
        alignment = self.keys.get("general.alignment", (UINT32, ALIGNMENT))[1]
        self.data = (self.at + alignment - 1) // alignment * alignment

    def _take(self, code):
        values = struct.unpack_from("<" + code, self.bytes, self.at)
        self.at += struct.calcsize("<" + code)
        return values

    def _string(self):
        (length,) = self._take("Q")
        return self._take(f"{length}s")[0].decode("utf-8", "surrogateescape")

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            element, count = self._take("IQ")
            if element in SCALARS:
                return element, list(self._take(f"{count}{SCALARS[element]}"))
            return element, [self._value(element) for _ in range(count)]
        return self._take(SCALARS[kind])[0]

    def _key(self):
        name = self._string()
        (kind,) = self._take("I")
        return name, (kind, self._value(kind))

    def _tensor(self):
        name = self._string()
        (dimensions,) = self._take("I")
        shape = self._take(f"{dimensions}Q")
        kind, offset = self._take("IQ")
        return name, (shape, kind, offset)

    def floats(self, name):
        """The numbers of a float32 tensor, in the order of the file."""
        shape, kind, _ = self.tensors[name]
        if kind != FLOAT32:
            raise ValueError(f"{name} is not float32")
        return array.array("f", self.content(name, 4 * math.prod(shape)))

    def content(self, name, size):
        """The first `size` bytes of a tensor."""
        start = self.data + self.tensors[name][2]
        return self.bytes[start:start + size]


def _string_bytes(text):
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def _value_bytes(kind, value):
    if kind == STRING:
        return _string_bytes(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(_value_bytes(element, v) for v in values)
    return struct.pack("<" + SCALARS[kind], value)


def _content(name, shape, numbers, kind=FLOAT32):
    """(shape, bytes, type) of one tensor."""
    if kind == FLOAT32:
        if len(numbers) != math.prod(shape):
            raise ValueError(f"{name} has {len(numbers)} numbers, not {shape}")
        numbers = numbers.tobytes()
    return shape, numbers, kind


def write(path, keys, tensors):
    """keys: {name: (type, value)}; tensors: {name: (shape, array of floats)}, or (shape, bytes, type) for any other type."""
    tensors = {name: _content(name, *tensor) for name, tensor in tensors.items()}
    keys = {name: value for name, value in keys.items() if name != "general.alignment"}
    with open(path, "wb") as target:
        target.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)))
        for name, (kind, value) in keys.items():
            target.write(_string_bytes(name) + struct.pack("<I", kind) + _value_bytes(kind, value))
        offset = 0
        for name, (shape, content, kind) in tensors.items():
            target.write(_string_bytes(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
            offset += (len(content) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for _, content, _ in tensors.values():
            target.write(bytes(-target.tell() % ALIGNMENT) + content)
