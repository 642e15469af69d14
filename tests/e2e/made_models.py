# SPDX-License-Identifier: MIT
"""Small models and adapters with random weights, made for a test: always the same for the same seed."""

import array
import collections
import math
import random

import gguf
import harness
from gguf import ARRAY, BOOL, FLOAT, STRING, UINT32
from random_blocks import random_blocks

LAYERS = 2
# type: None for float32, or one of random_blocks. Experts: 0 for a dense model.
Sizes = collections.namedtuple("Sizes", "embedding heads feed_forward experts used layers type", defaults=(0, 2, LAYERS, None))
SMALL = Sizes(64, 4, 96)


def random_floats(generator, count, deviation):
    return array.array("f", (generator.gauss(0, deviation) for _ in range(count)))


def write_adapter(path, seed=7, rank=8, targets=("attn_q", "ffn_down"), layers=30):
    """A LoRA adapter for the default model, strong enough to change what it says. Returns the number of its matrices."""
    generator = random.Random(seed)
    shapes = gguf.Reader(harness.MODEL).tensors
    tensors = {}
    for layer in range(layers):
        for target in targets:
            name = f"blk.{layer}.{target}.weight"
            inputs, outputs = shapes[name][0]
            tensors[name + ".lora_a"] = ((inputs, rank), random_floats(generator, inputs * rank, inputs**-0.5))
            tensors[name + ".lora_b"] = ((rank, outputs), random_floats(generator, rank * outputs, 0.3))
    keys = {"general.type": (STRING, "adapter"), "general.architecture": (STRING, "llama"), "adapter.type": (STRING, "lora"),
            "adapter.lora.alpha": (FLOAT, float(rank))}
    gguf.write(path, keys, tensors)
    return len(tensors)


def _layer_tensors(layer, sizes):
    """{name: shape} of one layer; the feed-forward part has experts, or is dense when there are none."""
    block, wide, inner = f"blk.{layer}.", sizes.embedding, sizes.feed_forward
    shapes = {block + "attn_norm.weight": (wide,), block + "ffn_norm.weight": (wide,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"{block}{name}.weight"] = (wide, wide)
    suffix, more = ("_exps", (sizes.experts,)) if sizes.experts else ("", ())
    shapes[f"{block}ffn_gate{suffix}.weight"] = (wide, inner, *more)
    shapes[f"{block}ffn_up{suffix}.weight"] = (wide, inner, *more)
    shapes[f"{block}ffn_down{suffix}.weight"] = (inner, wide, *more)
    if sizes.experts:
        shapes[block + "ffn_gate_inp.weight"] = (wide, sizes.experts)
    return shapes


def _metadata(sizes, vocabulary):
    """The default model's tokenizer, cut to its first entries, and the sizes of the small one."""
    keys = {name: value for name, value in gguf.Reader(harness.MODEL).keys.items() if name.startswith("tokenizer.")}
    for name, (kind, value) in keys.items():
        if kind == ARRAY and name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            keys[name] = (kind, (value[0], value[1][:vocabulary]))
    tokens = set(keys["tokenizer.ggml.tokens"][1][1])
    merges = keys["tokenizer.ggml.merges"][1][1]
    keys["tokenizer.ggml.merges"] = (ARRAY, (STRING, [m for m in merges if m.replace(" ", "", 1) in tokens]))
    numbers = {"context_length": 512, "embedding_length": sizes.embedding, "block_count": sizes.layers,
               "feed_forward_length": sizes.feed_forward, "attention.head_count": sizes.heads,
               "attention.head_count_kv": sizes.heads, "rope.dimension_count": sizes.embedding // sizes.heads,
               "vocab_size": vocabulary}
    if sizes.experts:
        numbers.update({"expert_count": sizes.experts, "expert_used_count": sizes.used})
    keys.update({"llama." + name: (UINT32, value) for name, value in numbers.items()})
    keys["llama.attention.layer_norm_rms_epsilon"] = (FLOAT, 1e-5)
    keys["general.architecture"] = (STRING, "llama")
    return keys


def _random_tensor(generator, name, shape, kind):
    """What gguf.write() takes. Norms are ones; the router and norms stay float32, as in real models."""
    count = math.prod(shape)
    if name.endswith("norm.weight"):
        return shape, array.array("f", [1.0]) * count
    deviation = 1.0 if "embd" in name else 2 * shape[0]**-0.5
    if kind is None or "gate_inp" in name:
        return shape, random_floats(generator, count, deviation)
    return (shape, *random_blocks(generator, kind, count, deviation))


def write_model(path, sizes=SMALL, seed=11, vocabulary=2048, keys=None):
    """A random llama, dense or with experts; `keys` are more of its metadata. Returns (names of its plain matrices, of its stacks of experts)."""
    generator = random.Random(seed)
    shapes = {"token_embd.weight": (sizes.embedding, vocabulary), "output.weight": (sizes.embedding, vocabulary),
              "output_norm.weight": (sizes.embedding,)}
    for layer in range(sizes.layers):
        shapes.update(_layer_tensors(layer, sizes))
    tensors = {name: _random_tensor(generator, name, shape, sizes.type) for name, shape in shapes.items()}
    gguf.write(path, {**_metadata(sizes, vocabulary), **(keys or {})}, tensors)
    return (sorted(name for name, shape in shapes.items() if len(shape) == 2 and name != "token_embd.weight"),
            sorted(name for name, shape in shapes.items() if len(shape) == 3))


def write_encoder(path, sizes=SMALL, seed=13, vocabulary=2048, context=512, ranks=False):
    """A random BERT that embeds texts, or that ranks them. Returns the names of its matrices in layers."""
    generator = random.Random(seed)
    wide, inner = sizes.embedding, sizes.feed_forward
    shapes = {"token_embd.weight": (wide, vocabulary), "token_types.weight": (wide, 2), "position_embd.weight": (wide, context),
              "token_embd_norm.weight": (wide,), "token_embd_norm.bias": (wide,)}
    for layer in range(sizes.layers):
        block = f"blk.{layer}."
        shapes.update({f"{block}{name}.weight": (wide, wide) for name in ("attn_q", "attn_k", "attn_v", "attn_output")})
        shapes.update({f"{block}ffn_up.weight": (wide, inner), f"{block}ffn_down.weight": (inner, wide)})
        shapes.update({f"{block}{name}.{part}": (wide,) for name in ("attn_output_norm", "layer_output_norm") for part in ("weight", "bias")})
    if ranks:
        shapes.update({"cls.weight": (wide, wide), "cls.bias": (wide,), "cls.output.weight": (wide, 1), "cls.output.bias": (1,)})
    tensors = {name: (shape, array.array("f", [0.0]) * shape[0]) if name.endswith(".bias") else _random_tensor(generator, name, shape, None)
               for name, shape in shapes.items()}
    keys = {name: value for name, value in _metadata(sizes, vocabulary).items() if name.startswith("tokenizer.")}
    numbers = {"context_length": context, "embedding_length": wide, "block_count": sizes.layers, "feed_forward_length": inner,
               "attention.head_count": sizes.heads, "pooling_type": 4 if ranks else 1}
    keys.update({"bert." + name: (UINT32, value) for name, value in numbers.items()})
    keys.update({"general.architecture": (STRING, "bert"), "bert.attention.layer_norm_epsilon": (FLOAT, 1e-12),
                 "bert.attention.causal": (BOOL, False), "tokenizer.ggml.token_type_count": (UINT32, 2)})
    gguf.write(path, keys, tensors)
    return sorted(name for name in shapes if name.startswith("blk.") and "norm" not in name)


IMAGE_SIDE = 64


def write_projector(path, embedding, seed=17, sizes=SMALL):
    """A random image encoder (SigLIP with the projector of Janus Pro, which needs no tokens of its own) for a model with such embeddings. Returns the names of its matrices."""
    generator = random.Random(seed)
    wide, inner, patch = sizes.embedding, sizes.feed_forward, 16
    shapes = {"v.patch_embd.weight": (patch, patch, 3, wide), "v.patch_embd.bias": (wide,),
              "v.position_embd.weight": (wide, (IMAGE_SIDE // patch)**2), "mm.0.weight": (wide, inner), "mm.0.bias": (inner,),
              "mm.1.weight": (inner, embedding), "mm.1.bias": (embedding,)}
    norms = ["v.post_ln"]
    for layer in range(sizes.layers):
        block = f"v.blk.{layer}."
        norms += [block + "ln1", block + "ln2"]
        for name, inputs, outputs in (*((f"attn_{part}", wide, wide) for part in ("q", "k", "v", "out")), ("ffn_up", wide, inner), ("ffn_down", inner, wide)):
            shapes[f"{block}{name}.weight"], shapes[f"{block}{name}.bias"] = (inputs, outputs), (outputs,)
    tensors = {name: (shape, random_floats(generator, math.prod(shape), 0.1 if name.startswith("v.p") else shape[0]**-0.5)) for name, shape in shapes.items()}
    for name in norms:
        tensors[name + ".weight"] = ((wide,), array.array("f", [1.0]) * wide)
        tensors[name + ".bias"] = ((wide,), array.array("f", [0.0]) * wide)
    numbers = {"image_size": IMAGE_SIDE, "patch_size": patch, "embedding_length": wide, "feed_forward_length": inner, "projection_dim": embedding,
               "block_count": sizes.layers, "attention.head_count": sizes.heads}
    keys = {"clip.vision." + name: (UINT32, value) for name, value in numbers.items()}
    keys.update({"clip.vision." + name: (ARRAY, (FLOAT, [0.5, 0.5, 0.5])) for name in ("image_mean", "image_std")})
    keys.update({"general.architecture": (STRING, "clip"), "general.type": (STRING, "mmproj"), "clip.projector_type": (STRING, "janus_pro"),
                 "clip.has_vision_encoder": (BOOL, True), "clip.use_gelu": (BOOL, True), "clip.vision.attention.layer_norm_epsilon": (FLOAT, 1e-6)})
    gguf.write(path, keys, tensors)
    return sorted(name for name, shape in shapes.items() if len(shape) == 2 and name != "v.position_embd.weight")
