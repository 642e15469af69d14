// SPDX-License-Identifier: MIT
// Multiplications by weights as they are stored, on the CPU, with sums in float64: the precision `reference`,
// and what is left when the NPU fails.
#pragma once

#include "matmul/npu_resources.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

// out[m * N + n] = sum over k of a[m * K + k] * weight[n][k], m < M. Counts nothing but the time. Thread
// safe.
Status multiply_stored(NpuResources& npu, const WeightSource& source, const float* a, size_t M, float* out);

// After a failure of the NPU or of packing, and counted among the faults.
Status multiply_after_fault(NpuResources& npu, const WeightSource& source, const float* a, size_t M,
                            float* out);

}  // namespace rknpu2
