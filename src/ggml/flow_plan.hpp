// A stretch of a graph whose rows can go through it in chunks, and how.
//
// Between two multiplications nearly every operation of a language model works row by row: norms, residuals,
// rotary embeddings, gates, writing K and V to the cache. Attention reads the whole cache, but writes row by
// row, too. So rows, which are tokens, can go through many nodes in chunks, and while the NPU multiplies some
// rows the CPU computes attention for others (flow_run.hpp). A plan is found by reading nodes from a first
// one on, for as long as each is of a kind that is known to work so; the first that is not ends the stretch.
//
// What nobody outside the stretch reads is never written to the graph's memory: it lives in memory of a
// chunk, or, if it is used up within a pass, in a few rows of a thread's own. That also keeps chunks out of
// each other's way, since ggml gives one piece of memory to several results whose uses do not overlap.
//
// Made anew for each graph, from the tensors alone; nothing is kept.
#pragma once

#include <array>
#include <unordered_map>
#include <vector>

#include "ggml-impl.h"
#include "ggml/host.hpp"

namespace rknpu2 {

// The dimension of a tensor that counts rows of the flow; kWhole: none, every chunk sees all of it.
inline constexpr int kWhole = -1;

struct FlowNode {
    ggml_tensor* node = nullptr;
    int dim = kWhole;
    std::array<int, GGML_MAX_SRC> source_dims{};
};

struct FlowStage {
    enum class Kind {
        kPass,  // row by row, on one thread for each few rows: results to floats, nodes, floats to operands
        kProduct,    // multiplications by the same activations, on the NPU
        kAttention,  // on all threads of the CPU, a chunk at a time
    };
    Kind kind = Kind::kPass;
    std::vector<FlowNode> nodes;
    // Of a pass: the product whose results it begins with, and that whose activations it ends with.
    int product_before = -1;
    int product_after = -1;
    // Of attention: the stage that every chunk whose rows are seen (flow_waits.hpp) must have done before one
    // may begin; -1: none. And the nodes of the flow that write what is read as a whole, at that stage or
    // before it.
    int after = -1;
    std::vector<const ggml_tensor*> writers;
    size_t block_bytes = 0;  // of a pass: what lives in it, for each row
};

// A result that the stretch computes.
struct FlowTensor {
    enum class Home { kGraph, kChunk, kBlock };
    int dim = kWhole;
    size_t row_bytes = 0;
    Home home = Home::kGraph;
    size_t offset = 0;                      // kChunk, kBlock: for each row of the chunk or block
    bool copied_out = false;                // kChunk: to the graph's memory at the end
    int first_stage = -1, last_stage = -1;  // that write or read it
};

struct FlowPlan {
    int first = 0, last = 0;  // nodes of the graph: first .. last - 1
    int64_t rows = 0;
    std::vector<FlowStage> stages;
    std::vector<std::vector<ggml_tensor*>> products;
    // By the tensor that owns the memory, of which others are views.
    std::unordered_map<const ggml_tensor*, FlowTensor> tensors;
    size_t chunk_bytes = 0;  // what lives in a chunk, for each row

    bool worth_it() const { return products.size() >= 2; }
    int nodes() const { return last - first; }
};

inline const ggml_tensor* memory_of(const ggml_tensor* tensor) {
    return tensor->view_src != nullptr ? tensor->view_src : tensor;
}

// The plan from node `first` on. `rows`: of the first multiplication that the NPU does there. Nodes that are
// no operations may be the last ones.
FlowPlan plan_flow(const Host& host, const ggml_cgraph* graph, int first, int64_t rows);

}  // namespace rknpu2
