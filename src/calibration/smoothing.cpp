// SPDX-License-Identifier: MIT
#include "calibration/smoothing.hpp"

#include <algorithm>
#include <cmath>

namespace rknpu2 {

std::vector<float> smoothing_factors(const ActivationStats& statistics) {
    double loudest = 0;
    for (const float square : statistics.mean_square)
        loudest = std::max(loudest, std::sqrt(static_cast<double>(square)));
    if (loudest == 0) return std::vector<float>(statistics.K, 1.0F);
    std::vector<double> logs;
    double sum = 0;
    for (const float square : statistics.mean_square) {
        const double rms = std::max(std::sqrt(static_cast<double>(square)), loudest * kQuietest);
        logs.push_back(-0.5 * std::log(rms));
        sum += logs.back();
    }
    const double mean = sum / static_cast<double>(logs.size());
    std::vector<float> factors;
    factors.reserve(logs.size());
    for (const double log : logs)
        factors.push_back(static_cast<float>(std::exp(log - mean)));
    return factors;
}

}  // namespace rknpu2
