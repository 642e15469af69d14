// SPDX-License-Identifier: MIT
// Products on all cores while the simulator fails as RKNNSIM_FAULTS says.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {

// One product [M, N] = a [M, K] * weight [N, K] transposed, and what the plug-in said of it.
struct FaultyProduct {
    bool computed = false;
    std::vector<float> out;          // empty unless computed
    std::vector<std::string> lines;  // of the plug-in's log
    double error = 0;                // relative error against float64; of a computed one
};

// Multiplies `rounds` times, by other activations each time, whatever fails, and expects that nothing of the
// runtime stays behind. Only in a process of its own (run_alone), since the settings are read at the load of
// the plug-in, which happens here. Empty, with a failure of the test, when that does not succeed.
std::vector<FaultyProduct> multiply_under_faults(const std::string& faults, const std::string& on_error,
                                                 ggml_type type, const Shape& shape, int rounds);

}  // namespace rknpu2::test
