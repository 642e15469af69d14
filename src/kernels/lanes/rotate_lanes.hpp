// SPDX-License-Identifier: MIT
// rotate_rows() in vectors, for any number of lanes: written once, compiled for each machine.
//
// A block of 512 goes twice through the registers. First runs of eight vectors that lie side by side, with
// all stages at distances within the run: those within a vector by shuffles, those among the vectors by plain
// additions. Then the runs with each other: one vector of each, eight runs with 8 lanes, sixteen with 4.
//
// Rows come from memory, and only once. A row's arithmetic takes as long as fetching the next row, so that is
// asked for meanwhile, which doubles the speed (hardware gives up at the end of a page). After the last row
// this asks for what lies behind it, where a caller with groups of rows goes on; asking is always harmless.
//
// The largest magnitude of a row is found where the elements are in registers for the last time.
//
// `Lanes` (four_lanes.cpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/rotate.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kLineFloats = 16;  // of a cache line

// The stages among kCount vectors from kDistance on, nearest first. Recursive, so that each index is a
// constant and the vectors stay in registers.
template <size_t kCount, size_t kDistance = 1, typename Float>
[[gnu::always_inline]] inline void stages_among(Float (&x)[kCount]) {
    if constexpr (kDistance < kCount) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kCount; ++i) {
            if ((i & kDistance) != 0) continue;
            const Float low = x[i];
            const Float high = x[i + kDistance];
            x[i] = low + high;
            x[i + kDistance] = low - high;
        }
        stages_among<kCount, 2 * kDistance>(x);
    }
}

// Stores vectors `distance` elements apart; with kLast they have been through all stages, and `largest` notes
// their magnitudes.
template <typename Lanes, bool kLast, size_t kCount>
[[gnu::always_inline]] inline void store_vectors(const typename Lanes::Float (&x)[kCount], float* out,
                                                 size_t distance, typename Lanes::Int& largest) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kCount; ++i) {
        Lanes::store(x[i], out + i * distance);
        if constexpr (kLast) Lanes::note_magnitude(x[i], largest);
    }
}

// All stages of kCount vectors side by side. kFactors: each element is multiplied by its factor first.
template <typename Lanes, size_t kCount, bool kFactors, bool kLast>
[[gnu::always_inline]] inline void rotate_near(const float* in, const float* factors, float* out,
                                               typename Lanes::Int& largest) {
    typename Lanes::Float x[kCount];
#pragma GCC unroll 16
    for (size_t i = 0; i < kCount; ++i) {
        Lanes::load(in + i * Lanes::kLanes, x[i]);
        if constexpr (kFactors) {
            typename Lanes::Float factor;
            Lanes::load(factors + i * Lanes::kLanes, factor);
            x[i] *= factor;
        }
        Lanes::stages_within(x[i]);
    }
    stages_among(x);
    store_vectors<Lanes, kLast>(x, out, Lanes::kLanes, largest);
}

// The stages at distances kDistance .. kDistance * kCount / 2 of that many elements.
template <typename Lanes, size_t kCount, size_t kDistance>
[[gnu::always_inline]] inline void rotate_far(float* block, typename Lanes::Int& largest) {
    for (size_t i = 0; i < kDistance; i += Lanes::kLanes) {
        typename Lanes::Float x[kCount];
#pragma GCC unroll 16
        for (size_t j = 0; j < kCount; ++j)
            Lanes::load(block + j * kDistance + i, x[j]);
        stages_among(x);
        store_vectors<Lanes, true>(x, block + i, kDistance, largest);
    }
}

// ahead: how many elements further on the next row is; 0 asks for nothing.
template <typename Lanes, size_t kBlock, bool kFactors>
[[gnu::always_inline]] inline void rotate_block(const float* in, const float* factors, float* out,
                                                size_t ahead, typename Lanes::Int& largest) {
    constexpr size_t kVectors = kBlock / Lanes::kLanes < 8 ? kBlock / Lanes::kLanes : 8;
    constexpr size_t kNear = kVectors * Lanes::kLanes;
    for (size_t i = 0; i < kBlock; i += kNear) {
        for (size_t line = i; ahead != 0 && line < i + kNear; line += kLineFloats)
            __builtin_prefetch(in + ahead + line);
        rotate_near<Lanes, kVectors, kFactors, kBlock == kNear>(in + i, kFactors ? factors + i : nullptr,
                                                                out + i, largest);
    }
    if constexpr (kBlock > kNear) rotate_far<Lanes, kBlock / kNear, kNear>(out, largest);
}

// The largest magnitude that note_magnitude() was shown; NaN if one was not finite.
template <typename Lanes>
[[gnu::always_inline]] inline float absmax(typename Lanes::Int largest) {
    int32_t bits = largest[0];
    for (size_t i = 1; i < Lanes::kLanes; ++i)
        bits = largest[i] > bits ? largest[i] : bits;
    return bits < 0x7F800000 ? std::bit_cast<float>(bits) : __builtin_nanf("");
}

// Returns the row's absmax (quantise.hpp).
template <typename Lanes, size_t kBlock, bool kFactors>
float rotate_row(const RowsToRotate& rows, const float* x, float* out) {
    typename Lanes::Int largest = {};
    const float* const factors = rows.factors;
    const size_t whole = rows.K / kBlock * kBlock;
    for (size_t k = 0; k < whole; k += kBlock)
        rotate_block<Lanes, kBlock, kFactors>(x + k, kFactors ? factors + k : nullptr, out + k,
                                              rows.row_stride, largest);
    for (size_t k = whole; k < rows.K_padded; k += kBlock) {
        float padded[kBlock] = {};
        for (size_t i = k; i < rows.K && i < k + kBlock; ++i)
            padded[i - k] = kFactors ? x[i] * factors[i] : x[i];
        rotate_block<Lanes, kBlock, false>(padded, nullptr, out + k, 0, largest);
    }
    return absmax<Lanes>(largest);
}

// By value: what is stored cannot change a local copy.
template <typename Lanes, size_t kBlock>
void rotate_blocks(const RowsToRotate rows) {
    for (size_t m = 0; m < rows.M; ++m) {
        const float* const x = rows.x + m * rows.row_stride;
        float* const out = rows.out + m * rows.K_padded;
        const float largest = rows.factors == nullptr ? rotate_row<Lanes, kBlock, false>(rows, x, out)
                                                      : rotate_row<Lanes, kBlock, true>(rows, x, out);
        if (rows.absmax != nullptr) rows.absmax[m] = largest;
    }
}

// In blocks of rotation_block().
template <typename Lanes, size_t kBlock = kLargestRotation>
void rotate_rows(const RowsToRotate& rows) {
    if constexpr (kBlock > 32) {
        if (rows.K_padded % kBlock != 0) return rotate_rows<Lanes, kBlock / 2>(rows);
    }
    rotate_blocks<Lanes, kBlock>(rows);
}

}  // namespace rknpu2::lanes
