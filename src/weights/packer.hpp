// SPDX-License-Identifier: MIT
// From a stored weight to packed cells: dequantise, choose scales, write native blocks, in parallel over
// rows.
//
// Each (segment, channel) has a scale: segments are multiplied one by one and added as floats anyway. Rotated
// channels have a zero point each, in the middle of their values: about a tenth less to be rounded. Cost: one
// pass over the weight (two for the naive precision, which needs the largest value first) and a scratch of 32
// float rows for each thread, twice that when the plan rotates.
#pragma once

#include "calibration/activation_stats.hpp"
#include "plan/weight_source.hpp"
#include "system/thread_pool.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

// Must be raised whenever pack_weight() would write anything else for the same weight: the layout, the choice
// of scales, rotation, smoothing, the plan's padding. Files with another number are not used
// (weight_cache.hpp).
inline constexpr uint32_t kPackingVersion = 2;

// Writes the cells of a reserved weight, and returns what they are. Without statistics a weight that rotation
// would harm is not rotated (rotation_choice.hpp). Fails when there is no memory for the scratch rows; the
// cells' content is undefined then.
Result<PackedWeight> pack_weight(const ReservedWeight& reserved, ThreadPool& pool);

// Makes packed.far_channels of the far ones among the scales that pack_weight() or a file gave, and so makes
// the weight whole. Files hold weights as they were before.
void separate_far_channels(PackedWeight& packed);

}  // namespace rknpu2
