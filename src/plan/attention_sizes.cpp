// SPDX-License-Identifier: MIT
#include "plan/attention_sizes.hpp"

#include "matrix/layout.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kHalf = sizeof(uint16_t);

// Pieces of whole steps are row_buckets().
constexpr size_t kRowsOfPiece = 64;
static_assert(kMaxRows % kRowsOfPiece == 0);

// Buffers of their own have whole pages.
constexpr uint64_t pages(size_t bytes) {
    return round_up(bytes, 4096);
}

}  // namespace

AttentionPieces::AttentionPieces(size_t rows)
    : all(rows),
      count(ceil_div(rows, kMaxRows)),
      longest(count <= 1 ? rows : round_up(ceil_div(rows, count), kRowsOfPiece)) {}

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
    const AttentionPieces pieces(tokens * group);
    const size_t all_blocks = ceil_div(positions, kAttentionBlock);
    uint64_t of_place = 0;
    for (size_t piece = 0; piece < pieces.count; ++piece)
        of_place += kv_heads * pages(queries(row_buckets()[bucket_for(pieces.rows(piece))]));
    const size_t rows = row_buckets()[bucket_for(pieces.longest)];
    // An index has areas of several sizes.
    uint64_t of_slot = pages(scores(rows, kValueBlock));
    if (positions > kValueBlock) of_slot += pages(scores(rows, kAttentionBlock));
    const size_t parts = positions > kValueBlock ? kPartsOfBlock : 1;
    of_slot += parts * pages(values(rows)) + pages(weights(rows, kValueBlock));
    const bool same_depth = weight_depth(0, 1) == kValueBlock;
    if (parts > 1 && same_depth) of_slot += pages(weights(rows, kValueBlock));
    if (all_blocks > 1 || (parts > 1 && !same_depth)) of_slot += pages(weights(rows, kAttentionBlock));
    of_place += std::min(kAttentionGroups * cores, kv_heads * pieces.count * all_blocks) * of_slot;
    return kPlaces * of_place + blocks() * pages(block());  // of all layers
}

}  // namespace rknpu2
