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

AttentionPieces::AttentionPieces(size_t tokens, size_t group) : all(tokens * group) {
    const bool is_chunk = tokens >= kFewestTokens && tokens != kMostChunkTokens;
    const size_t most = is_chunk ? AttentionPieces(kMostChunkTokens, group).longest : kMaxRows;
    count = ceil_div(all, most);
    longest = count <= 1 ? all : round_up(ceil_div(all, count), kRowsOfPiece);
    room = bucket_rows(is_chunk ? most : longest);
}

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
    const AttentionPieces pieces(tokens, group);
    const size_t all_blocks = ceil_div(positions, kAttentionBlock);
    uint64_t of_place = 0;
    const size_t rows = pieces.room;
    of_place += kv_heads * pieces.count * pages(queries(rows));
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
