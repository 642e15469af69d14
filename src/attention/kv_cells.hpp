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
// Attentions in kPlaces places may be under way at the same time. Nothing is written to a block that runs of
// another one read: each place has a copy of its own of a block that still grows. Copies that have all that is
// asked for are read in common.
//
// When there is no room for all blocks of a layer, some are packed again for each attention.
//
// One object for each shape of heads of a flow, or for a node that is computed alone; used by one thread, which has
// the device.
#pragma once

#include <bitset>

#include "attention/visibility.hpp"
#include "matmul/npu_resources.hpp"
#include "plan/attention_sizes.hpp"

namespace rknpu2 {

// Work areas of attention have indices from here on: beside those of a flow that runs.
inline constexpr size_t kAttentionAreas = size_t{1} << 32;
inline constexpr size_t kAreasOfCells = kAttentionAreas << 1;

class KvCells {
  public:
    // For attentions of the problem's shape, in that domain. first_area: one of kAreasOfCells on.
    KvCells(NpuResources& npu, const AttentionProblem& problem, int domain, size_t first_area);

    bool are_for(const AttentionProblem& problem, int domain) const;
    // All blocks. Nothing may read them.
    void forget();
    // How many blocks each place can have at the same time, 1 or more.
    size_t room() const { return std::max<size_t>(sizes_.blocks() / kPlaces, 1); }

    // May pack() be called, or would it write what another place reads?
    bool may_pack(const Visibility& visibility, uint64_t layer, std::span<const size_t> blocks,
                  size_t place) const;
    // Has the blocks (at most room() of them) packed as far as some token sees them. They stay until the next call for
    // that place. `layer` tells keys and values of the graph from others. Runs of the place may read nothing now.
    Status pack(const AttentionProblem& problem, const Visibility& visibility, uint64_t layer,
                std::span<const size_t> blocks, size_t place);
    // The place reads nothing any more.
    void release(size_t place) { held_[place].clear(); }

    // Does the token see a position of the place's blocks that has no half?
    bool sees_what_has_no_half(const AttentionProblem& problem, size_t token, size_t place) const;
    // `block` is one that the last pack() for the place has named. `columns` of the keys: a multiple of 16.
    Slice keys(size_t place, size_t block, size_t head, size_t columns) const;
    // part: of value_depth() positions.
    Slice values(size_t place, size_t block, size_t head, size_t part) const;

    const AttentionSizes& sizes() const { return sizes_; }

  private:
    struct Block {
        Slice memory;
        uint64_t layer = 0;
        size_t number = SIZE_MAX;  // SIZE_MAX: none
        size_t place = 0;          // whose copy it is
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

    static bool lacks(const Block& block, const Visibility& visibility);
    bool is_held(const Block& block, size_t but_by = SIZE_MAX) const;
    Result<Block*> new_block(uint64_t layer, size_t number, size_t place);
    void add_work(Block& block, const Visibility& visibility, std::vector<Work>& work) const;
    Slice keys_of(const Block& block, size_t head, size_t columns) const;
    Slice values_of(const Block& block, size_t head, size_t part) const;
    // One head's keys or its values, at positions between two multiples of kPositionsOfPacking.
    struct Task {
        const Work* work;
        size_t head;
        bool values;
        size_t first, count;  // counted from the work's first one
    };
    std::vector<Task> tasks_of(const std::vector<Work>& work) const;
    void pack(const AttentionProblem& problem, const Task& task);
    Status publish(std::span<const Work> work);

    NpuResources& npu_;
    const int domain_;
    const size_t first_area_;
    const AttentionSizes sizes_;
    uint64_t uses_ = 0;
    std::vector<Block> blocks_;
    std::mutex no_half_mutex_;                         // guards those of all blocks
    std::array<std::vector<Block*>, kPlaces> held_{};  // of the last pack() for each place
};

}  // namespace rknpu2
