// SPDX-License-Identifier: MIT
// What stock llama.cpp does with a tensor of a model, judged by its name and shape, and in which of its units
// the tensor lies.
//
// llama.cpp knows each architecture by code; from outside, the names tell enough, since it keeps one
// vocabulary of them. Rule: a `*.weight` with two dimensions is the B of a multiplication (MUL_MAT) unless
// the table in tensor_role.cpp says otherwise; so a matrix of an architecture that is newer than this tool
// counts as one.
//
// Units: `-ngl N` moves the last N of block_count + 1 units to the device: the layers in order, then the
// output. Input tensors (the embedding that is looked up) always stay on the CPU.
//
// A LoRA adapter has two matrices for each of a model that it changes, NAME.lora_a [K, rank] and NAME.lora_b
// [rank, N], which lie where NAME does.
//
// Source: LLM_TENSOR_NAMES and LLM_TENSOR_INFOS in src/llama-arch.cpp (name -> layer kind and operation),
// load_tensors() in src/llama-model.cpp (i_gpu_start) and src/llama-adapter.cpp, of llama.cpp with ggml 0.25.3.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf_file.hpp"

namespace rknpu2 {

enum class TensorRole {
    kMatrix,         // multiplied by activations in a layer
    kOutput,         // the output head
    kTiedEmbedding,  // token embedding that is looked up, and multiplied as the output head too
    kExperts,        // a stack of matrices among which each token chooses (MUL_MAT_ID)
    kLookup,         // rows are picked (GET_ROWS): embeddings, positions, token types
    kNorm,
    kBias,
    kConvolution,
    kOther,  // scales, rotation frequencies, decay rates, ...
};

// Short and stable: part of the JSON.
const char* role_name(TensorRole role);

// The three roles with a matrix that the NPU might take.
bool is_weight_matrix(TensorRole role);

// What a file is for.
enum class ModelKind {
    kModel,           // reads text and goes on with it
    kEncoder,         // turns a text into numbers: all of its tokens at once, without logits
    kEncoderDecoder,  // reads with one part, writes with another
    kAdapter,         // changes some matrices of a model (--lora)
    kProjector,       // images or sound for a model (--mmproj)
};

// Short and stable: part of the JSON.
const char* kind_name(ModelKind kind);

struct ModelTraits {
    std::string architecture;
    ModelKind kind = ModelKind::kModel;
    bool causal = true;          // false: tokens see those behind them, so a text is one piece
    uint64_t context = 0;        // tokens that it was trained for; 0: the file does not say
    uint64_t layers = 0;         // block_count, or counted from the names when the file does not say
    bool tied_output = false;    // no output head of its own, and one is needed
    bool all_on_device = false;  // not for llama.cpp's layer split: a multimodal projector
};

ModelTraits traits_of(const GgufFile& file);

TensorRole role_of(const GgufTensor& tensor, const ModelTraits& traits);

// Does llama.cpp ask for float activations when it multiplies by the tensor (ggml_prec_set_src() in
// src/llama-graph.cpp)?
bool wants_float_activations(const GgufTensor& tensor, const ModelTraits& traits);

// True if `-ngl ngl` puts the tensor on the device. Negative: everything, as in llama.cpp.
bool is_offloaded(const GgufTensor& tensor, TensorRole role, const ModelTraits& traits, int64_t ngl);

}  // namespace rknpu2
