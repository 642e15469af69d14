// SPDX-License-Identifier: MIT
// How long multiplications of given shapes take through the plug-in's own path, from float32 activations to
// float32 results, on whatever runtime there is.
//
// All settings (precision, cores) of a shape take turns in one process; figures are medians over the rounds.
// Weights and activations are random with a fixed
// seed. One row of every result is compared with float64 arithmetic: a fast multiplication that is wrong is
// not fast. On a board these are the board's times. On the simulator they are a PC's, and `chip_ns` is what
// the NPU's part would take on the chip, by the simulator's model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

// "512x4096x11008" is M = 512, K = 4096, N = 11008; each 1 .. 2^20, and N * K at most 2^32.
Result<MatmulShape> parse_matmul_shape(const std::string& text);

struct MatmulSetting {
    Precision precision = Precision::kFast;  // not kReference
    int cores = 3;
};

struct MatmulBenchSettings {
    std::vector<MatmulShape> shapes;
    std::vector<MatmulSetting> settings;
    std::string runtime;  // the library's path
    Config config;        // all else: threads, affinity
    size_t rounds = 5;    // 1 or more
};

// `progress` is called before each shape with its index. Results are in the order of shapes, then settings: of
// each the shape and setting (M, K, N, precision, cores); nanoseconds of one multiplication as wall time
// (wall_ns: median, low, high), as the phases summed over the threads (quantise_ns, npu_ns, dequantise_ns) and
// as chip_ns of the core that works longest (null but on the simulator); runs, weight_bytes, activation_bytes
// and result_bytes, counted, of one multiplication; the error of the first row, relative to float64
// arithmetic on the stored weight (Frobenius).
Result<std::vector<nlohmann::ordered_json>> measure_matmuls(const MatmulBenchSettings& settings,
                                                            const std::function<void(size_t)>& progress);

}  // namespace rknpu2
