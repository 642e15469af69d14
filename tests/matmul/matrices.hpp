// SPDX-License-Identifier: MIT
// A random weight and random activations, as a test of the device wants them, and the error of their product.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "plan/weight_source.hpp"

namespace rknpu2::testing {

struct Matrices {
    size_t M, N, K;
    std::vector<float> a;  // [M, K]
    std::vector<float> w;  // [N, K]

    Matrices(size_t m, size_t n, size_t k, uint32_t seed) : M(m), N(n), K(k), a(m * k), w(n * k) {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        for (float& x : a)
            x = normal(random);
        for (float& x : w)
            x = normal(random);
    }

    WeightSource source() const {
        WeightSource s;
        s.name = "w";
        s.type_name = "f32";
        s.N = N;
        s.K = K;
        s.data = reinterpret_cast<const std::byte*>(w.data());
        s.row_bytes = K * sizeof(float);
        s.dequantise = [](const void* row, float* out, int64_t count) {
            std::memcpy(out, row, static_cast<size_t>(count) * sizeof(float));
        };
        return s;
    }

    // Element (m, n) of the product in float64 arithmetic.
    double exact(size_t m, size_t n) const {
        double sum = 0;
        for (size_t k = 0; k < K; ++k)
            sum += static_cast<double>(a[m * K + k]) * w[n * K + k];
        return sum;
    }

    // Frobenius norm of the difference from float64 arithmetic over that of the result.
    double error_of(const std::vector<float>& out) const {
        double difference = 0;
        double total = 0;
        for (size_t m = 0; m < M; ++m) {
            for (size_t n = 0; n < N; ++n) {
                const double sum = exact(m, n);
                difference += (out[m * N + n] - sum) * (out[m * N + n] - sum);
                total += sum * sum;
            }
        }
        return std::sqrt(difference / total);
    }
};

}  // namespace rknpu2::testing
