# SPDX-License-Identifier: MIT
"""Two-layer models with random weights and the widths of models that people run, and a LoRA adapter for each.

    python3 tests/e2e/real_widths.py NAME FOLDER     writes NAME.gguf and NAME.lora.gguf there; without arguments: the names

Heads, K and N of every layer are the real ones; layers, experts and the vocabulary are few, to keep the files small. The widths are
those of the models' published configurations. check_names() compares the names of the tensors and the sizes of the blocks with those of
gguf-py, out of the pinned llama.cpp. Standard library only.
"""

import array
import importlib.util
import math
import pathlib
import random
import re
import sys

import gguf
from gguf import ARRAY, BOOL, FLOAT, STRING, UINT32
from random_blocks import TYPES, random_blocks
from real_architectures import ARCHITECTURES, CONTEXT, VOCABULARY, Widths

RANK = 16

MODELS = {
    "llama-2-7b": Widths("llama", "q4_0", 4096, 11008, 32, 32),
    "llama-3.1-8b": Widths("llama", "q4_K", 4096, 14336, 32, 8),
    "llama-3.2-1b": Widths("llama", "q8_0", 2048, 8192, 32, 8),
    "qwen2.5-0.5b": Widths("qwen2", "q4_0", 896, 4864, 14, 2, head="q8_0"),
    "qwen2.5-1.5b": Widths("qwen2", "q4_K", 1536, 8960, 12, 2),
    "qwen2.5-3b": Widths("qwen2", "q4_1", 2048, 11008, 16, 2),
    "qwen2.5-7b": Widths("qwen2", "q4_K", 3584, 18944, 28, 4),
    "qwen2.5-14b": Widths("qwen2", "q4_0", 5120, 13824, 40, 8),
    "qwen2.5-32b": Widths("qwen2", "q4_K", 5120, 27648, 40, 8),
    "qwen3-0.6b": Widths("qwen3", "q8_0", 1024, 3072, 16, 8, 128),
    "qwen3-1.7b": Widths("qwen3", "bf16", 2048, 6144, 16, 8, 128),
    "qwen3-4b": Widths("qwen3", "q4_K", 2560, 9728, 32, 8, 128),
    "qwen3-8b": Widths("qwen3", "q6_K", 4096, 12288, 32, 8, 128),
    "qwen3-14b": Widths("qwen3", "q4_K", 5120, 17408, 40, 8, 128),
    "qwen3-32b": Widths("qwen3", "q4_0", 5120, 25600, 64, 8, 128),
    "gemma-2-2b": Widths("gemma2", "q4_K", 2304, 9216, 8, 4, 256),
    "gemma-2-9b": Widths("gemma2", "q4_0", 3584, 14336, 16, 8, 256),
    "gemma-3-1b": Widths("gemma3", "q4_0", 1152, 6912, 4, 1, 256, head="q8_0"),
    "gemma-3-4b": Widths("gemma3", "q4_K", 2560, 10240, 8, 4, 256),
    "gemma-3-12b": Widths("gemma3", "q4_0", 3840, 15360, 16, 8, 256),
    "phi-3-mini": Widths("phi3", "q4_K", 3072, 8192, 32, 32),
    "phi-3-medium": Widths("phi3", "q4_0", 5120, 17920, 40, 10),
    "mistral-7b": Widths("llama", "q6_K", 4096, 14336, 32, 8),
    "mistral-nemo-12b": Widths("llama", "q4_K", 5120, 14336, 32, 8, 128),
    "mixtral-8x7b": Widths("llama", "q4_0", 4096, 14336, 32, 8, experts=2, used=2),
    "mixtral-8x7b-choice": Widths("llama", "q4_K", 4096, 14336, 32, 8, experts=3, used=2, ties=True, layers=1),
    "gpt-oss-20b": Widths("gpt-oss", "mxfp4", 2880, 2880, 64, 8, 64, experts=4, used=4, head="q8_0"),
    "deepseek-v2-lite": Widths("deepseek2", "q4_K", 2048, 10944, 16, 16, experts=6, used=6, more={"expert_inner": 1408}),
    "command-r-35b": Widths("command-r", "q4_0", 8192, 22528, 64, 64, layers=1),
    "aya-23-8b": Widths("command-r", "q4_K", 4096, 22528, 32, 8),
    "falcon-7b": Widths("falcon", "q4_0", 4544, 18176, 71, 1, head="q8_0"),
    "gpt-neox-20b": Widths("gptneox", "q4_0", 6144, 24576, 64, 64),
    "pythia-410m": Widths("gptneox", "f16", 1024, 4096, 16, 16),
    "mpt-7b": Widths("mpt", "q4_1", 4096, 16384, 32, 32),
    "stablelm-2-1.6b": Widths("stablelm", "q4_K", 2048, 5632, 32, 32),
    "stablelm-2-12b": Widths("stablelm", "q8_0", 5120, 13824, 32, 8),
    "lfm2-350m": Widths("lfm2", "q4_K", 1024, 4608, 16, 8),
    "lfm2-1.2b": Widths("lfm2", "q4_K", 2048, 8192, 32, 8),
    "mamba-130m": Widths("mamba", "q8_0", 768, 0, more={"rank": 48}),
    "mamba-2.8b": Widths("mamba", "q4_K", 2560, 0, more={"rank": 160}),
    "mamba2-2.7b": Widths("mamba2", "q4_0", 2560, 0),
    "rwkv6-1.6b": Widths("rwkv6", "q4_K", 2048, 7168, ties=True, more={"extra": (32, 64)}),
    "rwkv7-1.5b": Widths("rwkv7", "q8_0", 2048, 8192, ties=True, more={"ranks": (96, 96, 64, 256)}),
    "bge-small": Widths("bert", "f16", 384, 1536, 12, 12, head="f16"),
    "bge-large": Widths("bert", "q8_0", 1024, 4096, 16, 16, head="q8_0"),
    "flan-t5-base": Widths("t5", "q6_K", 768, 2048, 12, 12),
    "flan-t5-xl": Widths("t5", "q4_K", 2048, 5120, 32, 32, layers=1),
}


def _typed(value):
    """(type in GGUF, value) of a Python value."""
    if isinstance(value, bool):
        return BOOL, value
    if isinstance(value, list):
        return ARRAY, (_typed(value[0])[0], value)
    return {str: STRING, int: UINT32, float: FLOAT}[type(value)], value


def _metadata(w, special):
    """llama.cpp's tokenizer for tests: `tok_7` and so on."""
    common = {"vocab_size": VOCABULARY, "context_length": CONTEXT, "embedding_length": w.embedding, "block_count": w.layers,
              "feed_forward_length": w.feed_forward, "attention.head_count": w.heads, "attention.head_count_kv": w.kv_heads}
    if w.head_size:
        common.update({"attention.key_length": w.head_size, "attention.value_length": w.head_size})
    if w.experts:
        common.update({"expert_count": w.experts, "expert_used_count": w.used})
    common.update(special)
    keys = {"general.architecture": w.arch, "tokenizer.ggml.model": "test",
            "tokenizer.ggml.tokens": [f"tok_{i}" for i in range(VOCABULARY)], "tokenizer.ggml.scores": [0.0] * VOCABULARY}
    keys.update({name if name.startswith("tokenizer.") else f"{w.arch}.{name}": value for name, value in common.items()})
    return {name: _typed(value) for name, value in keys.items()}


# --- Weights -----------------------------------------------------------------------------------------------------------

# Small parts of a recurrent model stay float32 in real files, too; pattern -> numbers that make sense there.
_SPECIAL = ((r"ssm_a$", lambda g: -g.uniform(0.5, 8)), (r"ssm_d$", lambda g: g.uniform(0.5, 1.5)),
            (r"ssm_dt\.bias", lambda g: g.uniform(-4, -1)), (r"lerp", lambda g: g.uniform(0, 1)),
            (r"time_mix_decay\.weight", lambda g: g.uniform(-5, 0)), (r"time_mix_[wav]0", lambda g: g.uniform(-2, 1)),
            (r"time_mix_(first|k_k|k_a|r_k)", lambda g: g.gauss(0, 0.5)), (r"conv(1d)?\.weight", lambda g: g.gauss(0, 0.5)),
            (r"sinks|rel_b", lambda g: g.gauss(0, 1)), (r"norm\d?\.weight|norm_2\.weight|_ln\.weight", lambda g: g.uniform(0.8, 1.2)),
            (r"\.bias$", lambda g: g.gauss(0, 0.1)))


def is_matrix(name, shape):
    """Whether the numbers are multiplied as a matrix: neither a vector, nor a table, nor a filter."""
    return len(shape) > 1 and not any(re.search(pattern, name) for pattern, _ in _SPECIAL) and not re.search("_embd|token_types", name)


def _stored_type(w, name, shape):
    """As real files do: what does not fill its blocks has blocks of 32, or none; small matrices and routers have no blocks."""
    kind = w.head if name in ("output.weight", "token_embd.weight") else w.type
    if kind == "mxfp4" and "_exps" not in name:
        kind = "q8_0"
    if re.search(r"time_mix_\w+[0-9]\.weight|attn_[kv]_b|ssm_(x|dt)\.", name):
        kind = "f16"
    if shape[0] % TYPES[kind][1]:
        kind = "q8_0"
    return kind if shape[0] % TYPES[kind][1] == 0 else "f16"


def _asks_for_scores(w, name):
    """T5 does not divide the scores of attention by the root of the head's size, 8: its trained queries are so much smaller."""
    return w.arch == "t5" and name.endswith("attn_q.weight")


def _weights(generator, w, name, shape):
    count = math.prod(shape)
    for pattern, draw in _SPECIAL:
        if re.search(pattern, name):
            return shape, array.array("f", (draw(generator) for _ in range(count)))
    if re.search(r"ffn_gate_inp|position_embd|token_types", name):
        return shape, array.array("f", (generator.gauss(0, shape[0]**-0.5) for _ in range(count)))
    deviation = shape[0]**-0.5
    if name == "token_embd.weight" and not w.arch.startswith("gemma"):  # which multiplies its embeddings by shape[0]**0.5
        deviation = 1.0
    if _asks_for_scores(w, name):
        deviation /= 8
    return (shape, *random_blocks(generator, _stored_type(w, name, shape), count, deviation))


def shapes_of(name):
    """({tensor: shape}, metadata) of a model in MODELS."""
    shapes, w = {}, MODELS[name]
    special = ARCHITECTURES[w.arch](shapes, w)
    return shapes, _metadata(w, special)


def check_names(source, arch, names):
    """Compares with gguf-py of llama.cpp's source tree: every tensor is one that the architecture has, every block as large as there."""
    path = pathlib.Path(source) / "gguf-py" / "gguf" / "constants.py"
    spec = importlib.util.spec_from_file_location("gguf_constants", path)
    constants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(constants)
    for kind, (number, block, size) in TYPES.items():
        if constants.GGML_QUANT_SIZES[constants.GGMLQuantizationType(number)] != (block, size):
            raise ValueError(f"a block of {kind} is not {block} numbers in {size} bytes")
    tensors = constants.MODEL_TENSORS[next(key for key, value in constants.MODEL_ARCH_NAMES.items() if value == arch)]
    known = {constants.TENSOR_NAMES[tensor].replace("{bid}", "N") for tensor in tensors}
    wrong = [name for name in names if re.sub(r"\.\d+\.", ".N.", re.sub(r"\.(weight|bias)$", "", name)) not in known]
    if wrong:
        raise ValueError(f"gguf-py knows no such tensors of {arch}: {' '.join(wrong)}")


def write_model(name, path, seed=16):
    """Returns {matrix: shape} of what llama.cpp multiplies by."""
    shapes, keys = shapes_of(name)
    generator = random.Random(f"{seed} {name}")
    gguf.write(path, keys, {tensor: _weights(generator, MODELS[name], tensor, shape) for tensor, shape in shapes.items()})
    return {tensor: shape for tensor, shape in shapes.items() if is_matrix(tensor, shape)}


def write_adapter(name, matrices, path, seed=17):
    """A LoRA of every matrix in F16, strong enough to change the logits by a third."""
    generator = random.Random(f"{seed} {name}")
    tensors = {}
    for matrix, (inputs, outputs, *experts) in matrices.items():
        strength = 0.5 / 8 if _asks_for_scores(MODELS[name], matrix) else 0.5
        for part, (k, n), deviation in (("lora_a", (inputs, RANK), inputs**-0.5), ("lora_b", (RANK, outputs), strength * RANK**-0.5)):
            content = random_blocks(generator, "f16", k * n * math.prod(experts), deviation)
            tensors[f"{matrix}.{part}"] = ((k, n, *experts), *content)
    keys = {"general.type": "adapter", "general.architecture": MODELS[name].arch, "adapter.type": "lora", "adapter.lora.alpha": float(RANK)}
    gguf.write(path, {key: _typed(value) for key, value in keys.items()}, tensors)


def write_mixed(model, floats, names, path):
    """The model with some matrices as they are in `floats`, the same in float32. llama-quantize leaves small ones of RWKV as they are."""
    stored, plain = gguf.Reader(model), gguf.Reader(floats)
    sizes = {number: (block, size) for number, block, size in TYPES.values()}
    tensors = {}
    for name, (shape, kind, _) in stored.tensors.items():
        if (name in names or kind == gguf.FLOAT32) and plain.tensors[name][1] == gguf.FLOAT32:
            tensors[name] = shape, plain.floats(name)
        else:
            block, size = sizes[kind]
            tensors[name] = shape, stored.content(name, math.prod(shape) // block * size), kind
    gguf.write(path, stored.keys, tensors)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in MODELS:
        sys.exit(f"usage: real_widths.py NAME FOLDER\nnames: {' '.join(MODELS)}")
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    write_adapter(name, write_model(name, folder / f"{name}.gguf"), folder / f"{name}.lora.gguf")
    print(folder / f"{name}.gguf")


if __name__ == "__main__":
    main()
