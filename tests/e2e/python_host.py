#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Generates text with the ggml and llama.cpp that a package of llama-cpp-python brings, as its users do.

    python3 python_host.py '{"model": FILE, "prompt": TEXT, ...}'

Keys and output are those of node_host.cjs; the plug-in's lines go to stderr. The package never loads a backend by itself, so
this asks the ggml that libllama.so holds: the wheel has another copy of libggml.so, whose backends nobody would see.
"""

import ctypes
import json
import os
import sys


def load_backends(library):
    """Has the ggml of a shared library load what GGML_BACKEND_PATH names; returns the descriptions of all devices but the CPU."""
    if not hasattr(library, "ggml_backend_load_all"):
        return call_from(library)
    library.ggml_backend_load_all()
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_description.restype = ctypes.c_char_p
    devices = (ctypes.c_void_p(library.ggml_backend_dev_get(ctypes.c_size_t(at))) for at in range(library.ggml_backend_dev_count()))
    return [library.ggml_backend_dev_description(device).decode() for device in devices if library.ggml_backend_dev_type(device) != 0]


def call_from(library):
    """A ggml of 2024 loads no backends. It calls the plug-in all the same: as the function that gets the lines of its log."""
    if path := os.environ.get("GGML_BACKEND_PATH"):
        library.ggml_log_set(ctypes.CDLL(path).ggml_backend_init, None)
        library.ggml_log_internal(2, b"a line")
        library.ggml_log_set(None, None)
    return []


def through_a_file(llama, tokens, path):
    """The state goes to a file, is dropped, and comes back."""
    import llama_cpp

    context, file = llama._ctx.ctx, path.encode()
    written = (llama_cpp.llama_token * len(tokens))(*tokens)
    read, count = (llama_cpp.llama_token * len(tokens))(), ctypes.c_size_t()
    if llama_cpp.llama_state_seq_save_file(context, file, 0, written, len(tokens)) == 0:
        sys.exit(f"cannot write {path}")
    llama._ctx.kv_cache_clear()
    if llama_cpp.llama_state_seq_load_file(context, file, 0, read, len(tokens), ctypes.byref(count)) == 0 or list(read) != tokens:
        sys.exit(f"cannot read {path}")


def generate(llama, wanted):
    prompt = llama.tokenize(wanted["prompt"].encode())
    llama.eval(prompt[:-1] if "state" in wanted else prompt)
    if "state" in wanted:
        through_a_file(llama, prompt[:-1], wanted["state"])
        llama.eval(prompt[-1:])
    tokens = []
    while len(tokens) < wanted["tokens"]:
        token = llama.sample(temp=0)
        if token == llama.token_eos():
            break
        tokens.append(token)
        llama.eval([token])
    return {"prompt": len(prompt), "tokens": tokens, "text": llama.detokenize(tokens).decode(errors="replace")}


def main():
    import llama_cpp

    wanted = {"tokens": 16, "gpuLayers": 999, "batch": 512, "context": 1024, **json.loads(sys.argv[1])}
    devices = load_backends(llama_cpp.llama_cpp._lib)
    llama = llama_cpp.Llama(wanted["model"], n_gpu_layers=wanted["gpuLayers"], n_ctx=wanted["context"], n_batch=wanted["batch"],
                            n_threads=2, flash_attn=True, lora_path=wanted.get("lora"))
    made = generate(llama, wanted)
    llama.close()
    print(json.dumps({"devices": devices, **made}))


if __name__ == "__main__":
    main()
