// SPDX-License-Identifier: MIT
// Whether the NPU takes a multiplication, and if not, why.
//
// A yes is a promise: plan and run succeed then, short of a failing device or exhausted memory, because a
// ggml scheduler that heard yes has no second choice. Whether it is worth it is another question (policy.hpp).
//
// After a yes, sizes may be multiplied without a thought: every operand, packed weight and stack of experts
// is below kMostOperandBytes.
#pragma once

#include <cstddef>

#include "plan/problem.hpp"

namespace rknpu2 {

enum class Reason {
    kSupported,
    kEmpty,
    kWeightIsComputed,
    kWeightElsewhere,
    kWeightIsTemporary,
    kWeightIsRotation,
    kWeightHasMoreDimensions,
    kWeightHasGaps,
    kWeightType,
    kActivationsType,
    kActivationsHaveGaps,
    kShapesDiffer,
    kTooLarge,
};
inline constexpr int kReasons = static_cast<int>(Reason::kTooLarge) + 1;

// No operand can take more: an address of a program has 47 bits.
inline constexpr size_t kMostOperandBytes = size_t{1} << 47;

// One short phrase, for logs, statistics and rknpu2-info.
const char* reason_text(Reason reason);

Reason support(const MatmulProblem& problem);

}  // namespace rknpu2
