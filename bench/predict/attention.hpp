// SPDX-License-Identifier: MIT
// Attention as the plug-in computes it with the NPU (src/attention/npu_attention.hpp): its runs, the CPU's passes
// between them, and what waits for what.
#pragma once

#include <span>

#include "predict/kv_blocks.hpp"

namespace rknpu2 {

// Positions of the cache that attention of that layer is given, for a graph of the tokens `graph`.
size_t positions_of(const Setting& setting, int64_t layer, const Rows& graph);
// What the tokens `rows` of that graph see of them.
SeenParts seen_parts(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph);

Stage npu_attention(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph,
                    const PackedBlocks& packed);

}  // namespace rknpu2
