// SPDX-License-Identifier: MIT
// What a flow reads and writes in memory that is not its own: caches and other states, weights, inputs.
//
// Chunks of a flow are at different stages, so the order of two accesses to the same memory is not that of
// their nodes. What was read may not be written later on, whether it was read as a whole or row by row, since
// other rows are still to be read; what was written may not be written again; and what was written is read
// only by attention, which waits (FlowStage::after).
#pragma once

#include <vector>

#include "ggml/node/access.hpp"

namespace rknpu2 {

class FlowOutside {
  public:
    struct Write {
        MemoryRange range;
        const ggml_tensor* node = nullptr;
        int stage = -1;
    };

    void read(const MemoryRange& range) { reads_.push_back(range); }
    void write(const Write& write) { writes_.push_back(write); }

    bool may_write(const MemoryRange& range) const {
        for (const MemoryRange& read : reads_)
            if (overlap(read, range)) return false;
        return !is_written(range);
    }
    bool is_written(const MemoryRange& range) const {
        for (const Write& write : writes_)
            if (overlap(write.range, range)) return true;
        return false;
    }
    // In the order of their nodes.
    const std::vector<Write>& writes() const { return writes_; }

  private:
    std::vector<MemoryRange> reads_;
    std::vector<Write> writes_;
};

}  // namespace rknpu2
