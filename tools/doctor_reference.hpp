// SPDX-License-Identifier: MIT
// The operands of a self-test and what their product has to be.
//
// Integer results have to agree bit by bit:
//   int8 to int32   sums are exact
//   int8 to int8    scales are 1; sums beyond a byte are clipped
//   int4 to int16   sums beyond 16 bits are clipped. The one sum that is has products of one sign only, so
//   that
//                   it does not matter how often the chip clips on the way
//
// fp16: small integers, whose sums are exact in any order and, for results in fp16, after any rounding: all
// bits. Fractions: within 2^-19 of the sum of |a * b| (the order of the sum on the chip is not known), and
// half a unit in the last place more when the result is fp16, which is rounded to nearest.
#pragma once

#include <cstddef>
#include <vector>

#include "doctor_self_test.hpp"

namespace rknpu2 {

// Row-major operands, as numbers that every type holds exactly.
struct Numbers {
    std::vector<float> a;  // [M, K]
    std::vector<float> b;  // [N, K]
};

// The same for the same shape and type, whatever the layout.
Numbers draw_numbers(const SelfTestCase& test);

// Writes the operands to device memory in the types and layouts of `test`.
void lay_out(const SelfTestCase& test, const Numbers& numbers, NpuMemory& a, NpuMemory& b);

// Compares all M * N results in `c` and notes in `result` how many are wrong, and the first.
void compare(const SelfTestCase& test, const Numbers& numbers, const NpuMemory& c, SelfTestResult& result);

}  // namespace rknpu2
