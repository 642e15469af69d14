// SPDX-License-Identifier: MIT
// All operations of one pass over some rows, with what each waits for: stages times chunks of rows.
//
//   kPlain        every operation waits for the one before it; within a block, chunk after chunk
//   kTogether     a chunk's stage waits for its stage before; a block waits for all of the block before
//   kFlow         a chunk's stage waits for its stage before, and attention for all earlier chunks as well
//
// A block begins where chunks that do not flow have to wait for each other: at every multiplication and every
// pass of its own. Ready operations run in the order of layer and stage. Each chunk counts as the design's
// skew of stages behind the one before it, so that one chunk's attention meets another's multiplications.
#pragma once

#include "predict/stages.hpp"

namespace rknpu2 {

struct Graph {
    std::vector<Operation> operations;
    std::vector<int64_t> layer;  // of each operation; -1 and `layers` for what comes before and after
    std::vector<int64_t> chunk;
};

// `rows`: those before are in the KV cache. Of the last one the output head is computed.
Graph build_graph(const Setting& setting, const Rows& rows);

}  // namespace rknpu2
