// SPDX-License-Identifier: MIT
// The keys and values that the plug-in packs while a graph is computed (src/attention/kv_cells.hpp): what is there, and
// what each attention has to add.
#pragma once

#include <array>
#include <bitset>
#include <vector>

#include "plan/attention_sizes.hpp"
#include "predict/stages.hpp"

namespace rknpu2 {

AttentionSizes attention_sizes(const ModelShape& model);

// What some tokens see of a cache, by parts of kValueBlock positions. Caches of a window are rings.
using SeenParts = std::vector<std::bitset<kValueBlock>>;
bool sees(const SeenParts& seen, size_t part);

// The keys and values that one layer's attention of some tokens has to pack, by groups of blocks that fit into the
// memory for them together.
struct PackedBlocks {
    struct Group {
        std::vector<size_t> blocks;
        double rows_read = 0, rows_written = 0;  // of a head's keys
        double rows_published = 0, values_published = 0;
        size_t tasks = 0;  // of one head's keys or values each
        size_t buffers = 0;
    };
    std::vector<Group> groups;
};

// The blocks that are there, while a graph is computed: src/attention/kv_cells.hpp.
class KvBlocks {
  public:
    KvBlocks(const ModelShape& model, const EngineSchedule& engine);
    // `place`: of those that go on at the same time. Each has a copy of its own of a block that still grows.
    PackedBlocks pack(int64_t layer, const SeenParts& seen, size_t place);

  private:
    struct Block {
        int64_t layer = -1;
        size_t number = 0;
        size_t place = 0;
        uint64_t used = 0;
        SeenParts packed;
        std::array<bool, kPartsOfBlock> begun{};  // are all its positions packed, or zeros?
    };
    bool lacks(const Block& block, const SeenParts& seen) const;
    bool is_held(const Block& block) const;
    Block& block_for(int64_t layer, size_t number, const SeenParts& seen, size_t place);
    void pack(Block& block, const SeenParts& seen, PackedBlocks::Group& group) const;

    size_t room_;
    size_t heads_;
    size_t value_rows_;
    uint64_t uses_ = 0;
    std::vector<Block> blocks_;
    std::vector<std::vector<const Block*>> held_;  // by place
};

}  // namespace rknpu2
