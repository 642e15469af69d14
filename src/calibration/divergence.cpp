// SPDX-License-Identifier: MIT
#include "calibration/divergence.hpp"

#include <algorithm>
#include <cmath>

namespace rknpu2 {
namespace {

double log_sum_exp(const float* logits, size_t N) {
    const double largest = *std::max_element(logits, logits + N);
    double sum = 0;
    for (size_t n = 0; n < N; ++n)
        sum += std::exp(logits[n] - largest);
    return largest + std::log(sum);
}

double row_divergence(const float* base, const float* other, size_t N) {
    const double base_norm = log_sum_exp(base, N);
    const double other_norm = log_sum_exp(other, N);
    double sum = 0;
    for (size_t n = 0; n < N; ++n) {
        const double log_p = base[n] - base_norm;
        sum += std::exp(log_p) * (log_p - (other[n] - other_norm));
    }
    return std::isnan(sum) ? sum : std::max(sum, 0.0);  // rounding can leave it a little below 0
}

}  // namespace

double mean_divergence(const float* base, const float* other, size_t rows, size_t N) {
    if (rows == 0) return 0;
    double sum = 0;
    for (size_t row = 0; row < rows; ++row)
        sum += row_divergence(base + row * N, other + row * N, N);
    return sum / static_cast<double>(rows);
}

}  // namespace rknpu2
