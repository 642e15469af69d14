// SPDX-License-Identifier: MIT
// Second moments of activations: how the channels of a row move together, in diagonal blocks.
//
// E[x x^T] says what an error of a weight's row costs in the result, and how far the error of one weight is taken
// back by its neighbours (weights/four_bits.hpp). It is kept for rows as int4 weights meet them: cut into segments,
// rotated and mixed (kernels/rotate.hpp), without smoothing, so that the basis follows from K alone and is known
// while rows are gathered. Each segment keeps its diagonal blocks of 256 channels, the last one may have fewer: of
// all K there are too many. A block is kept as each channel's mean square and each pair's correlation in 127ths, half
// a byte for each channel of a block: what that rounds off is far below what a text of some thousand tokens leaves
// unknown (docs/quality.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "plan/weight_plan.hpp"

namespace rknpu2 {

inline constexpr size_t kMomentBlock = 256;

struct SecondMoments {
    std::vector<KSegment> segments;
    // Channel by channel, segment after segment; the rotation's factor is taken off. Finite and not negative.
    std::vector<float> squares;
    // Segment after segment, block after block, row after row: with the channels that follow in the block.
    std::vector<int8_t> correlations;
    uint64_t identity = 0;  // a hash of all
};

// The blocks of a segment.
constexpr size_t moment_blocks(size_t K_padded) {
    return ceil_div(K_padded, kMomentBlock);
}
constexpr size_t moment_block_size(size_t K_padded, size_t block) {
    return std::min(kMomentBlock, K_padded - block * kMomentBlock);
}
size_t channel_count(const std::vector<KSegment>& segments);
size_t correlation_count(size_t K_padded);
size_t correlation_count(const std::vector<KSegment>& segments);

// Null when there are not as many as the segments ask for, or a mean square is none.
std::shared_ptr<const SecondMoments> make_moments(std::vector<KSegment> segments, std::vector<float> squares,
                                                  std::vector<int8_t> correlations);

// Sums of rows. Copied where rows of several weights were equal so far and differ from here on.
class MomentSums {
  public:
    explicit MomentSums(size_t K);

    // M rows of K activations; rows that are not finite are left out. Cost: 128 multiplications for each of them.
    void add(const float* rows, size_t M);

    // Null when there were no rows, or a sum left the range of float.
    std::shared_ptr<const SecondMoments> moments() const;

  private:
    void add_segment(const float* rows, size_t M, const KSegment& segment, float* sums);

    size_t K_;
    uint64_t rows_ = 0;
    std::vector<KSegment> segments_;
    std::vector<float> sums_;  // [segment][block][channel][channel], the upper triangles
    std::vector<float> rotated_;
};

}  // namespace rknpu2
