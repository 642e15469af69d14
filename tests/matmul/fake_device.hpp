// SPDX-License-Identifier: MIT
// A device over the fake runtime, as most tests of src/matmul want it: two threads, a failure is a failure,
// all else as it comes.
#pragma once

#include <memory>

#include "matmul/npu_device.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2::testing {

inline std::shared_ptr<NpuDevice> new_device(FakeState& state, Counters& counters, Precision precision,
                                             int cores = 3, std::vector<OnError> on_error = {},
                                             int columns = 16384) {
    Config config;
    config.precision = precision;
    config.cores = cores;
    config.columns = columns;
    config.threads = 2;
    config.on_error = std::move(on_error);
    return std::make_shared<NpuDevice>(std::make_unique<FakeRuntime>(state), config, counters);
}

}  // namespace rknpu2::testing
