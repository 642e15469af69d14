"""Small models and adapters with random weights, made for a test: always the same for the same seed."""

import array
import random

import gguf
import harness
from gguf import ARRAY, FLOAT, STRING, UINT32

EMBEDDING, HEADS, FEED_FORWARD, EXPERTS, EXPERTS_USED, LAYERS = 64, 4, 96, 4, 2, 2


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


def _layer_tensors(layer, experts):
    """{name: shape} of one layer; the feed-forward part has experts, or is dense when there are none."""
    block = f"blk.{layer}."
    shapes = {block + "attn_norm.weight": (EMBEDDING,), block + "ffn_norm.weight": (EMBEDDING,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"{block}{name}.weight"] = (EMBEDDING, EMBEDDING)
    suffix, more = ("_exps", (experts,)) if experts else ("", ())
    shapes[f"{block}ffn_gate{suffix}.weight"] = (EMBEDDING, FEED_FORWARD, *more)
    shapes[f"{block}ffn_up{suffix}.weight"] = (EMBEDDING, FEED_FORWARD, *more)
    shapes[f"{block}ffn_down{suffix}.weight"] = (FEED_FORWARD, EMBEDDING, *more)
    if experts:
        shapes[block + "ffn_gate_inp.weight"] = (EMBEDDING, experts)
    return shapes


def _metadata(experts, vocabulary):
    """The default model's tokenizer, cut to its first entries, and the sizes of the small one."""
    keys = {name: value for name, value in gguf.Reader(harness.MODEL).keys.items() if name.startswith("tokenizer.")}
    for name, (kind, value) in keys.items():
        if kind == ARRAY and name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            keys[name] = (kind, (value[0], value[1][:vocabulary]))
    tokens = set(keys["tokenizer.ggml.tokens"][1][1])
    merges = keys["tokenizer.ggml.merges"][1][1]
    keys["tokenizer.ggml.merges"] = (ARRAY, (STRING, [m for m in merges if m.replace(" ", "", 1) in tokens]))
    sizes = {"context_length": 512, "embedding_length": EMBEDDING, "block_count": LAYERS, "feed_forward_length": FEED_FORWARD,
             "attention.head_count": HEADS, "attention.head_count_kv": HEADS, "rope.dimension_count": EMBEDDING // HEADS,
             "vocab_size": vocabulary}
    if experts:
        sizes.update({"expert_count": experts, "expert_used_count": EXPERTS_USED})
    keys.update({"llama." + name: (UINT32, value) for name, value in sizes.items()})
    keys["llama.attention.layer_norm_rms_epsilon"] = (FLOAT, 1e-5)
    keys["general.architecture"] = (STRING, "llama")
    return keys


def write_model(path, experts=0, seed=11, vocabulary=2048):
    """A random llama of two layers, dense or with experts. Returns the names of its weights that are plain matrices."""
    generator = random.Random(seed)
    shapes = {"token_embd.weight": (EMBEDDING, vocabulary), "output.weight": (EMBEDDING, vocabulary),
              "output_norm.weight": (EMBEDDING,)}
    for layer in range(LAYERS):
        shapes.update(_layer_tensors(layer, experts))
    tensors = {}
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= size
        numbers = array.array("f", [1.0]) * count if name.endswith("norm.weight") else random_floats(
            generator, count, 1.0 if "embd" in name else 2 * shape[0]**-0.5)
        tensors[name] = (shape, numbers)
    gguf.write(path, _metadata(experts, vocabulary), tensors)
    return sorted(name for name, shape in shapes.items() if len(shape) == 2 and name != "token_embd.weight")
