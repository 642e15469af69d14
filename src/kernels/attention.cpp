// SPDX-License-Identifier: MIT
#include "kernels/attention.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "kernels/lanes/attention_lanes.hpp"
#include "kernels/lanes/generic.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// 2^x and an integer power of two: the bits of `t` shifted into the exponent.
struct Reduced {
    float f;      // what is left of x, at most a half
    float power;  // the power of two
};

Reduced reduced(float x, float magic) {
    const float t = x + magic;
    return {x - (t - magic), std::bit_cast<float>(std::bit_cast<uint32_t>(t) << 23)};
}

// 16 * 2^f.
float sixteenfold(float f) {
    return ((f + lanes::kExp2C2) * f + lanes::kExp2C1) * f + lanes::kExp2C0;
}

float weight_of(float x) {
    const Reduced r = reduced(x < lanes::kLowestExponent ? lanes::kLowestExponent : x, lanes::kWeightMagic);
    return sixteenfold(r.f) * r.power * lanes::kWeightPower;
}

float sum_of(const float (&s)[lanes::kOctet]) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// Returns z of row m at position n; -inf where it may not see.
float score_of(const ScoresToWeights& rows, size_t m, size_t n) {
    const uint16_t* const mask = rows.masks == nullptr ? nullptr : rows.masks[m];
    if (mask != nullptr && mask[n] == kHiddenMask) return -kInfinity;
    float z = rows.scores[c_index_native(rows.m0 + m, n, rows.M_total, DType::kFloat32)] * rows.factors[m];
    if (rows.softcap != 0.0F) z = softcapped(z, rows.softcap);
    return mask == nullptr ? z : z + rows.slopes[m] * float16_to_float(mask[n]);
}

void weigh_row(const ScoresToWeights& rows, size_t m) {
    float largest = -kInfinity;
    bool nan = false;
    for (size_t n = 0; n < rows.N; ++n) {
        const float z = score_of(rows, m, n);
        nan = nan || std::isnan(z);
        largest = z > largest ? z : largest;
    }
    const bool finite = !nan && largest < kInfinity;
    const float origin = largest == -kInfinity ? 0.0F : largest;
    float sums[lanes::kOctet] = {};
    const size_t cubes = rows.weights[1] == nullptr ? 1 : 2;
    for (size_t n = 0; n < cubes * kValueBlock; ++n) {
        const float weight = finite && n < rows.N ? weight_of(score_of(rows, m, n) - origin) : 0.0F;
        sums[n % lanes::kOctet] += weight;
        rows.weights[n / kValueBlock][a_index_native(rows.m0 + m, n % kValueBlock, rows.M_total,
                                                     DType::kFloat16)] = float_to_float16(weight);
    }
    rows.maxima[m] = nan                                         ? std::numeric_limits<float>::quiet_NaN()
                     : std::fabs(largest) < lanes::kLeastMaximum ? 0.0F
                                                                 : largest;
    rows.sums[m] = finite ? sum_of(sums) : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace

ScoresToWeights ScoresToWeights::part(size_t m, size_t count) const {
    ScoresToWeights rows = *this;
    rows.m0 += m;
    rows.M = count;
    rows.factors += m;
    if (masks != nullptr) rows.masks += m;
    if (slopes != nullptr) rows.slopes += m;
    rows.maxima += m;
    rows.sums += m;
    return rows;
}

void weigh_scores_reference(const ScoresToWeights& rows) {
    for (size_t m = 0; m < rows.M; ++m)
        weigh_row(rows, m);
}

// A row with a score that is not finite has the sum NaN in every tier, and what else it gets comes from the reference.
void weigh_scores(const ScoresToWeights& rows, KernelTier tier) {
    of_tier(tier, generic::weigh_scores, avx2::weigh_scores)(rows);
    for (size_t m = 0; m < rows.M; ++m)
        if (std::isnan(rows.sums[m])) weigh_row(rows, m);
}

float softcapped(float z, float c) {
    const float y = std::fabs(z) * (lanes::kTwoLog2e / c);
    const Reduced r = reduced(y > lanes::kTanhEnd ? -lanes::kTanhEnd : -y, lanes::kExp2Magic);
    float p = lanes::kTanhExp2[0];
    for (size_t i = 1; i < std::size(lanes::kTanhExp2); ++i)
        p = p * r.f + lanes::kTanhExp2[i];
    const float e = p * r.power;
    return std::copysign(c * ((2.0F - e) / (2.0F + e)), z);
}

float exp2_of(float x) {
    if (x < -126.0F) return 0.0F;
    const Reduced r = reduced(x, lanes::kExp2Magic);
    return sixteenfold(r.f) * 0x1p-5F * r.power;
}

bool pack_keys(const HalvesToBlock& keys, KernelTier tier) {
    return of_tier(tier, generic::pack_keys, avx2::pack_keys)(keys);
}

bool pack_values(const HalvesToBlock& values, KernelTier tier) {
    return of_tier(tier, generic::pack_values, avx2::pack_values)(values);
}

}  // namespace rknpu2
