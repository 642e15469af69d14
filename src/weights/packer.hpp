// SPDX-License-Identifier: MIT
// From a stored weight to packed cells: dequantise, choose scales, write native blocks, in parallel over
// rows.
//
// Each (segment, channel) has a scale: segments are multiplied one by one and added as floats anyway. Rotated
// channels have a zero point each, in the middle of their values: about a tenth less to be rounded. Cost: one
// pass over the weight (two for the naive precision, which needs the largest value first) and a scratch of 32
// float rows for each thread, twice that when the plan rotates.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>

#include "calibration/activation_stats.hpp"
#include "system/thread_pool.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

// Must be raised whenever pack_weight() would write anything else for the same weight: the layout, the choice
// of scales, rotation, smoothing, the plan's padding. Files with another number are not used
// (weight_cache.hpp).
inline constexpr uint32_t kPackingVersion = 2;

// Writes the cells of a reserved weight, and returns what they are. Without statistics a weight that rotation
// would harm is not rotated (cost_of_rotation()). Fails when there is no memory for the scratch rows; the
// cells' content is undefined then.
Result<PackedWeight> pack_weight(const ReservedWeight& reserved, ThreadPool& pool);

// Makes packed.far_channels of the far ones among the scales that pack_weight() or a file gave, and so makes
// the weight whole. Files hold weights as they were before.
void separate_far_channels(PackedWeight& packed);

// A line in the log now and then while many weights are packed or loaded, so that a long first token is no
// mystery. Thread safe.
class PackingProgress {
  public:
    // `doing`: what the line begins with; a literal.
    explicit PackingProgress(const char* doing) : doing_(doing) {}

    // A weight is done. Logs at most once in two seconds of work; a pause of that length starts a new count.
    void add(size_t packed_bytes);

  private:
    using Clock = std::chrono::steady_clock;
    const char* const doing_;
    std::mutex mutex_;
    Clock::time_point last_done_{};
    Clock::time_point last_line_{};
    size_t weights_ = 0;
    size_t bytes_ = 0;
};

// Whether a weight is to be rotated before it is rounded (kernels/rotate.hpp). Rotation is there for outliers,
// and makes the values of a block alike to a normal distribution. Weights that are spread more evenly lose by it:
// the largest of evenly distributed values is 1.7 times the root mean square, after rotation 3 to 4 times, which
// costs as much in steps of int8. So a weight is rotated unless its rounding becomes clearly worse. Weights of
// language models never become so (measured: docs/quality.md); those of ggml's own tests, which are evenly
// distributed, do.

// How many times as large rounding errors may become. They grow with the square of a row's largest value.
inline constexpr double kRotationMayCost = 2.0;

// Returns the mean square of some rows' largest values when rotated, divided by that of the rows as stored: about
// 1 for a normal distribution, less with outliers, more for evenly distributed values; 1 for a weight of zeros
// or with values that are not finite.
Result<double> cost_of_rotation(const WeightSource& weight);

}  // namespace rknpu2
