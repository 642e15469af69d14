// SPDX-License-Identifier: MIT
// The steps of one layer, in their order: what runs where and what it costs for some rows.
//
// A step that a design takes into another one is not there; the other one touches more bytes. Bytes are
// counted as they go through memory: a row of activations is 4 bytes an element as float32, 1 for each plane
// as the NPU's input, and 4 for each plane and K segment as its int32 results.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "predict/costs.hpp"
#include "predict/model_shapes.hpp"

namespace rknpu2 {

// What the plug-in does, and what it is held against: every multiplication quantises its own activations, and
// nothing overlaps. docs/measurements/designs.csv says what other designs would be worth.
enum class Design { kPlain, kPlugin };
enum class Planes { kFast, kBalancedWithStatistics, kBalanced };

// Their names, by number.
inline constexpr std::array kDesignNames = {"plain", "plugin"};
inline constexpr std::array kPlanesNames = {"fast", "balanced+statistics", "balanced"};
inline constexpr std::array kSyncNames = {"none", "owner", "lines"};
inline const char* name_of(Design design) {
    return kDesignNames[static_cast<size_t>(design)];
}
inline const char* name_of(Planes planes) {
    return kPlanesNames[static_cast<size_t>(planes)];
}

// How some rows go through the model.
//   kPlain     operation by operation
//   kTogether  the plug-in's few rows: weights with the same activations are multiplied together, SiLU is in
//              the pass over their results, and all nodes between two multiplications are one call
//   kFlow      the plug-in's prompts: all up to the next multiplication is in the pass over the results, and
//              chunks of rows flow through all layers
enum class Way { kPlain, kTogether, kFlow };
Way way_of(Design design, int64_t rows);

struct Setting {
    ModelShape model;
    Design design = Design::kPlugin;
    Planes planes = Planes::kFast;
    BoardProfile board;
    Sync sync = Sync::kOwner;

    // Rows of a chunk, and stages that it may run ahead of the next one before it yields to it.
    int64_t chunk_rows() const { return design == Design::kPlain ? 256 : kFlowChunkRows; }
    int64_t chunk_skew() const { return design == Design::kPlain ? 0 : kFlowSkew; }
    // Rows of the NPU's input for each row of activations: 1 or 2.
    int planes_of(int64_t layer, Group group) const;
    // Under statistics, the share of the layers in which that group has two planes.
    double share_with_two_planes(Group group) const;
};

// What is multiplied at once: a weight, or a whole group of N columns together.
struct Product {
    const char* name;
    int64_t N, K;
    int64_t width;  // columns of its widest weight
    CellGrid grid;
};
std::vector<Product> products_of(const Setting& setting, Group group);

// Rows of a prompt, or one token: first .. first + count - 1 of the context.
struct Rows {
    int64_t first, count;
};

struct Stage {
    const char* phase;
    std::string what;
    std::vector<Operation> operations;  // follow each other; dependencies, order and names come later
    bool block_begins = false;          // where chunks wait for each other unless they flow
    bool causal = false;                // needs the chunks before it
};

// The stages of that layer; for -1 what comes once before the first layer, for the number of layers the output
// head.
std::vector<Stage> stages_of(const Setting& setting, Way way, int64_t layer, const Rows& rows);

}  // namespace rknpu2
