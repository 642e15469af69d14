// SPDX-License-Identifier: MIT
// The sizes of a language model that decide what a token costs, from bench/models.csv, and the matrix
// multiplications of its layers.
//
// Multiplications that share their activations form a group: Q, K and V; the output of attention; gate and
// up; down. The output head is a group of its own, and of a prompt only the last row goes through it. The
// table gives the number of parameters beside the sizes, and a row whose sizes do not come to it is refused:
// a wrong digit would otherwise be a wrong prediction.
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

// Each member is a column of the table.
struct ModelShape {
    std::string name, source;
    int64_t layers = 0;
    int64_t hidden_size = 0;
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    int64_t ffn_size = 0;
    int64_t vocabulary = 0;
    int64_t tied_embeddings = 0;  // 1: the output head is the table of embeddings
    int64_t norms_per_layer = 0;  // 2: before attention and before the FFN; 4: after them as well
    int64_t window = 0;           // positions that attention sees in most layers; 0: there are no windows
    int64_t full_every = 0;       // with windows: of so many layers the last one sees all
    int64_t parameters = 0;       // as published or counted; the sizes come to it within 1 %

    int64_t q_size() const { return heads * head_dim; }
    int64_t kv_size() const { return kv_heads * head_dim; }  // of K alone
    // Positions that attention of that layer sees; 0: all.
    int64_t window_of(int64_t layer) const {
        return full_every > 0 && (layer + 1) % full_every == 0 ? 0 : window;
    }
    int64_t layer_weights() const;  // elements, of one layer's matrices
    int64_t token_weights() const;  // of everything that one token multiplies with
};

// One matrix of a group: N rows of K elements.
struct WeightShape {
    int64_t N, K;
};

std::vector<WeightShape> weights_of(const ModelShape& model, Group group);

// The rows of such a table. `file` is for messages only.
Result<std::vector<ModelShape>> parse_model_shapes(const std::string& text, const std::string& file);

// The shape of that name that is compiled in, or the one of a file; small and capital letters of names are
// alike.
Result<ModelShape> find_model_shape(const std::string& name_or_path);

// What is modelled when no model is named.
std::vector<std::string> default_models();

}  // namespace rknpu2
