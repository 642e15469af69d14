// SPDX-License-Identifier: MIT
// In which pieces the NPU computes attention, and what these take of its memory. See attention/attention_steps.hpp for
// what is done with them.
#pragma once

#include <cstdint>

#include "kernels/attention.hpp"
#include "plan/attention_policy.hpp"

namespace rknpu2 {

// Columns of the first product are a multiple, so that few contexts serve all lengths.
inline constexpr size_t kColumnStep = kAttentionBlock / 4;

// Groups of units on their way: the NPU makes scores of the others while the CPU weighs those of the first.
inline constexpr size_t kAttentionGroups = 4;

// Rows that a thread weighs or adds at a time.
inline constexpr size_t kRowsOfAttentionTask = 16;

// Positions of a head's keys, or of its values, that a thread packs at a time: between multiples of it.
inline constexpr size_t kPositionsOfPacking = 64;
constexpr size_t packing_tasks(size_t first, size_t count) {
    return (first % kPositionsOfPacking + count + kPositionsOfPacking - 1) / kPositionsOfPacking;
}

// Positions that one run multiplies by values: its K. Longer runs read values less often, short prompts have no use
// for them. By the block alone, so that sums have one order. `longest`: for trials.
inline constexpr size_t value_depth(size_t block, size_t longest = kAttentionBlock) {
    return block == 0 ? kValueBlock : longest;
}

// Rows of a KV head in pieces of at most kMaxRows, for one core each: as few as can be, all but the last one alike, and that one no
// longer. So cores have the same to do, and work areas the same size.
//
// The chunks of a prompt have kFewestTokens to kMostChunkTokens tokens, and its last ones others than the first. No piece of any
// is longer than those of the longest chunk, and all areas are for these: areas of several sizes would be kept side by side.
inline constexpr size_t kMostChunkTokens = 128;
struct AttentionPieces {
    AttentionPieces(size_t tokens, size_t group);

    size_t all;      // rows
    size_t count;    // pieces
    size_t longest;  // rows of all but the last one
    size_t room;     // that areas are for: one of row_buckets()

    size_t first(size_t piece) const { return piece * longest; }
    size_t rows(size_t piece) const { return std::min(longest, all - first(piece)); }
};

// Elements of a value, above which it is wide.
inline constexpr size_t kWideValues = 128;

// Contexts that attentions of one shape of heads need, whatever their tokens and positions.
inline constexpr size_t attention_contexts(size_t cores) {
    return (kAttentionBlock / kColumnStep + kPartsOfBlock) * cores;
}

// What heads that have keys and values take. All sizes are bytes; rows: one of row_buckets(), AttentionPieces::room for areas.
struct AttentionSizes {
    // Widths of a key and of a value.
    AttentionSizes(size_t heads, size_t keys, size_t values);
    bool operator==(const AttentionSizes&) const = default;

    size_t kv_heads;
    size_t key_width;    // padded: K of the first product
    size_t value_width;  // padded: N of the second one

    // Packed keys and values of a block of positions.
    size_t head() const;
    size_t block() const { return kv_heads * head(); }
    // How many blocks are kept, for all places together: 1 or more.
    size_t blocks() const { return kept_blocks(block()); }

    size_t queries(size_t rows) const;
    size_t scores(size_t rows, size_t columns) const;
    size_t weights(size_t rows, size_t depth) const;
    // Positions that the area for weights of the block's part is for. With wide heads, whose areas take most, the second part of the
    // first block lies where later blocks have theirs.
    size_t weight_depth(size_t block, size_t part) const {
        return block == 0 && (part == 0 || value_width <= kWideValues) ? kValueBlock : kAttentionBlock;
    }
    size_t values(size_t rows) const;

    // What all places take together, at most, for chunks of `tokens` tokens of a prompt of so many positions, whose KV
    // heads have `group` query heads each.
    uint64_t of_prompt(size_t group, size_t tokens, size_t positions, size_t cores) const;
};

// Of the blocks of keys and values that there are, the place's own copy, unless it lacks something that the other place's
// has; null if there is none.
template <typename Blocks, typename Layer, typename Lacks>
auto find_block(Blocks& blocks, Layer layer, size_t number, size_t place, const Lacks& lacks) {
    decltype(&*blocks.begin()) own = nullptr;
    decltype(own) others = nullptr;
    for (auto& block : blocks)
        if (block.layer == layer && block.number == number) (block.place == place ? own : others) = &block;
    const bool whole = others != nullptr && !lacks(*others);
    return whole && (own == nullptr || lacks(*own)) ? others : own;
}

// The block whose memory a new one of the layer gets: that of another layer's that was used longest ago; or, since
// blocks of a layer are asked for in turns, that of this layer's which will be needed last. Null: all are held.
template <typename Blocks, typename Layer, typename IsHeld>
auto block_to_replace(Blocks& blocks, Layer layer, const IsHeld& is_held) {
    decltype(&*blocks.begin()) oldest = nullptr;
    decltype(oldest) newest = nullptr;
    for (auto& block : blocks) {
        if (is_held(block)) continue;
        if (block.layer != layer && (oldest == nullptr || block.used < oldest->used)) oldest = &block;
        if (block.layer == layer && (newest == nullptr || block.used > newest->used)) newest = &block;
    }
    return oldest != nullptr ? oldest : newest;
}

}  // namespace rknpu2
