// SPDX-License-Identifier: MIT
// few_tokens.hpp in vectors, for any number of lanes: written once, compiled for each machine.
//
// Sums stay in registers: 4 rows by 2 positions of eight sums each for scores, 4 rows by 16 columns for values. Both are
// 16 vectors of four, which is what two multiply-adds a cycle of latency 4 need, twice. What is loaded for them takes
// fewer cycles. Fewer rows take more positions or columns instead.
//
// `Lanes` (four_lanes.cpp, eight_lanes_avx2.cpp, attention_neon.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/few_tokens.hpp"
#include "kernels/lanes/attention_lanes.hpp"

namespace rknpu2::lanes {

// Eight neighbouring numbers.
template <typename Lanes>
inline constexpr size_t kVectorsOfStep = kFewStep / Lanes::kLanes;

// Elements k .. k + 7 of a row, to x[0] and, with four lanes, x[1].
template <typename Lanes, bool kHalves>
[[gnu::always_inline]] inline void load_step(const std::byte* row, size_t k, typename Lanes::Float* x) {
    const auto* const halves = reinterpret_cast<const uint16_t*>(row) + k;
    if constexpr (kHalves && requires { Lanes::load_eight_halves(halves, x[0], x[1]); }) {
        Lanes::load_eight_halves(halves, x[0], x[1]);
        return;
    }
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectorsOfStep<Lanes>; ++v) {
        if constexpr (kHalves)
            Lanes::load_halves(halves + v * Lanes::kLanes, x[v]);
        else
            Lanes::load(reinterpret_cast<const float*>(row) + k + v * Lanes::kLanes, x[v]);
    }
}

template <typename Lanes, size_t kRows, size_t kPositions, bool kHalves>
[[gnu::always_inline]] inline void score_tile(const FewScores& s, size_t m, size_t n) {
    using Float = typename Lanes::Float;
    constexpr size_t kVectors = kVectorsOfStep<Lanes>;
    const float* const queries = s.queries + m * s.query_stride;
    const size_t stride = s.query_stride, width = s.keys.width;
    const std::byte* rows[kPositions];
    Float sums[kRows][kPositions][kVectors];
#pragma GCC unroll 4
    for (size_t p = 0; p < kPositions; ++p)
        rows[p] = s.keys.rows[n + p];
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (size_t p = 0; p < kPositions; ++p)
#pragma GCC unroll 2
            for (size_t v = 0; v < kVectors; ++v)
                sums[r][p][v] = Float{};
    for (size_t k = 0; k < width; k += kFewStep) {
        Float keys[kPositions][kVectors];
#pragma GCC unroll 4
        for (size_t p = 0; p < kPositions; ++p)
            load_step<Lanes, kHalves>(rows[p], k, keys[p]);
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
            for (size_t v = 0; v < kVectors; ++v) {
                Float query;
                Lanes::load(queries + r * stride + k + v * Lanes::kLanes, query);
#pragma GCC unroll 4
                for (size_t p = 0; p < kPositions; ++p)
                    sums[r][p][v] = Lanes::fma(query, keys[p][v], sums[r][p][v]);
            }
        }
    }
    float* const out = s.scores + m * s.score_stride + n;
    if constexpr (kPositions == 4) {
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
            const auto low = Lanes::pairs(Lanes::halve(sums[r][0]), Lanes::halve(sums[r][1]));
            const auto high = Lanes::pairs(Lanes::halve(sums[r][2]), Lanes::halve(sums[r][3]));
            const auto four = Lanes::pairs(low, high);
            std::memcpy(out + r * s.score_stride, &four, sizeof four);
        }
    } else {
        static_assert(kPositions == 2 && kRows % 2 == 0);
#pragma GCC unroll 2
        for (size_t r = 0; r < kRows; r += 2) {
            const auto low = Lanes::pairs(Lanes::halve(sums[r][0]), Lanes::halve(sums[r][1]));
            const auto high = Lanes::pairs(Lanes::halve(sums[r + 1][0]), Lanes::halve(sums[r + 1][1]));
            float four[4];
            const auto pairs = Lanes::pairs(low, high);
            std::memcpy(four, &pairs, sizeof four);
            std::memcpy(out + r * s.score_stride, four, 2 * sizeof *four);
            std::memcpy(out + (r + 1) * s.score_stride, four + 2, 2 * sizeof *four);
        }
    }
}

template <typename Lanes, size_t kRows, size_t kPositions, bool kHalves>
[[gnu::always_inline]] inline size_t score_rows(const FewScores& s, size_t m) {
    for (; m + kRows <= s.rows; m += kRows)
        for (size_t n = 0; n < s.keys.count; n += kPositions)
            score_tile<Lanes, kRows, kPositions, kHalves>(s, m, n);
    return m;
}

// By value: what is stored cannot change a local copy.
template <typename Lanes, bool kHalves>
void score_all(const FewScores s) {
    size_t m = score_rows<Lanes, 4, 2, kHalves>(s, 0);
    m = score_rows<Lanes, 2, 4, kHalves>(s, m);
    score_rows<Lanes, 1, 4, kHalves>(s, m);
}

template <typename Lanes>
void score_few(const FewScores& s) {
    s.keys.halves ? score_all<Lanes, true>(s) : score_all<Lanes, false>(s);
}

template <typename Lanes>
[[gnu::always_inline]] inline typename Lanes::Float fine_exp2(typename Lanes::Float x) {
    using Float = typename Lanes::Float;
    x = Lanes::greatest(all<Lanes>(kFewLowest), x);
    const Float t = x + kFewMagic;
    const Float f = x - (t - kFewMagic);
    Float p = all<Lanes>(kTanhExp2[0]);
#pragma GCC unroll 8
    for (size_t i = 1; i < sizeof kTanhExp2 / sizeof *kTanhExp2; ++i)
        p = Lanes::fma(p, f, all<Lanes>(kTanhExp2[i]));
    return p * power_of_two<Lanes>(t);
}

// Scores of a row to z, in place. Returns the largest one.
template <typename Lanes, bool kSoftcap>
[[gnu::always_inline]] inline float scale_row(const FewWeights& w, size_t m) {
    using Float = typename Lanes::Float;
    constexpr size_t kVectors = kVectorsOfStep<Lanes>;
    constexpr float kNone = -__builtin_inff();
    float* const z = w.scores + m * w.stride;
    const uint16_t* const mask = w.masks[m];
    const Float slope = all<Lanes>(mask == nullptr ? 0.0F : w.slopes[m]);
    Float highest[kVectors];
    for (size_t v = 0; v < kVectors; ++v)
        highest[v] = all<Lanes>(kNone);
    for (size_t n = 0; n < w.count; n += kFewStep) {
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; ++v) {
            const size_t at = n + v * Lanes::kLanes;
            Float x;
            Lanes::load(z + at, x);
            x = x * w.factor;
            if constexpr (kSoftcap) x = softcapped<Lanes>(x, w.softcap, kTwoLog2e / w.softcap);
            if (mask != nullptr) {
                Float added;
                Lanes::load_halves(mask + at, added);
                x = added == kNone ? added : Lanes::fma(slope, added, x);
            }
            highest[v] = Lanes::greatest(x, highest[v]);
            Lanes::store(x, z + at);
        }
    }
    float largest = kNone;
    for (size_t i = 0; i < kFewStep; ++i) {
        const float x = highest[i / Lanes::kLanes][i % Lanes::kLanes];
        largest = x > largest ? x : largest;
    }
    return largest + 0.0F;
}

// Returns the sum of the row's weights.
template <typename Lanes>
[[gnu::always_inline]] inline float weigh_row(float* z, size_t count, float largest) {
    using Float = typename Lanes::Float;
    constexpr size_t kVectors = kVectorsOfStep<Lanes>;
    const Float origin = all<Lanes>(largest == -__builtin_inff() ? 0.0F : largest);
    Float sums[kVectors] = {};
    for (size_t n = 0; n < count; n += kFewStep) {
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; ++v) {
            Float x;
            Lanes::load(z + n + v * Lanes::kLanes, x);
            x = fine_exp2<Lanes>(x - origin);
            sums[v] += x;
            Lanes::store(x, z + n + v * Lanes::kLanes);
        }
    }
    float s[kFewStep];
    std::memcpy(s, sums, sizeof s);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

template <typename Lanes>
void weigh_few(const FewWeights& weights) {
    const FewWeights w = weights;
    for (size_t m = 0; m < w.rows; ++m) {
        const float largest =
            w.softcap == 0.0F ? scale_row<Lanes, false>(w, m) : scale_row<Lanes, true>(w, m);
        w.sums[m] = weigh_row<Lanes>(w.scores + m * w.stride, w.count, largest);
        w.maxima[m] = largest;
    }
}

template <typename Lanes, size_t kRows, size_t kColumns, bool kHalves>
[[gnu::always_inline]] inline void add_tile(const FewValues& a, size_t m, size_t k) {
    using Float = typename Lanes::Float;
    constexpr size_t kVectors = kColumns / Lanes::kLanes;
    const float* const weights = a.weights + m * a.weight_stride;
    const size_t stride = a.weight_stride, count = a.values.count;
    const std::byte* const* const rows = a.values.rows;
    float* const out = a.sums + m * a.sum_stride + k;
    Float sums[kRows][kVectors];
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v)
            Lanes::load(out + r * a.sum_stride + v * Lanes::kLanes, sums[r][v]);
    for (size_t n = 0; n < count; ++n) {
        const std::byte* const row = rows[n];
        Float values[kVectors];
#pragma GCC unroll 8
        for (size_t c = 0; c < kColumns; c += kFewStep)
            load_step<Lanes, kHalves>(row, k + c, values + c / Lanes::kLanes);
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
            const float weight = weights[r * stride + n];
#pragma GCC unroll 16
            for (size_t v = 0; v < kVectors; ++v)
                sums[r][v] = Lanes::fma(values[v], weight, sums[r][v]);
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v)
            Lanes::store(sums[r][v], out + r * a.sum_stride + v * Lanes::kLanes);
}

// Columns from k on.
template <typename Lanes, size_t kRows, size_t kColumns, bool kHalves>
[[gnu::always_inline]] inline void add_columns(const FewValues& a, size_t m, size_t k) {
    for (; k + kColumns <= a.values.width; k += kColumns)
        add_tile<Lanes, kRows, kColumns, kHalves>(a, m, k);
    if constexpr (kColumns > kFewStep) {
        if (k < a.values.width) add_columns<Lanes, kRows, kColumns / 2, kHalves>(a, m, k);
    }
}

template <typename Lanes, size_t kRows, bool kHalves>
[[gnu::always_inline]] inline size_t add_rows(const FewValues& a, size_t m) {
    for (; m + kRows <= a.rows; m += kRows)
        add_columns<Lanes, kRows, 64 / kRows, kHalves>(a, m, 0);
    return m;
}

template <typename Lanes, bool kHalves>
void add_all(const FewValues a) {
    size_t m = add_rows<Lanes, 4, kHalves>(a, 0);
    m = add_rows<Lanes, 2, kHalves>(a, m);
    add_rows<Lanes, 1, kHalves>(a, m);
}

template <typename Lanes>
void add_few(const FewValues& a) {
    a.values.halves ? add_all<Lanes, true>(a) : add_all<Lanes, false>(a);
}

template <typename Lanes>
void widen_few(const uint16_t* halves, size_t width, float* floats) {
    constexpr size_t kVectors = kVectorsOfStep<Lanes>;
    const auto widen = [](const uint16_t* from, float* to) {
        typename Lanes::Float x[kVectors];
        load_step<Lanes, true>(reinterpret_cast<const std::byte*>(from), 0, x);
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; ++v)
            Lanes::store(x[v], to + v * Lanes::kLanes);
    };
    constexpr size_t kTogether = 4 * kFewStep;
    size_t k = 0;
    for (; k + kTogether <= width; k += kTogether) {
#pragma GCC unroll 4
        for (size_t i = 0; i < kTogether; i += kFewStep)
            widen(halves + k + i, floats + k + i);
    }
    for (; k + kFewStep <= width; k += kFewStep)
        widen(halves + k, floats + k);
    if (k == width) return;
    uint16_t rest[kFewStep] = {};
    std::memcpy(rest, halves + k, (width - k) * sizeof *rest);
    widen(rest, floats + k);
}

}  // namespace rknpu2::lanes
