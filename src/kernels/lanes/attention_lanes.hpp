// SPDX-License-Identifier: MIT
// weigh_scores() in vectors, for any number of lanes: written once, compiled for each machine. And the numbers of
// its definition.
//
// Four rows go together: their atoms are whole cache lines of the scores and of the weights. The first pass finds
// the rows' maxima and leaves a copy of the scores in memory that stays in the nearest cache: where rows are a power
// of two, all lines of the cube fall into one set of it, and the second pass would fetch them once more. The copy
// has the eight positions of an octet side by side, row after row.
//
// In the plain case (no mask, no softcap, no negative factor) the first pass compares the cube's numbers as they
// are. Otherwise it makes scores of them, with -inf where a row may not see, as it does of an octet that N cuts.
// The rest of that is hidden.
//
// The power of two of a small weight has an exponent of 0, and so is 0: clamping the argument there makes the weight
// vanish. That power is 2^-115 of what it should be, and the polynomial 2^115 times as large, which costs nothing: its
// argument is 2^37 times as large, and the leading coefficient 1. Scores of 2^91 and more overflow on the way; their
// row gets the sum NaN, and the reference does it.
//
// `Lanes` (four_lanes.cpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kOctet = 8;
inline constexpr size_t kScoreRows = 4;  // of a cache line
inline constexpr size_t kScoreAtom = 4;  // positions
inline constexpr uint16_t kHidden = 0xFC00;

// 16 * 2^f for |f| <= 1/2 is ((f + C2) * f + C1) * f + C0: a leading coefficient that is a power of two takes one
// multiplication less, and is 3.5 times less exact than the best one, 0.055. kExp2Error is what that costs.
inline constexpr float kExp2C2 = 3.8900122F;
inline constexpr float kExp2C1 = 11.0753503F;
inline constexpr float kExp2C0 = 16.0F;

// Adding 1.5 * 2^23 + e, e even, to x rounds it to an integer n, ties to even, and leaves n + e in the low bits: 23
// bits further up they are the exponent of 2^(n + e - 127).
inline constexpr float kMagicInteger = 12582912.0F;
inline constexpr float kExp2Magic = kMagicInteger + 128.0F;
inline constexpr float kLowestExponent = -26.0F;
inline constexpr float kWeightMagic = kMagicInteger - kLowestExponent;
inline constexpr float kWeightPower = 0x1p111F;  // 16 * 2^f * 2^(n + 26 - 127) * this is a weight
inline constexpr float kArgument = 0x1p37F;      // its cube is kWeightPower

// tanh(u) = (2 - e) / (2 + e) with e = 2 * 2^(-2 log2(e) |u|), where the power is 2^-30 at least. 2^f to a float's
// precision, from the sixth power down.
inline constexpr float kTwoLog2e = 2.88539008F;
inline constexpr float kTanhEnd = 30.0F;
inline constexpr float kTanhExp2[] = {1.535336188e-4F,
                                      1.339887440e-3F,
                                      9.618437358e-3F,
                                      5.550332471e-2F,
                                      2.402264791e-1F,
                                      6.931472029e-1F,
                                      1.0F};

template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float power_of_two(typename Lanes::Float t) {
    using Unsigned = typename Lanes::Unsigned;
    return reinterpret_cast<typename Lanes::Float>(reinterpret_cast<Unsigned>(t) << 23);
}

template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float all(float value) {
    return typename Lanes::Float{} + value;
}

// x: kArgument times z - m.
template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float weight_of(typename Lanes::Float x) {
    using Float = typename Lanes::Float;
    x = Lanes::greatest(all<Lanes>(kLowestExponent * kArgument), x);
    const Float t = x + kWeightMagic * kArgument;
    const Float f = x - (t - kWeightMagic * kArgument);
    const Float square = (f + kExp2C2 * kArgument) * f + kExp2C1 * kArgument * kArgument;
    return (square * f + kExp2C0 * kWeightPower) * power_of_two<Lanes>(t);
}

// rate: kTwoLog2e / c.
template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float softcapped(typename Lanes::Float z, float c, float rate) {
    using Float = typename Lanes::Float;
    using Int = typename Lanes::Int;
    const Int sign = reinterpret_cast<Int>(z) & INT32_MIN;
    const Float minus = reinterpret_cast<Float>(reinterpret_cast<Int>(z) | INT32_MIN) * rate;
    const Float y = Lanes::greatest(all<Lanes>(-kTanhEnd), minus);
    const Float t = y + kExp2Magic;
    const Float f = y - (t - kExp2Magic);
    Float p = f * kTanhExp2[0] + kTanhExp2[1];
#pragma GCC unroll 8
    for (size_t i = 2; i < sizeof kTanhExp2 / sizeof *kTanhExp2; ++i)
        p = p * f + kTanhExp2[i];
    const Float e = p * power_of_two<Lanes>(t);
    const Float capped = ((2.0F - e) / (2.0F + e)) * c;
    return z == z ? reinterpret_cast<Float>(reinterpret_cast<Int>(capped) | sign) : z;
}

// z + slope * mask, or -inf. `mask`: the bits of halves.
template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float masked(typename Lanes::Float z, typename Lanes::Int mask,
                                                           float slope) {
    using Float = typename Lanes::Float;
    using Int = typename Lanes::Int;
    const Int magnitude = (mask & 0x7FFF) << 13;
    Int bits = reinterpret_cast<Int>(reinterpret_cast<Float>(magnitude) * 0x1p112F);
    bits |= (magnitude >= (0x7C00 << 13)) & 0x7F800000;  // infinite or NaN
    bits |= (mask & 0x8000) << 16;
    const Float added = z + reinterpret_cast<Float>(bits) * slope;
    return mask == kHidden ? all<Lanes>(-__builtin_inff()) : added;
}

// What the rows of a group need besides their scores.
template <size_t kRows>
struct GroupRows {
    float factors[kRows];  // kArgument times those of what the first pass left
    float origins[kRows];  // what is subtracted, as large
};

template <typename Lanes, size_t kRows>
class ScoreGroup {
    using Float = typename Lanes::Float;
    using Int = typename Lanes::Int;
    static constexpr size_t kVectors = kOctet / Lanes::kLanes;
    static constexpr size_t kOctetFloats = kRows * kOctet;

  public:
    // Rows m .. m + kRows - 1.
    [[gnu::always_inline]] ScoreGroup(const ScoresToWeights& rows, size_t m)
        : rows_(rows), m_(m), whole_(rows.N / kOctet * kOctet) {}

    void weigh() {
        const bool plain = is_plain();
        const Float lowest = all<Lanes>(-__builtin_inff());
        for (size_t r = 0; r < kRows; ++r)
            for (size_t i = 0; i < kVectors; ++i)
                highest_[r][i] = lowest;
        if (plain) {
            copy_octets();
        } else {
            for (size_t n = 0; n < whole_; n += kOctet)
                score_octet(n, scores_ + n * kRows);
        }
        for (size_t r = 0; plain && r < kRows; ++r)
            for (size_t i = 0; i < kVectors; ++i)
                highest_[r][i] = highest_[r][i] * rows_.factors[m_ + r];
        if (whole_ < rows_.N) score_octet(whole_, scores_ + whole_ * kRows);
        GroupRows<kRows> group, edge;
        for (size_t r = 0; r < kRows; ++r) {
            edge.factors[r] = kArgument;
            group.factors[r] = plain ? rows_.factors[m_ + r] * kArgument : kArgument;
            const float largest = largest_of(r) + 0.0F;
            rows_.maxima[m_ + r] = largest;
            edge.origins[r] = group.origins[r] = largest == -__builtin_inff() ? 0.0F : largest * kArgument;
        }
        weigh_octets(group, edge);
    }

  private:
    bool is_plain() const {
        bool plain = rows_.softcap == 0.0F;
        for (size_t r = 0; r < kRows; ++r)
            plain = plain && mask_of(r) == nullptr && rows_.factors[m_ + r] >= 0.0F;
        return plain;
    }

    const uint16_t* mask_of(size_t r) const { return rows_.masks == nullptr ? nullptr : rows_.masks[m_ + r]; }

    // The group's first row at position n, a multiple of 4.
    const float* atom(size_t n) const {
        return rows_.scores + (n / kScoreAtom * rows_.M_total + rows_.m0 + m_) * kScoreAtom;
    }

    void copy_octets() {
        const size_t step = rows_.M_total * kScoreAtom;
        Float highest[kRows][kVectors];
        std::memcpy(highest, highest_, sizeof highest);
        const float* from = atom(0);
        float* to = scores_;
        for (size_t n = 0; n < whole_; n += kOctet, from += 2 * step, to += kOctetFloats) {
#pragma GCC unroll 4
            for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
                for (size_t i = 0; i < kVectors; ++i) {
                    Float native;
                    Lanes::load_columns(from + i * step + r * kScoreAtom, step, native);
                    highest[r][i] = Lanes::greatest(native, highest[r][i]);
                    Lanes::store(native, to + r * kOctet + i * Lanes::kLanes);
                }
            }
        }
        std::memcpy(highest_, highest, sizeof highest);
    }

    // Scores of the octet from n on, which N may cut.
    void score_octet(size_t n, float* to) {
        const size_t count = rows_.N - n < kOctet ? rows_.N - n : kOctet;
        const float rate = kTwoLog2e / rows_.softcap;
        for (size_t r = 0; r < kRows; ++r) {
            const uint16_t* const mask = mask_of(r);
            float natives[kOctet] = {};
            uint16_t halves[kOctet] = {};
            for (size_t i = 0; i < kOctet; ++i) {
                if (i < count) natives[i] = atom(n + i)[r * kScoreAtom + i % kScoreAtom];
                if (i >= count || mask != nullptr) halves[i] = i < count ? mask[n + i] : kHidden;
            }
            const float slope = mask == nullptr ? 0.0F : rows_.slopes[m_ + r];
            for (size_t i = 0; i < kVectors; ++i) {
                Float z;
                Int bits;
                Lanes::load(natives + i * Lanes::kLanes, z);
                Lanes::load_halves(halves + i * Lanes::kLanes, bits);
                z = z * rows_.factors[m_ + r];
                if (rows_.softcap != 0.0F) z = softcapped<Lanes>(z, rows_.softcap, rate);
                z = masked<Lanes>(z, bits, slope);
                highest_[r][i] = Lanes::greatest(z, highest_[r][i]);
                Lanes::store(z, to + r * kOctet + i * Lanes::kLanes);
            }
        }
    }

    float largest_of(size_t r) const {
        float largest = -__builtin_inff();
        for (size_t i = 0; i < kOctet; ++i) {
            const float z = highest_[r][i / Lanes::kLanes][i % Lanes::kLanes];
            largest = z > largest ? z : largest;
        }
        return largest;
    }

    void weigh_octets(const GroupRows<kRows>& group, const GroupRows<kRows>& edge) {
        Float sums[kRows][kVectors] = {};
        const size_t step = rows_.M_total * kOctet;
        const size_t row = (rows_.m0 + m_) * kOctet;
        const size_t padded = (rows_.N + kValueBlock - 1) / kValueBlock * kValueBlock;
        for (size_t first = 0; first < padded; first += kValueBlock) {
            uint16_t* to = rows_.weights[first / kValueBlock] + row;
            size_t n = first;
            for (; n < first + kValueBlock && n < whole_; n += kOctet, to += step)
                weigh_octet(group, n, sums, to);
            if (n < first + kValueBlock && n < rows_.N) {
                weigh_octet(edge, n, sums, to);
                n += kOctet;
                to += step;
            }
            for (; n < first + kValueBlock; n += kOctet, to += step)
                std::memset(to, 0, kRows * kOctet * sizeof *to);
        }
        for (size_t r = 0; r < kRows; ++r) {
            float s[kOctet];
            std::memcpy(s, sums[r], sizeof s);
            rows_.sums[m_ + r] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }

    [[gnu::always_inline]] void weigh_octet(const GroupRows<kRows>& group, size_t n,
                                            Float (&sums)[kRows][kVectors], uint16_t* to) const {
        const float* const scores = scores_ + n * kRows;
        Float weights[kRows][kVectors];
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
            for (size_t i = 0; i < kVectors; ++i) {
                Float x;
                Lanes::load(scores + r * kOctet + i * Lanes::kLanes, x);
                weights[r][i] = weight_of<Lanes>(x * group.factors[r] - group.origins[r]);
                sums[r][i] += weights[r][i];
            }
        }
        Lanes::store_weights(weights, to);
    }

    const ScoresToWeights rows_;
    const size_t m_;
    const size_t whole_;  // positions of whole octets
    Float highest_[kRows][kVectors];
    alignas(64) float scores_[kAttentionBlock * kRows];
};

template <typename Lanes>
void weigh_scores(const ScoresToWeights& rows) {
    size_t m = 0;
    for (; m + kScoreRows <= rows.M; m += kScoreRows)
        ScoreGroup<Lanes, kScoreRows>(rows, m).weigh();
    for (; m < rows.M; ++m)
        ScoreGroup<Lanes, 1>(rows, m).weigh();
}

}  // namespace rknpu2::lanes
