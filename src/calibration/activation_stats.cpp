// SPDX-License-Identifier: MIT
#include "calibration/activation_stats.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/hash.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kFingerprintWords = 256;

}  // namespace

uint64_t weight_fingerprint(const WeightSource& weight) {
    uint64_t state = hash_words(weight.type_name.data(), weight.type_name.size());
    state = hash_step(hash_step(state, weight.N), weight.K);
    const size_t bytes = weight.bytes();
    const auto* const data = reinterpret_cast<const char*>(weight.data);
    if (bytes <= kFingerprintWords * sizeof(uint64_t)) return hash_step(state, hash_words(data, bytes));
    const size_t last = bytes - sizeof(uint64_t);
    for (size_t i = 0; i < kFingerprintWords; ++i) {
        // The last word is among them even when the division leaves a remainder.
        const size_t at = i + 1 == kFingerprintWords ? last : last / (kFingerprintWords - 1) * i;
        uint64_t word = 0;
        std::memcpy(&word, data + at, sizeof word);
        state = hash_step(state, word);
    }
    return state;
}

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
