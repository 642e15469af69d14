// SPDX-License-Identifier: MIT
// Where a graph's matrices are multiplied, by the plug-in's own choice (src/plan/cheapest_way.hpp), and what the CPU
// takes for them.
//
// The CPU reads a weight as it is stored, at the rate of four A76, or is as slow as its multiply-adds. That is also the
// CPU backend alone, which is compared with: the same passes, attention by ggml, no thread that has to be woken.
#pragma once

#include "predict/stages.hpp"

namespace rknpu2 {

// The planner's rates, of that board.
BoardRates rates_of(const BoardProfile& board);

// By layer and group, the head behind the last layer.
Places places_of(const Setting& setting, const Rows& rows);

// One weight of N rows of K elements.
Operation cpu_product(const WeightShape& weight, int64_t rows, const Setting& setting);

}  // namespace rknpu2
