// SPDX-License-Identifier: MIT
// How fast the kernels between floats and the NPU are, as a share of memcpy.
//
// Seconds mean little on a PC; what carries over is how near a kernel is to only moving its bytes. So each
// kernel's bytes read plus written in a second are divided by those of a memcpy between buffers larger than
// any cache, and all of them take turns in one process: what disturbs the machine disturbs all alike. The
// figures are medians over the rounds. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

struct KernelBenchSettings {
    size_t M = 512;
    size_t K = 4096;
    size_t N = 4096;
    size_t rounds = 15;  // 1 or more
};

struct KernelSpeed {
    std::string name;
    size_t bytes = 0;    // read plus written in one call, each array once
    double gbps = 0;     // median; GB = 1e9 bytes
    double of_copy = 0;  // median of the ratios of each round
    double low = 0;      // the smallest and the largest of those ratios
    double high = 0;
};

// The first one is the memcpy itself.
Result<std::vector<KernelSpeed>> measure_kernels(const KernelBenchSettings& settings);

}  // namespace rknpu2
