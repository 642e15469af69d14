// SPDX-License-Identifier: MIT
// From what was measured on a board to the rates of the cost model, and back.
//
// They serve the choice between NPU and CPU only. How weights are cut and packed follows kBoardRates on every board, so that bits and
// files of packed weights do not depend on a measurement.
#pragma once

#include <vector>

#include "plan/policy.hpp"
#include "runtime/measured_rates.hpp"

namespace rknpu2 {

// What is not measured stays the model's. The NPU's rate is that of `cores` cores together; those of other counts, and of weights that
// are read again and again, change in the same proportion.
BoardRates rates_of_board(const MeasuredRates& measured, int cores);

// A profile's, whose NPU rate is that of all cores together, when `cores` are in use.
MeasuredRates rates_of_cores(MeasuredRates of_profile, int cores);

// Are repeats so much alike that the least of them is the board's own time? Then a quarter of them, two at least, take at most half as
// long again. Where one is alone, the others were disturbed, and it may have been, too.
bool least_is_credible(std::vector<double> times_us);

// A multiplication of one row, and how long it took.
struct TimedCall {
    MatrixCall call;
    double us = 0;
};

// The run call and the stream of weights with which the model says just what two calls took, which differ in their bytes: where both
// can be had. Else (a call that took no longer for more bytes) kInternal.
Status solve_npu(const TimedCall& small, const TimedCall& large, const Config& config, MeasuredRates& rates);

// The CPU's, of the stored weights' width in bits, likewise: two calls of one row, and one of several. `region_us` comes of the
// small one.
struct CpuTimes {
    TimedCall small, large, rows;
};
Status solve_cpu(const CpuTimes& four_bits, const CpuTimes& eight_bits, MeasuredRates& rates);

}  // namespace rknpu2
