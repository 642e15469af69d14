// SPDX-License-Identifier: MIT
// All operations of one pass over some rows, with what each waits for: stages times chunks of rows.
//
//   no overlap    every operation waits for the one before it; within a block, chunk after chunk
//   overlap       a chunk's stage waits for its stage before; a block waits for all of the block before
//   wave          a chunk's stage waits for its stage before, and attention for all earlier chunks as well
//
// A block begins where chunks would have to wait for each other in a design without a wave: at every
// multiplication and every pass of its own. Ready operations run in the order of layer and stage. Each chunk
// counts as the plan's `skew` stages behind the one before it, so that one chunk's attention meets another's
// multiplications.
#pragma once

#include "predict/stages.hpp"

namespace rknpu2 {

struct Pass {
    int64_t first_row = 0;  // rows before are in the KV cache
    int64_t rows = 1;
    int64_t layers = 1;
    bool head = true;
};

struct Graph {
    std::vector<Operation> operations;
    std::vector<int64_t> layer;  // of each operation; -1 and `layers` for what comes before and after
    std::vector<int64_t> chunk;
};

Graph build_graph(const Setting& setting, const Pass& pass);

}  // namespace rknpu2
