// SPDX-License-Identifier: MIT
// Results into float rows in vectors, for any number of lanes: written once, compiled for each machine.
//
// A tile of 4 rows by 16 columns is four whole cache lines of the cube and four of the output: each line is
// touched once and can be forgotten. (In matrices with a power of two of rows or columns all these lines fall
// into one set of the cache, so nothing survives there for a second visit.) Tiles go down kBlockM rows first,
// along four sequential streams of the cube, then right, where the output rows' pages are still in the TLB.
//
// A result larger than a core's own cache is written around the caches where the machine has such stores, and
// the cube's lines are asked for a tile ahead: otherwise the lines of `out` are read before they are
// overwritten. Where the floats stay in the core's cache, as those of a few rows of a flow do, the cube's
// lines are asked for eight column groups ahead: of a wide result each group lies in another page, where
// nothing else fetches ahead. (With ordinary stores of more than that, asking ahead makes it slower.)
//
// `Lanes` (four_lanes.hpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dequantise.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kAtomColumns = 4;
inline constexpr size_t kTileM = 4;
inline constexpr size_t kTileN = 16;
inline constexpr size_t kBlockM = 128;

// Results of this size and more are not in a core's own cache when they are read again.
inline constexpr size_t kStreamedBytes = size_t{1} << 20;

// How many columns ahead lines of the cube are asked for.
inline constexpr size_t kAheadOfStreams = kTileN;
inline constexpr size_t kAheadInCache = 2 * kTileN;

// What becomes of a value.
enum class Finish { kStore, kStream, kAdd };

// Where a call's rows are: pointers to row 0, column 0, and the steps between column groups and output rows.
template <typename Element>
struct Results {
    const Element* native;
    size_t group_step;
    const float* row_scales;
    const float* channel_scales;
    float* out;
    size_t out_stride;
};

template <typename Lanes, Finish kFinish, size_t kRows, typename Element>
[[gnu::always_inline]] inline void scale_tile(const Results<Element>& results, size_t m, size_t n) {
    constexpr size_t kLanes = Lanes::kLanes;
    using Float = typename Lanes::Float;
    const Element* native = results.native + n / kAtomColumns * results.group_step + m * kAtomColumns;
    Float channels[kTileN / kLanes];
#pragma GCC unroll 4
    for (size_t i = 0; i < kTileN / kLanes; ++i)
        Lanes::load(results.channel_scales + n + i * kLanes, channels[i]);
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) {
        float* out = results.out + (m + r) * results.out_stride + n;
        const float row_scale = results.row_scales[m + r];
#pragma GCC unroll 4
        for (size_t i = 0; i < kTileN / kLanes; ++i) {
            Float value;
            Lanes::load_columns(native + i * (kLanes / kAtomColumns) * results.group_step + r * kAtomColumns,
                                results.group_step, value);
            value = (value * row_scale) * channels[i];
            if constexpr (kFinish == Finish::kStream) {
                Lanes::stream(value, out + i * kLanes);
                continue;
            }
            if constexpr (kFinish == Finish::kAdd) {
                Float before;
                Lanes::load(out + i * kLanes, before);
                value = before + value;
            }
            Lanes::store(value, out + i * kLanes);
        }
    }
}

// Columns n .. n_end-1 of one row, at the right edge.
template <Finish kFinish, typename Element>
[[gnu::always_inline]] inline void scale_edge(const Results<Element>& results, size_t m, size_t n,
                                              size_t n_end) {
    for (; n < n_end; ++n) {
        const Element acc =
            results.native[n / kAtomColumns * results.group_step + m * kAtomColumns + n % kAtomColumns];
        const float value = (static_cast<float>(acc) * results.row_scales[m]) * results.channel_scales[n];
        float& out = results.out[m * results.out_stride + n];
        out = kFinish == Finish::kAdd ? out + value : value;
    }
}

// The lines of four rows in the column groups of a tile.
template <typename Element>
[[gnu::always_inline]] inline void ask_for_tile(const Results<Element>& results, size_t m, size_t n) {
    const Element* native = results.native + n / kAtomColumns * results.group_step + m * kAtomColumns;
    for (size_t group = 0; group < kTileN / kAtomColumns; ++group)
        __builtin_prefetch(native + group * results.group_step);
}

// By value: what is stored cannot change a local copy, so its pointers stay in registers. `ahead`: columns; 0
// asks for nothing.
template <typename Lanes, Finish kFinish, typename Element>
void scale_results(const Results<Element> results, size_t M, size_t N, size_t ahead) {
    for (size_t mb = 0; mb < M; mb += kBlockM) {
        const size_t m_end = mb + kBlockM < M ? mb + kBlockM : M;
        size_t n = 0;
        for (; n + kTileN <= N; n += kTileN) {
            const bool ask = ahead > 0 && n + ahead + kTileN <= N;
            size_t m = mb;
            for (; m + kTileM <= m_end; m += kTileM) {
                if (ask) ask_for_tile(results, m, n + ahead);
                scale_tile<Lanes, kFinish, kTileM>(results, m, n);
            }
            for (; m < m_end; ++m)
                scale_tile<Lanes, kFinish, 1>(results, m, n);
        }
        for (size_t m = mb; m < m_end; ++m)
            scale_edge<kFinish>(results, m, n, N);
    }
}

template <typename Lanes, typename Element>
void scale_rows(const Element* native, size_t M_total, size_t m0, size_t M, size_t N, const float* row_scales,
                const float* channel_scales, float* out, size_t out_stride, Accumulate mode) {
    if (M_total == 1) {  // a plain row
        for (size_t n = 0; M == 1 && n < N; ++n) {
            const float value = (static_cast<float>(native[n]) * row_scales[0]) * channel_scales[n];
            out[n] = mode == Accumulate::kAdd ? out[n] + value : value;
        }
        return;
    }
    const Results<Element> results{
        native + m0 * kAtomColumns, M_total * kAtomColumns, row_scales, channel_scales, out, out_stride};
    const bool large = M * N * sizeof(float) >= kStreamedBytes;
    const size_t ahead = large ? 0 : kAheadInCache;
    if (mode == Accumulate::kAdd) return scale_results<Lanes, Finish::kAdd>(results, M, N, ahead);
    if constexpr (Lanes::kStreams) {
        constexpr size_t kBytes = Lanes::kLanes * sizeof(float);
        const bool aligned =
            reinterpret_cast<uintptr_t>(out) % kBytes == 0 && out_stride % Lanes::kLanes == 0;
        if (aligned && large) {
            scale_results<Lanes, Finish::kStream>(results, M, N, kAheadOfStreams);
            return Lanes::end_streams();
        }
    }
    scale_results<Lanes, Finish::kStore>(results, M, N, ahead);
}

}  // namespace rknpu2::lanes
