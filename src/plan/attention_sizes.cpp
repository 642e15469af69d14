// SPDX-License-Identifier: MIT
#include "plan/attention_sizes.hpp"

#include <set>

#include "matrix/layout.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kHalf = sizeof(uint16_t);

// Buffers of their own have whole pages.
constexpr uint64_t pages(size_t bytes) {
    return round_up(bytes, 4096);
}

}  // namespace

AttentionSizes::AttentionSizes(size_t heads, size_t keys, size_t values)
    : kv_heads(heads),
      key_width(round_up(keys, kTileK)),
      value_width(round_up(values, kernel_group(DType::kFloat16))) {}

size_t AttentionSizes::head() const {
    return (key_width + value_width) * kAttentionBlock * kHalf;
}

size_t AttentionSizes::queries(size_t rows) const {
    return rows * key_width * kHalf;
}

size_t AttentionSizes::scores(size_t rows, size_t columns) const {
    return rows * round_up(columns, kValueBlock) * sizeof(float);
}

size_t AttentionSizes::weights(size_t rows, size_t depth) const {
    return rows * depth * kHalf;
}

size_t AttentionSizes::values(size_t rows) const {
    return rows * value_width * sizeof(float);
}

uint64_t AttentionSizes::of_prompt(size_t group, size_t tokens, size_t positions, size_t cores) const {
    const size_t pieces = ceil_div(tokens * group, kMaxRows);
    const size_t all_blocks = ceil_div(positions, kAttentionBlock);
    uint64_t queries_of_place = 0;
    std::set<size_t> lengths;
    for (size_t piece = 0; piece < pieces; ++piece) {
        const size_t rows = row_buckets()[bucket_for(std::min(kMaxRows, tokens * group - piece * kMaxRows))];
        queries_of_place += kv_heads * pages(queries(rows));
        lengths.insert(rows);
    }
    // Any unit may be in any slot, and an index has areas of several sizes.
    const size_t slots = std::min(kAttentionGroups * cores, kv_heads * pieces * all_blocks);
    uint64_t of_place = queries_of_place;
    for (const size_t rows : lengths) {
        uint64_t of_slot = pages(scores(rows, kValueBlock));
        if (positions > kValueBlock) of_slot += pages(scores(rows, kAttentionBlock));
        const size_t parts = positions > kValueBlock ? kPartsOfBlock : 1;
        of_slot += parts * (pages(weights(rows, value_depth(0))) + pages(values(rows)));
        if (all_blocks > 1) of_slot += pages(weights(rows, value_depth(1)));
        of_place += slots * of_slot;
    }
    return kPlaces * of_place + blocks() * pages(block());  // of all layers
}

}  // namespace rknpu2
