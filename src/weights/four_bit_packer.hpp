// SPDX-License-Identifier: MIT
// From rows of a weight to int4 blocks: rounded with error feedback (four_bits.hpp), and looked at for the number
// of pieces that rows of activations must be cut into (kernels/digits.hpp).
#pragma once

#include <atomic>
#include <vector>

#include "weights/four_bits.hpp"
#include "weights/segment_rows.hpp"

namespace rknpu2 {

// One weight's, while it is packed. Threads may pack different rows.
class FourBitPacker {
  public:
    // moments: of the activations, cut as the plan is; null: rows are rounded plainly.
    FourBitPacker(const WeightPlan& plan, const SecondMoments* moments);

    // Kernels first .. first + count - 1 of a block; `last`: the padding behind them is cleared, too.
    struct Kernels {
        std::byte* block;
        const NTile& tile;
        size_t first;
        size_t count;
        bool last() const { return first + count == tile.n_count; }
    };
    // Rotates and packs them. Scales and zero points are those of the rows divided by their units: powers of two, 1
    // for rows of ordinary numbers. means: of rotated activations, or null; errors: what rounding took from each
    // row, times them.
    void pack(size_t segment, const SegmentRows& rows, const Kernels& kernels, double* units,
              const float* means, double* errors);

    // Rows of the cube for each row of activations; after the last pack().
    size_t planes() const { return 2 * pieces_; }

  private:
    std::vector<ErrorFeedback> feedback_;  // by segment; empty without moments
    std::atomic<size_t> pieces_;
};

}  // namespace rknpu2
