// SPDX-License-Identifier: MIT
// The sizes of a language model that decide what a token costs, from bench/shapes/*.txt, and the matrix
// multiplications of its layers.
//
// Multiplications that share their activations form a group: Q, K and V; the output of attention; gate and
// up; down. The output head is a group of its own, and of a prompt only the last row goes through it. In
// these files the number of parameters is given beside the sizes, and a file whose sizes do not come to it is
// refused: a wrong digit would otherwise be a wrong prediction.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

enum class Group { kQkv, kAttentionOutput, kGateUp, kDown, kHead };
inline constexpr std::array kLayerGroups = {Group::kQkv, Group::kAttentionOutput, Group::kGateUp,
                                            Group::kDown};

const char* group_name(Group group);

struct ModelShape {
    std::string name, source;
    int64_t layers = 0;
    int64_t hidden_size = 0;
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    int64_t ffn_size = 0;
    int64_t vocabulary = 0;
    bool tied_embeddings = false;
    int64_t norms_per_layer = 0;
    int64_t parameters = 0;

    int64_t q_size() const { return heads * head_dim; }
    int64_t kv_size() const { return kv_heads * head_dim; }  // of K alone
    int64_t layer_weights() const;                           // elements, of one layer's matrices
    int64_t token_weights() const;                           // of everything that one token multiplies with
};

// One matrix of a group: N rows of K elements.
struct WeightShape {
    const char* name;
    int64_t N, K;
};

std::vector<WeightShape> weights_of(const ModelShape& model, Group group);

// `file` is for messages only.
Result<ModelShape> parse_model_shape(const std::string& text, const std::string& file);

// The shapes that are compiled in, by name or by file name without ".txt"; or a path to a file.
Result<ModelShape> find_model_shape(const std::string& name_or_path);

// Names of the shapes compiled in, those of --check alone not among them.
std::vector<std::string> default_models();

}  // namespace rknpu2
