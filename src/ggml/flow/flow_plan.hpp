// SPDX-License-Identifier: MIT
// A stretch of a graph whose rows can go through it in chunks, and how.
//
// Between two multiplications nearly every operation of a language model works row by row: norms, residuals,
// rotary embeddings, gates, writing K and V to the cache. Attention reads the whole cache, but writes row by
// row, too. So rows, which are tokens, can go through many nodes in chunks, and while the NPU multiplies some
// rows the CPU computes attention for others (flow_execution.hpp). A stretch goes on for as long as nodes are
// known to work so (row_maps.hpp) and keep the rules of FlowOutside (flow_plan.cpp).
//
// What nobody outside the stretch reads is never written to the graph's memory: it lives in memory of a
// chunk, or, if it is used up within a pass, in a few rows of a thread's own. That also keeps chunks out of
// each other's way, since ggml gives one piece of memory to several results whose uses do not overlap.
#pragma once

#include <array>
#include <span>
#include <unordered_map>
#include <vector>

#include "ggml/host/host.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// The dimension of a tensor that counts rows of the flow; kWhole: none, every chunk sees all of it.
inline constexpr int kWhole = -1;

// A node, and the dimensions of it and of its sources that count rows.
struct RowMap {
    ggml_tensor* node = nullptr;
    int dim = kWhole;
    std::array<int, GGML_MAX_SRC> source_dims{};
};

struct FlowStage {
    enum class Kind {
        kPass,       // a few rows at a time on each thread: results to floats, nodes, floats to operands
        kGroup,      // multiplications by the same activations, on the NPU
        kAttention,  // on all threads of the CPU, and maybe on the NPU, a chunk at a time
    };
    // Keys or values that the flow writes and attention reads.
    struct CacheRead {
        const ggml_tensor* writer = nullptr;  // a SET_ROWS of the flow
        const ggml_tensor* shown = nullptr;   // the operand of the attention
    };
    Kind kind = Kind::kPass;
    std::vector<RowMap> nodes;
    // kPass: the group whose results it begins with, and that whose activations it ends with; -1: none.
    int group_before = -1;
    int group_after = -1;
    size_t block_bytes = 0;  // kPass: what lives in a block, for each row
    // kPass: its nodes that write a cache which attention reads later on.
    std::vector<const ggml_tensor*> cache_writers;
    AttentionReason attention = AttentionReason::kOnNpu;  // kAttention: who computes its products, and why
    bool on_npu() const { return kind == Kind::kAttention && attention == AttentionReason::kOnNpu; }
    // kAttention: chunks whose rows are seen (cache_cells.hpp) must have done stage `after` before it may
    // begin; -1: it waits for none.
    int after = -1;
    std::vector<CacheRead> cache_reads;
};

// A result that the stretch computes. Its home is where it lives: in the graph's memory, in a chunk's or in a
// block's.
struct FlowTensor {
    enum class Home { kGraph, kChunk, kBlock };
    int dim = kWhole;
    size_t row_bytes = 0;
    Home home = Home::kGraph;
    size_t offset = 0;                      // kChunk, kBlock: for each row of the chunk or block
    int first_stage = -1, last_stage = -1;  // that write or read it
};

// Where a stretch goes no further, and why.
struct FlowStop {
    enum class Why {
        kNone,       // it goes on
        kGraph,      // the graph has no more nodes, or does not tell who reads them
        kOperation,  // the node is not known to work row by row, or not in its shape
        kMemory,     // the node reads or writes what other chunks write or have still to read
        kColumns,    // the results of the group would take too much memory
    };
    Why why = Why::kGraph;
    int node = 0;  // of the graph: the first that is not part of the stretch

    const char* text() const;  // of the reason
};

struct FlowPlan {
    int first = 0, last = 0;  // nodes of the graph: first .. last - 1
    int64_t rows = 0;
    // Sequences that have a cache each are streams: the rows of the first one, then those of the next.
    int64_t stream_rows = 0;  // of each; all rows where there is one stream
    FlowStop stop;
    std::vector<FlowStage> stages;
    std::vector<std::vector<ggml_tensor*>> groups;  // multiplications by the same activations
    // By the tensor that owns the memory, of which others are views.
    std::unordered_map<const ggml_tensor*, FlowTensor> tensors;
    // Live in chunks and are copied to the graph's memory at the end; in the order of their nodes.
    std::vector<const ggml_tensor*> copied_out;
    size_t chunk_bytes = 0;  // what lives in a chunk, for each row

    bool worth_it() const { return groups.size() >= 2; }
    // What the multiplications of a group read.
    const ggml_tensor* activations_of(int group) const {
        return groups[static_cast<size_t>(group)].front()->src[1];
    }
};

// Returns the plan from node `first` on. `decisions`: of all nodes of the graph. `rows`: of the first
// multiplication that the NPU does there. A graph that does not tell who reads its nodes has no flows.
FlowPlan plan_flow(const Host& host, const ggml_cgraph* graph, std::span<const NodeDecision> decisions,
                   int first, int64_t rows);

}  // namespace rknpu2
