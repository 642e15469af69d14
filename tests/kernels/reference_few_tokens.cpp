// SPDX-License-Identifier: MIT
#include <cmath>
#include <limits>

#include "kernels/reference_kernels.hpp"
#include "matrix/float16.hpp"

namespace rknpu2 {
namespace {

float element(const std::byte* row, bool halves, size_t k) {
    if (!halves) return reinterpret_cast<const float*>(row)[k];
    return float16_to_float(reinterpret_cast<const uint16_t*>(row)[k]);
}

float dot(const float* query, const std::byte* row, bool halves, size_t width) {
    float sums[kFewStep] = {};
    for (size_t k = 0; k < width; ++k)
        sums[k % kFewStep] = std::fma(query[k], element(row, halves, k), sums[k % kFewStep]);
    const auto s = [&](size_t i) { return sums[i] + sums[i + 4]; };
    return (s(0) + s(1)) + (s(2) + s(3));
}

}  // namespace

void score_few(const FewScores& s, TestTier tier) {
    if (tier != TestTier::kReference) return score_few(s, of_product(tier));
    for (size_t m = 0; m < s.rows; ++m)
        for (size_t n = 0; n < s.keys.count; ++n)
            s.scores[m * s.score_stride + n] =
                dot(s.queries + m * s.query_stride, s.keys.rows[n], s.keys.halves, s.keys.width);
}

void weigh_few(const FewWeights& w, TestTier tier) {
    if (tier != TestTier::kReference) return weigh_few(w, of_product(tier));
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    for (size_t m = 0; m < w.rows; ++m) {
        float* const z = w.scores + m * w.stride;
        const uint16_t* const mask = w.masks[m];
        float largest = kNone;
        for (size_t n = 0; n < w.count; ++n) {
            z[n] *= w.factor;
            if (w.softcap != 0.0F) z[n] = softcapped(z[n], w.softcap);
            if (mask != nullptr)
                z[n] =
                    mask[n] == kHiddenMask ? kNone : std::fma(w.slopes[m], float16_to_float(mask[n]), z[n]);
            largest = z[n] > largest ? z[n] : largest;
        }
        float s[kFewStep] = {};
        const float origin = largest == kNone ? 0.0F : largest;
        for (size_t n = 0; n < w.count; ++n) {
            z[n] = fine_exp2(z[n] - origin);
            s[n % kFewStep] += z[n];
        }
        w.maxima[m] = largest + 0.0F;
        w.sums[m] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    }
}

void add_few(const FewValues& v, TestTier tier) {
    if (tier != TestTier::kReference) return add_few(v, of_product(tier));
    for (size_t m = 0; m < v.rows; ++m)
        for (size_t n = 0; n < v.values.count; ++n)
            for (size_t k = 0; k < v.values.width; ++k) {
                float& sum = v.sums[m * v.sum_stride + k];
                sum = std::fma(v.weights[m * v.weight_stride + n],
                               element(v.values.rows[n], v.values.halves, k), sum);
            }
}

void widen_few(const uint16_t* halves, size_t width, float* floats, TestTier tier) {
    if (tier != TestTier::kReference) return widen_few(halves, width, floats, of_product(tier));
    for (size_t k = 0; k < width; ++k)
        floats[k] = float16_to_float(halves[k]);
    for (size_t k = width; k % kFewStep != 0; ++k)
        floats[k] = 0.0F;
}

}  // namespace rknpu2
