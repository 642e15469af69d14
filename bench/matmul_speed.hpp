// SPDX-License-Identifier: MIT
// How long a multiplication takes through the plug-in's own path, from float32 activations to float32 results,
// on whatever runtime there is.
//
// Several settings take turns in one process; figures are medians over the rounds. Weights and activations are
// random with a fixed seed. One row of every result is compared with float64 arithmetic: a fast
// multiplication that is wrong is not fast. On a board these are the board's times. On the simulator they are
// a PC's, and `chip_ns` is what the NPU's part would take on the chip, by the simulator's model.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "config/config.hpp"

namespace rknpu2 {

// [M, K] activations times [N, K] weights.
struct MatmulShape {
    size_t M = 0;
    size_t K = 0;
    size_t N = 0;
    friend bool operator==(const MatmulShape&, const MatmulShape&) = default;
};

// "512x4096x11008".
std::string shape_text(const MatmulShape& shape);

// `runtime`: the library's path. Returns for each setting the shape, precision and cores; nanoseconds of one
// multiplication as wall time (wall_ns: median, low, high), as the phases summed over the threads
// (quantise_ns, npu_ns, dequantise_ns) and as chip_ns of the core that works longest (null but on the
// simulator); runs, weight_bytes, activation_bytes and result_bytes, counted, of one multiplication; the error
// of the first row, relative to float64 arithmetic on the stored weight (Frobenius).
Result<std::vector<nlohmann::ordered_json>> measure_matmul(const MatmulShape& shape,
                                                           const std::vector<Config>& settings,
                                                           const std::string& runtime, size_t rounds);

}  // namespace rknpu2
