// SPDX-License-Identifier: MIT
// The steps of one layer, in their order: what runs where and what it costs for some rows.
//
// A step that a design takes into another one is not there; the other one touches more bytes. Bytes are
// counted as they go through memory: a row of activations is 4 bytes an element as float32, 1 for each plane
// as the NPU's input, and 4 for each plane and K segment as its int32 results.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "plan/cost_model.hpp"
#include "predict/board_profile.hpp"
#include "predict/model_shapes.hpp"
#include "predict/timeline.hpp"

namespace rknpu2 {

// What one step costs on a board: runs of the NPU by the simulator's rule, loops of the CPU by the bytes they
// touch.
//
// A weight is a grid of cells, K in segments and N in tiles, dealt to the three cores in turn: three cells
// are one round. More segments let a tile of activations have more rows, so that the weights are read less
// often; the price is that every further segment writes another matrix of int32 that the CPU adds. The cells
// are fixed when a weight is packed, so prefill and decode share them, and every round costs a run call.

// No more segments than a run's largest K asks for, and columns dealt to three cores evenly.
CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board);

// How the CPU's cache is kept in step with the NPU (src/device/coherency.hpp): not at all, as a board that
// did it by itself; by a system call for each buffer; or line by line, from the threads that touch the
// memory.
enum class Sync { kNone, kOwner, kLines };

// One operation for each round; their dependencies and order are the caller's. With Sync::kOwner a round has
// the calls around it as well: before it the activations of its segments, where it has new ones, and after it
// the results of its cores, three threads side by side.
std::vector<Operation> npu_rounds(int64_t rows, int64_t N, int64_t K, const CellGrid& grid, Sync sync,
                                  const BoardProfile& board);

// What Sync::kLines costs the loops over `bytes` of either.
double line_ns(double bytes, const BoardProfile& board);

// A loop of the CPU's team over matrices in memory.
Operation cpu_pass(double bytes, const BoardProfile& board);

// Flash attention of the rows first .. first + rows - 1 over all positions up to each.
Operation cpu_attention(int64_t first, int64_t rows, int64_t q_size, int64_t kv_size,
                        const BoardProfile& board);

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
};

// What is multiplied at once: a weight, or a whole group of N columns together.
struct Product {
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
    std::vector<Operation> operations;  // follow each other; dependencies, order and names come later
    bool block_begins = false;          // where chunks wait for each other unless they flow
    bool causal = false;                // needs the chunks before it
};

// The stages of that layer; for -1 what comes once before the first layer, for the number of layers the output
// head.
std::vector<Stage> stages_of(const Setting& setting, Way way, int64_t layer, const Rows& rows);

}  // namespace rknpu2
