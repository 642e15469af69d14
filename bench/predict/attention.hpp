// SPDX-License-Identifier: MIT
// Attention as the plug-in computes it with the NPU (src/attention/npu_attention.hpp): its runs, the CPU's passes
// between them, and what waits for what.
#pragma once

#include <array>
#include <bitset>
#include <span>
#include <utility>

#include "kernels/attention.hpp"
#include "predict/stages.hpp"

namespace rknpu2 {

// What some tokens see of a cache, by parts of kValueBlock positions. Caches of a window are rings.
using SeenParts = std::vector<std::bitset<kValueBlock>>;

// The keys and values that one layer's attention of some tokens has to pack, by groups of blocks that fit into the
// memory for them together.
struct PackedBlocks {
    struct Group {
        std::vector<size_t> blocks;
        double rows_read = 0, rows_written = 0;  // of a head's keys
        double rows_published = 0, values_published = 0;
        size_t tasks = 0;  // of one head each
        size_t buffers = 0;
    };
    std::vector<Group> groups;
};

// The blocks that are there, while a graph is computed: src/attention/kv_cells.hpp.
class KvBlocks {
  public:
    KvBlocks(const ModelShape& model, const EngineSchedule& engine);
    PackedBlocks pack(int64_t layer, const SeenParts& seen);

  private:
    struct Block {
        int64_t layer = -1;
        size_t number = 0;
        uint64_t used = 0;
        SeenParts packed;
        std::array<bool, kAttentionBlock / kValueBlock> begun{};  // are all its positions packed, or zeros?
    };
    Block& block_for(int64_t layer, size_t number);
    void pack(Block& block, const SeenParts& seen, PackedBlocks::Group& group) const;

    size_t room_;
    size_t heads_;
    size_t value_rows_;
    uint64_t uses_ = 0;
    std::vector<Block> blocks_;
    std::vector<std::pair<int64_t, size_t>> current_;
};

// Positions of the cache that attention of that layer is given, for a graph of the tokens `graph`.
size_t positions_of(const Setting& setting, int64_t layer, const Rows& graph);
// What the tokens `rows` of that graph see of them.
SeenParts seen_parts(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph);

Stage npu_attention(const Setting& setting, int64_t layer, const Rows& rows, const Rows& graph,
                    const PackedBlocks& packed);

}  // namespace rknpu2
