// SPDX-License-Identifier: MIT
// A context with operands of its own, bound and ready to run.
#pragma once

#include <memory>

#include "base/status.hpp"
#include "doctor_measure.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

struct Prepared {
    std::unique_ptr<NpuContext> context;
    std::unique_ptr<NpuMemory> a, b, c;
};

// All bytes of A and B are 1: times do not depend on values. What was made is in `to` also after a failure.
Status prepare(NpuRuntime& runtime, const SpeedShape& shape, int core, Prepared& to);

}  // namespace rknpu2
