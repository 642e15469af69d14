// SPDX-License-Identifier: MIT
// Keys and values as the NPU reads them: blocks of kAttentionBlock positions, packed from the host's cache while
// a graph is computed, and forgotten with it. No second cache is kept.
//
// A block of all KV heads is one buffer. In it each head has its keys, one operand of the first product, and its
// values, an operand of the second product for each part of value_depth() positions. A position is packed when
// the first token comes that may see it. One that no token may see is stored as zeros, whatever the cache holds
// there: infinities and NaN of an earlier request never reach a product. One that a token sees and that has no
// half (an infinity, a NaN, a number beyond 65504) is stored as zeros, too, and noted: such tokens are not for
// the NPU.
//
// When there is no room for all blocks of a layer, some are packed again for each call.
//
// One object for each flow, or for a node that is computed alone; used by one thread, which has the device.
#pragma once

#include <bitset>

#include "attention/visibility.hpp"
#include "matmul/npu_resources.hpp"

namespace rknpu2 {

// Bytes of all blocks that are kept, unless one alone is larger.
inline constexpr size_t kMostCellBytes = size_t{64} << 20;

// Work areas of attention have indices from here on: beside those of a flow that runs.
inline constexpr size_t kAttentionAreas = size_t{1} << 32;
inline constexpr size_t kAreasOfCells = kAttentionAreas << 1;

// Positions that one run multiplies by values: its K. Longer runs read values less often, short prompts have no use
// for them. By the block alone, so that sums have one order.
inline constexpr size_t value_depth(size_t block) {
    return block == 0 ? kValueBlock : kAttentionBlock;
}

class KvCells {
  public:
    explicit KvCells(NpuResources& npu) : npu_(npu) {}

    // From now on: blocks of attentions of this shape, in that domain. All blocks of another shape are forgotten.
    void use(const AttentionProblem& problem, int domain);
    // All blocks.
    void forget();
    // How many blocks can be there at the same time, 1 or more.
    size_t room() const { return room_; }

    // Has the blocks (at most room() of them) packed as far as some token sees them. `layer` tells keys and values
    // of the graph from others. Nothing that reads them may run.
    Status pack(const AttentionProblem& problem, const Visibility& visibility, uint64_t layer,
                std::span<const size_t> blocks);

    // Does the token see a position of these blocks that has no half?
    bool sees_what_has_no_half(const AttentionProblem& problem, size_t token) const;
    // `block` is one that the last pack() has named. `columns` of the keys: a multiple of 16.
    Slice keys(size_t block, size_t head, size_t columns) const;
    // part: of value_depth() positions.
    Slice values(size_t block, size_t head, size_t part) const;

    size_t key_width() const { return key_width_; }      // padded: K of the first product
    size_t value_width() const { return value_width_; }  // padded: N of the second one

  private:
    struct Block {
        Slice memory;
        uint64_t layer = 0;
        size_t number = SIZE_MAX;  // SIZE_MAX: none
        uint64_t used = 0;
        std::bitset<kAttentionBlock> packed;
        std::bitset<kAttentionBlock> no_half;
        std::array<bool, kPartsOfBlock> begun{};  // are all its positions packed, or zeros?
    };
    // Positions of a part that are to be packed, for all heads.
    struct Work {
        Block* block = nullptr;
        size_t part = 0;   // of the block
        size_t first = 0;  // position within the part
        size_t count = 0;
        std::array<uint8_t, kValueBlock> seen{};
    };

    Result<Block*> block_for(uint64_t layer, size_t number);
    void add_work(Block& block, const Visibility& visibility, std::vector<Work>& work) const;
    void pack_head(const AttentionProblem& problem, const Work& work, size_t head);
    Status publish(std::span<const Work> work);
    size_t head_bytes() const;

    NpuResources& npu_;
    int domain_ = 0;
    size_t heads_ = 0;
    size_t key_width_ = 0;
    size_t value_width_ = 0;
    size_t room_ = 1;
    uint64_t uses_ = 0;
    std::vector<Block> blocks_;
    std::mutex no_half_mutex_;     // guards those of all blocks
    std::vector<Block*> current_;  // of the last pack()
};

}  // namespace rknpu2
