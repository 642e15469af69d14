// SPDX-License-Identifier: MIT
// weigh_scores() in vectors, for any number of lanes: written once, compiled for each machine. And the numbers of
// its definition.
//
// Four rows go together: their atoms are whole cache lines of the scores and of the weights. The first pass finds
// the rows' maxima and leaves a copy of the scores in memory that stays in the nearest cache: where rows are a power
// of two, all lines of the cube fall into one set of it, and the second pass would fetch them once more. The copy
// has the eight positions of an octet side by side, row after row.
//
// In the plain case (no mask, or the first `plain` positions, and no softcap) a score is its number times the factor.
// Otherwise, and in an octet that N cuts, it is made step by step, with -inf where a row may not see and behind N.
//
// The power of two of a small weight has an exponent of 0, and so is 0: clamping the argument there makes the weight
// vanish. That power is 2^-115 of what it should be, and the polynomial 2^115 times as large, which costs nothing: its
// argument is 2^37 times as large, and the leading coefficient 1. So the copy's scores are, too. Those of 2^91 and more
// overflow; their row gets the sum NaN, and the reference does it.
//
// `Lanes` (four_lanes.cpp, eight_lanes_avx2.cpp, attention_neon.cpp) says what a vector is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kOctet = 8;
inline constexpr size_t kScoreRows = 4;  // of a cache line
inline constexpr size_t kScoreAtom = 4;  // positions

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
inline constexpr float kLeastMaximum =
    0x1p-80F;  // smaller ones are 0: all that fits through kArgument exactly

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

// fine_exp2() (few_tokens.hpp) by the same polynomial. The power of two of what is below -126.5 has an exponent of 0.
inline constexpr float kFewLowest = -127.0F;
inline constexpr float kFewMagic = kMagicInteger + 127.0F;

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
    const Float f = x + (kWeightMagic * kArgument - t);
    const Float square = (f + kExp2C2 * kArgument) * f + kExp2C1 * kArgument * kArgument;
    return (square * f + kExp2C0 * kWeightPower) * power_of_two<Lanes>(t);
}

// rate: kTwoLog2e / c. NaN stays NaN.
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
    return reinterpret_cast<Float>(reinterpret_cast<Int>(capped) | sign);
}

// kCount vectors that lie side by side.
template <typename Lanes, size_t kCount>
[[gnu::always_inline]] inline void load_vectors(const float* from, typename Lanes::Float (&x)[kCount]) {
    if constexpr (requires { Lanes::load_line(from, x); }) {
        Lanes::load_line(from, x);
    } else {
#pragma GCC unroll 4
        for (size_t i = 0; i < kCount; ++i)
            Lanes::load(from + i * Lanes::kLanes, x[i]);
    }
}

template <typename Lanes, size_t kRows>
class ScoreGroup {
    using Float = typename Lanes::Float;
    static constexpr size_t kVectors = kOctet / Lanes::kLanes;
    static constexpr float kNone = -__builtin_inff();

  public:
    // Rows m .. m + kRows - 1.
    void begin(const ScoresToWeights& rows, size_t m) {
        rows_ = rows;
        m_ = m;
        step_ = rows.M_total * kScoreAtom;
        line_ = rows.scores + (rows.m0 + m) * kScoreAtom;
        plain_ = rows.softcap == 0.0F;
        for (size_t r = 0; r < kRows; ++r) {
            plain_ = plain_ && mask_of(r) == nullptr;
            largest_[r] = kNone;
        }
    }

    // The first pass, of positions first .. end-1; `first` is a multiple of 8.
    void score(size_t first, size_t end) {
        const size_t plain = plain_ ? end : rows_.softcap == 0.0F ? std::min(rows_.plain, end) : 0;
        const size_t whole = std::max(first, plain / kOctet * kOctet);
        if (first < whole) copy_octets(first, whole);
        if (whole == end) return;
        rows_.softcap == 0.0F ? score_octets<false>(whole, end) : score_octets<true>(whole, end);
    }

    // After the first pass of all positions.
    void end_scores() {
        for (size_t r = 0; r < kRows; ++r) {
            const float m = largest_[r];
            rows_.maxima[m_ + r] = m > -kLeastMaximum && m < kLeastMaximum ? 0.0F : m;
            // What is -inf without being hidden has overflown, and becomes NaN.
            origins_[r] = all<Lanes>(m == kNone && !plain_ ? 0.0F : m * kArgument);
            for (size_t i = 0; i < kVectors; ++i)
                sums_[r][i] = Float{};
        }
    }

    // The second pass, of the positions of the cube from `first` on; zeros from N on. Asks for what `next` scores there.
    void weigh(size_t first, const ScoreGroup* next) {
        Float sums[kRows][kVectors], origins[kRows];
        for (size_t r = 0; r < kRows; ++r) {
            origins[r] = origins_[r];
            for (size_t i = 0; i < kVectors; ++i)
                sums[r][i] = sums_[r][i];
        }
        const size_t step = rows_.M_total * kOctet;
        uint16_t* to = rows_.weights[first / kValueBlock] + (rows_.m0 + m_) * kOctet;
        const size_t end = first + kValueBlock;
        const float* ahead = next == nullptr ? scores_ : next->line_ + first / kScoreAtom * step_;
        const size_t ahead_step = next == nullptr ? 0 : step_;
        size_t n = first;
        for (; n < end && n < rows_.N; n += kOctet, to += step, ahead += 2 * ahead_step) {
            __builtin_prefetch(ahead);
            __builtin_prefetch(ahead + ahead_step);
            weigh_octet(origins, scores_ + n * kRows, sums, to);
        }
        for (; n < end; n += kOctet, to += step)
            std::memset(to, 0, kRows * kOctet * sizeof *to);
        for (size_t r = 0; r < kRows; ++r)
            for (size_t i = 0; i < kVectors; ++i)
                sums_[r][i] = sums[r][i];
    }

    void end_weights() const {
        for (size_t r = 0; r < kRows; ++r) {
            float s[kOctet];
            std::memcpy(s, sums_[r], sizeof s);
            rows_.sums[m_ + r] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }

  private:
    const uint16_t* mask_of(size_t r) const { return rows_.masks == nullptr ? nullptr : rows_.masks[m_ + r]; }

    // Vectors of the octet from n on. They are whole.
    [[gnu::always_inline]] void load_octet(size_t n, Float (&x)[kVectors][kRows]) const {
        const float* const from = line_ + n / kScoreAtom * step_;
        if constexpr (kVectors == 1) {
#pragma GCC unroll 4
            for (size_t r = 0; r < kRows; ++r)
                Lanes::load_columns(from + r * kScoreAtom, step_, x[0][r]);
        } else {
            load_vectors<Lanes>(from, x[0]);
            load_vectors<Lanes>(from + step_, x[1]);
        }
    }

    void note_largest(size_t r, const Float (&highest)[kVectors], float factor) {
        for (size_t i = 0; i < kOctet; ++i) {
            const float z = highest[i / Lanes::kLanes][i % Lanes::kLanes] * factor;
            largest_[r] = z > largest_[r] ? z : largest_[r];
        }
    }

    void copy_octets(size_t n, size_t end) {
        Float highest[kRows][kVectors], factors[kRows];
        for (size_t r = 0; r < kRows; ++r) {
            factors[r] = all<Lanes>(rows_.factors[m_ + r] * kArgument);
            for (size_t i = 0; i < kVectors; ++i)
                highest[r][i] = all<Lanes>(kNone);
        }
        for (; n < end; n += kOctet) {
            Float x[kVectors][kRows];
            load_octet(n, x);
#pragma GCC unroll 4
            for (size_t r = 0; r < kRows; ++r) {
                Float z[kVectors];
#pragma GCC unroll 2
                for (size_t i = 0; i < kVectors; ++i) {
                    z[i] = x[i][r] * factors[r];
                    highest[r][i] = Lanes::greatest(z[i], highest[r][i]);
                }
#pragma GCC unroll 2
                for (size_t i = 0; i < kVectors; ++i)
                    Lanes::store(z[i], scores_ + n * kRows + r * kOctet + i * Lanes::kLanes);
            }
        }
        for (size_t r = 0; r < kRows; ++r)
            note_largest(r, highest[r], 1 / kArgument);
    }

    // What rows are made of. A row without a mask has no slope.
    struct RowParts {
        const uint16_t* mask;
        float factor, slope;
    };

    // `end` may cut the last octet.
    template <bool kSoftcap>
    [[gnu::noinline]] void score_octets(size_t n, size_t end) {
        Float highest[kRows][kVectors];
        RowParts parts[kRows];
        for (size_t r = 0; r < kRows; ++r) {
            parts[r] = {mask_of(r), rows_.factors[m_ + r],
                        mask_of(r) == nullptr ? 0.0F : rows_.slopes[m_ + r]};
            for (size_t i = 0; i < kVectors; ++i)
                highest[r][i] = all<Lanes>(kNone);
        }
        const float* line = line_ + n / kScoreAtom * step_;
        for (; n + kOctet <= end; n += kOctet, line += 2 * step_) {
#pragma GCC unroll 4
            for (size_t r = 0; r < kRows; ++r) {
                const uint16_t* const mask = parts[r].mask == nullptr ? nullptr : parts[r].mask + n;
                score_octet<kSoftcap>(parts[r], line + r * kScoreAtom, step_, mask, highest[r],
                                      scores_ + n * kRows + r * kOctet);
            }
        }
        for (size_t r = 0; r < kRows; ++r) {
            float natives[kOctet] = {};
            uint16_t halves[kOctet];
            for (size_t i = 0; i < kOctet; ++i) {
                if (n + i < end) natives[i] = line[i / kScoreAtom * step_ + r * kScoreAtom + i % kScoreAtom];
                halves[i] = n + i >= end               ? kHiddenMask
                            : parts[r].mask == nullptr ? uint16_t{0}
                                                       : parts[r].mask[n + i];
            }
            if (n < end)
                score_octet<kSoftcap>(parts[r], natives, kScoreAtom, halves, highest[r],
                                      scores_ + n * kRows + r * kOctet);
            note_largest(r, highest[r], 1.0F);
        }
    }

    template <bool kSoftcap>
    [[gnu::always_inline]] void score_octet(const RowParts& row, const float* from, size_t step,
                                            const uint16_t* mask, Float (&highest)[kVectors],
                                            float* to) const {
        const float c = rows_.softcap;
        Float z[kVectors];
#pragma GCC unroll 2
        for (size_t i = 0; i < kVectors; ++i) {
            Lanes::load_columns(from + i * step, step, z[i]);
            z[i] = z[i] * row.factor;
            if constexpr (kSoftcap) z[i] = softcapped<Lanes>(z[i], c, kTwoLog2e / c);
        }
        if (mask != nullptr) {
#pragma GCC unroll 2
            for (size_t i = 0; i < kVectors; ++i) {
                Float added;
                Lanes::load_halves(mask + i * Lanes::kLanes, added);
                z[i] = added == kNone ? added : z[i] + added * row.slope;
            }
        }
#pragma GCC unroll 2
        for (size_t i = 0; i < kVectors; ++i) {
            highest[i] = Lanes::greatest(z[i], highest[i]);
            Lanes::store(z[i] * kArgument, to + i * Lanes::kLanes);
        }
    }

    // Two rows at once, so that they are loaded and stored in pairs.
    [[gnu::always_inline]] static void weigh_octet(const Float (&origins)[kRows], const float* scores,
                                                   Float (&sums)[kRows][kVectors], uint16_t* to) {
        constexpr size_t kPair = kRows < 2 ? kRows : 2;
#pragma GCC unroll 2
        for (size_t first = 0; first < kRows; first += kPair) {
            Float x[kPair * kVectors], weights[kPair][kVectors];
            load_vectors<Lanes>(scores + first * kOctet, x);
#pragma GCC unroll 4
            for (size_t i = 0; i < kPair * kVectors; ++i) {
                const size_t r = first + i / kVectors;
                const Float weight = weight_of<Lanes>(x[i] - origins[r]);
                weights[i / kVectors][i % kVectors] = weight;
                sums[r][i % kVectors] += weight;
            }
            Lanes::store_weights(weights, to + first * kOctet);
        }
    }

    ScoresToWeights rows_;
    size_t m_;
    size_t step_;        // from a group of four positions to the next
    const float* line_;  // the group's rows at the first position
    bool plain_;
    float largest_[kRows];  // of the scores, not of kArgument times these
    Float origins_[kRows];  // kArgument times what is subtracted
    Float sums_[kRows][kVectors];
    alignas(64) float scores_[kAttentionBlock * kRows];
};

// Groups of kRows rows from m on. Returns the first row that is left. While a cube of a group is weighed, the lines of
// the next group are on their way, for as many positions: more would push each other out before they are taken.
template <typename Lanes, size_t kRows>
size_t weigh_groups(const ScoresToWeights& rows, size_t m) {
    if (m + kRows > rows.M) return m;
    ScoreGroup<Lanes, kRows> groups[2];
    groups[0].begin(rows, m);
    groups[0].score(0, rows.N);
    for (size_t i = 0; m + kRows <= rows.M; m += kRows, i ^= 1) {
        ScoreGroup<Lanes, kRows>* const next = m + 2 * kRows <= rows.M ? &groups[i ^ 1] : nullptr;
        if (next != nullptr) next->begin(rows, m + kRows);
        groups[i].end_scores();
        for (size_t n = 0; n < kAttentionBlock && rows.weights[n / kValueBlock] != nullptr;
             n += kValueBlock) {
            groups[i].weigh(n, next);
            if (next != nullptr && n < rows.N) next->score(n, std::min(n + kValueBlock, rows.N));
        }
        groups[i].end_weights();
    }
    return m;
}

template <typename Lanes>
void weigh_scores(const ScoresToWeights& rows) {
    weigh_groups<Lanes, 1>(rows, weigh_groups<Lanes, kScoreRows>(rows, 0));
}

}  // namespace rknpu2::lanes
