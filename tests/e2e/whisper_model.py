# SPDX-License-Identifier: MIT
"""A small Whisper model with random weights, in the format that whisper.cpp reads. Standard library only."""

import random
import struct

WIDE, HEADS, LAYERS = 128, 2, 2
AUDIO, TEXT, MELS = 1500, 448, 80  # what whisper.cpp takes for granted: 30 s of sound
VOCABULARY, WORDS, FFT = 51864, 50257, 201
F32, F16 = 0, 1
MATRICES = (6 + 10) * LAYERS + 1  # of the encoder and of the decoder, and the embeddings, which are the output, too


def _attention(block):
    shapes = {f"{block}.{part}.weight": (WIDE, WIDE) for part in ("query", "key", "value", "out")}
    return {**shapes, **{f"{block}.{part}.bias": (WIDE,) for part in ("query", "value", "out")}, **_norm(block + "_ln")}


def _norm(name):
    return {name + ".weight": (WIDE,), name + ".bias": (WIDE,)}


def _layers(system, attentions):
    shapes = {}
    for layer in range(LAYERS):
        block = f"{system}.blocks.{layer}."
        for name in attentions:
            shapes.update(_attention(block + name))
        shapes.update({block + "mlp.0.weight": (WIDE, 4 * WIDE), block + "mlp.0.bias": (4 * WIDE,),
                       block + "mlp.2.weight": (4 * WIDE, WIDE), block + "mlp.2.bias": (WIDE,), **_norm(block + "mlp_ln")})
    return shapes


def _shapes():
    """{name: shape} of all tensors, the fastest dimension first."""
    encoder = {"encoder.positional_embedding": (WIDE, AUDIO), "encoder.conv1.weight": (3, MELS, WIDE), "encoder.conv1.bias": (1, WIDE),
               "encoder.conv2.weight": (3, WIDE, WIDE), "encoder.conv2.bias": (1, WIDE), **_norm("encoder.ln_post")}
    decoder = {"decoder.positional_embedding": (WIDE, TEXT), "decoder.token_embedding.weight": (WIDE, VOCABULARY), **_norm("decoder.ln")}
    return {**encoder, **_layers("encoder", ("attn",)), **decoder, **_layers("decoder", ("attn", "cross_attn"))}


def _random_halves(generator, count, exponent):
    """float16 numbers of both signs between 2^exponent and twice that."""
    fixed = bytes((byte & 0x83) | ((exponent + 15) << 2) for byte in range(256))
    low, high = generator.randbytes(count), generator.randbytes(count).translate(fixed)
    return bytes(byte for pair in zip(low, high) for byte in pair)


def _data(generator, name, shape):
    """(type, bytes)"""
    count = 1
    for size in shape:
        count *= size
    if name.endswith("weight") and len(shape) > 1:
        return F16, _random_halves(generator, count, -5 if shape[0] > WIDE else -4)
    if name.endswith("weight"):
        return F32, struct.pack(f"{count}f", *[1.0] * count)
    most = 1.0 if name.endswith("positional_embedding") else 0.1  # or the model says one word for ever
    return F32, struct.pack(f"{count}f", *(generator.uniform(-most, most) for _ in range(count)))


def write(path, seed=1):
    generator = random.Random(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("12I", 0x67676D6C, VOCABULARY, AUDIO, WIDE, HEADS, LAYERS, TEXT, WIDE, HEADS, LAYERS, MELS, F16))
        file.write(struct.pack("2I", MELS, FFT))
        file.write(struct.pack(f"{MELS * FFT}f", *(generator.uniform(0, 0.01) for _ in range(MELS * FFT))))
        file.write(struct.pack("I", WORDS))
        for word in range(WORDS):
            text = f" {word or ''}".encode()  # the first is a blank, which whisper.cpp looks up
            file.write(struct.pack("I", len(text)) + text)
        for name, shape in _shapes().items():
            kind, data = _data(generator, name, shape)
            file.write(struct.pack("3I", len(shape), len(name), kind) + struct.pack(f"{len(shape)}I", *shape) + name.encode() + data)
