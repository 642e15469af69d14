// SPDX-License-Identifier: MIT
// One multiplication as the kernels see it: C = A * B, every operand in native layout, sizes already checked.
//
// The arithmetic, the same in every kernel tier to the last bit:
//
//   integers  exact sums, modulo 2^32. int4 results are then clipped to 16 bits (`Int4Saturation` says over
//             which part of K); int8 results of type 3 are sum * scale, rounded (`Rounding`) and clipped to 8
//             bits.
//   fp16      products are exact in fp32. Within each 32 consecutive k they are added in fp32 in ascending
//             order, starting from +0. Those group sums are added in ascending order in fp64, starting from
//             +0. The total is rounded once, to nearest even, to the type of C. NaN is written as 0x7FC00000
//             or 0x7E00.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.hpp"

namespace rknnsim {

enum class Rounding { kHalfEven, kHalfAway, kDown };
enum class Int4Saturation { kRun, kSegment };

struct Job {
    MatmulType type = MatmulType::kI8I8I32;
    size_t M = 0;
    size_t K = 0;  // a multiple of 32; over 8192, B is a sequence of segments
    size_t N = 0;  // a multiple of the kernel group
    const void* a = nullptr;
    const void* b = nullptr;
    void* c = nullptr;
    double scale = 1.0;  // type 3
    Rounding rounding = Rounding::kHalfEven;
    Int4Saturation int4_saturation = Int4Saturation::kRun;
    uint64_t* clipped = nullptr;  // type 10: grows by the sums that 16 bits did not hold; may be null
};

}  // namespace rknnsim
