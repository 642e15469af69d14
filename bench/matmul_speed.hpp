// SPDX-License-Identifier: MIT
// How long multiplications of given shapes take through the plug-in's own path, from float32 activations to
// float32 results, on whatever runtime there is.
//
// All settings (precision, cores) of a shape take turns in one process, so that what disturbs the machine
// disturbs all alike; figures are medians over the rounds. Weights and activations are random with a fixed
// seed. One row of every result is compared with float64 arithmetic: a fast multiplication that is wrong is
// not fast. On a board these are the board's times. On the simulator they are a PC's, and `chip_ns` is what
// the NPU's part would take on the chip, by the simulator's model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
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

struct MatmulSpeed {
    MatmulShape shape;
    MatmulSetting setting;
    // Nanoseconds of one multiplication: wall time, and the phases summed over the threads.
    double wall_ns = 0, low_ns = 0, high_ns = 0;
    double quantise_ns = 0, npu_ns = 0, dequantise_ns = 0;
    std::optional<double> chip_ns;  // of the core that works longest; on the simulator only
    // Counted, of one multiplication.
    uint64_t runs = 0, weight_bytes = 0, activation_bytes = 0, result_bytes = 0;
    double error = 0;  // of the first row, relative to float64 arithmetic on the stored weight (Frobenius)

    double operations() const {
        return 2.0 * static_cast<double>(shape.M * shape.K) * static_cast<double>(shape.N);
    }
};

// `progress` is called before each shape with its index. Results are in the order of shapes, then settings.
Result<std::vector<MatmulSpeed>> measure_matmuls(const MatmulBenchSettings& settings,
                                                 const std::function<void(size_t)>& progress);

}  // namespace rknpu2
