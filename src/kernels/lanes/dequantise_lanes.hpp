// SPDX-License-Identifier: MIT
// dequantise_rows() in vectors, for any number of lanes: written once, compiled for each machine.
//
// A patch of 4 rows by 16 columns is four whole cache lines of the cube and four of the output: each line is
// touched once and can be forgotten. (Where rows or columns are a power of two, all these lines fall into one
// set of the cache, so nothing survives there for a second visit.) Patches go down kBlockM rows first, along
// four sequential streams of the cube, then right, where the output rows' pages are still in the TLB.
//
// A result larger than a core's own cache is written around the caches where the machine has such stores, and
// the cube's lines are asked for a patch ahead: otherwise the lines of `out` are read before they are
// overwritten. Where the floats stay in the core's cache, as those of a few rows of a flow do, the cube's
// lines are asked for eight column groups ahead: each group of a wide result lies in another page, where
// nothing else fetches ahead. (With ordinary stores of more than that, asking ahead makes it slower.)
//
// `Lanes` (four_lanes.cpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dequantise.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kAtomColumns = 4;
inline constexpr size_t kPatchM = 4;
inline constexpr size_t kPatchN = 16;
inline constexpr size_t kBlockM = 128;

// Results of this size and more are not in a core's own cache when they are read again.
inline constexpr size_t kStreamedBytes = size_t{1} << 20;

// How many columns ahead lines of the cube are asked for.
inline constexpr size_t kAheadOfStreams = kPatchN;
inline constexpr size_t kAheadInCache = 2 * kPatchN;

enum class Finish { kStore, kStream, kAdd };

template <typename Element>
[[gnu::always_inline]] inline const Element* first_atom(const CubeToRows<Element>& rows, size_t m, size_t n) {
    return rows.native + (n / kAtomColumns * rows.M_total + rows.m0 + m) * kAtomColumns;
}

template <typename Lanes, Finish kFinish, size_t kRows, typename Element>
[[gnu::always_inline]] inline void scale_patch(const CubeToRows<Element>& rows, size_t m, size_t n) {
    constexpr size_t kLanes = Lanes::kLanes;
    using Float = typename Lanes::Float;
    const Element* native = first_atom(rows, m, n);
    const size_t step = rows.M_total * kAtomColumns;
    Float channels[kPatchN / kLanes];
#pragma GCC unroll 4
    for (size_t i = 0; i < kPatchN / kLanes; ++i)
        Lanes::load(rows.channel_scales + n + i * kLanes, channels[i]);
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) {
        float* out = rows.out + (m + r) * rows.out_stride + n;
        const float row_scale = rows.row_scales[m + r];
#pragma GCC unroll 4
        for (size_t i = 0; i < kPatchN / kLanes; ++i) {
            Float value;
            Lanes::load_columns(native + i * (kLanes / kAtomColumns) * step + r * kAtomColumns, step, value);
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

// Columns from n on of one row, at the right edge.
template <Finish kFinish, typename Element>
[[gnu::always_inline]] inline void scale_edge(const CubeToRows<Element>& rows, size_t m, size_t n) {
    for (; n < rows.N; ++n) {
        const Element acc = first_atom(rows, m, n)[n % kAtomColumns];
        const float value = (static_cast<float>(acc) * rows.row_scales[m]) * rows.channel_scales[n];
        float& out = rows.out[m * rows.out_stride + n];
        out = kFinish == Finish::kAdd ? out + value : value;
    }
}

// The lines of four rows in the column groups of a patch.
template <typename Element>
[[gnu::always_inline]] inline void ask_for_patch(const CubeToRows<Element>& rows, size_t m, size_t n) {
    const Element* native = first_atom(rows, m, n);
    for (size_t group = 0; group < kPatchN / kAtomColumns; ++group)
        __builtin_prefetch(native + group * rows.M_total * kAtomColumns);
}

// By value: what is stored cannot change a local copy, so its pointers stay in registers. `ahead`: columns; 0
// asks for nothing.
template <typename Lanes, Finish kFinish, typename Element>
void scale_rows(const CubeToRows<Element> rows, size_t ahead) {
    for (size_t mb = 0; mb < rows.M; mb += kBlockM) {
        const size_t m_end = mb + kBlockM < rows.M ? mb + kBlockM : rows.M;
        size_t n = 0;
        for (; n + kPatchN <= rows.N; n += kPatchN) {
            const bool ask = ahead > 0 && n + ahead + kPatchN <= rows.N;
            size_t m = mb;
            for (; m + kPatchM <= m_end; m += kPatchM) {
                if (ask) ask_for_patch(rows, m, n + ahead);
                scale_patch<Lanes, kFinish, kPatchM>(rows, m, n);
            }
            for (; m < m_end; ++m)
                scale_patch<Lanes, kFinish, 1>(rows, m, n);
        }
        for (size_t m = mb; m < m_end; ++m)
            scale_edge<kFinish>(rows, m, n);
    }
}

template <typename Lanes, typename Element>
void dequantise_rows(const CubeToRows<Element>& rows) {
    if (rows.M_total == 1) {  // a plain row
        for (size_t n = 0; rows.M == 1 && n < rows.N; ++n) {
            const float value =
                (static_cast<float>(rows.native[n]) * rows.row_scales[0]) * rows.channel_scales[n];
            rows.out[n] = rows.mode == Accumulate::kAdd ? rows.out[n] + value : value;
        }
        return;
    }
    const bool large = rows.M * rows.N * sizeof(float) >= kStreamedBytes;
    const size_t ahead = large ? 0 : kAheadInCache;
    if (rows.mode == Accumulate::kAdd) return scale_rows<Lanes, Finish::kAdd>(rows, ahead);
    if constexpr (Lanes::kStreams) {
        constexpr size_t kBytes = Lanes::kLanes * sizeof(float);
        const bool aligned =
            reinterpret_cast<uintptr_t>(rows.out) % kBytes == 0 && rows.out_stride % Lanes::kLanes == 0;
        if (aligned && large) {
            scale_rows<Lanes, Finish::kStream>(rows, kAheadOfStreams);
            return Lanes::end_streams();
        }
    }
    scale_rows<Lanes, Finish::kStore>(rows, ahead);
}

}  // namespace rknpu2::lanes
