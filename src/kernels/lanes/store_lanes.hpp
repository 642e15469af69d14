// SPDX-License-Identifier: MIT
// Float rows into the int8 cube in vectors, for any number of lanes: written once, compiled for each machine.
//
// Four vectors of a row become one or two atoms, straight from the registers; the rows of a group take turns,
// so that they write whole cache lines of the cube one after the other. The caller has chosen the scales and
// says whether values can lie outside the range of int8: with a row's own scale they cannot.
//
// `Lanes` (four_lanes.hpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/quantise.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kAtomInt8 = kAtomBytes;

// How floats become integers. By factors: round(x * factor), `kClamp` to +-127.
template <typename Lanes, bool kClamp>
struct Rounded {
    [[gnu::always_inline]] static inline typename Lanes::Int of(typename Lanes::Float x, float factor) {
        typename Lanes::Int result = Lanes::round(x * factor);
        if constexpr (kClamp) Lanes::clamp(result, x * factor);
        return result;
    }
};

// What that leaves, in steps kResidualSteps times finer: at most half a step, hence 127 of them.
template <typename Lanes>
struct Residual {
    [[gnu::always_inline]] static inline typename Lanes::Int of(typename Lanes::Float x, float factor) {
        const typename Lanes::Float steps = x * factor;
        return Lanes::round((steps - Lanes::to_float(Lanes::round(steps))) * kResidualSteps);
    }
};

// kRows rows with factors that are not 0. Works with copies of what it is given, since the compiler must
// assume that storing bytes changes anything that others can see.
template <typename Lanes, typename Form, size_t kRows>
void store_group(const CubeWalk rows, const float* given_factors, int32_t* totals) {
    float factors[kRows];
    std::memcpy(factors, given_factors, sizeof factors);
    constexpr size_t kStep = 4 * Lanes::kLanes;
    constexpr size_t kAtoms = kStep / kAtomInt8;
    using Unsigned = typename Lanes::Unsigned;
    Unsigned sums[kRows] = {};
    const auto store_step = [&](const float* x, size_t row, int8_t* column) __attribute__((always_inline)) {
        typename Lanes::Int q[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) {
            typename Lanes::Float values;
            Lanes::load(x + i * Lanes::kLanes, values);
            q[i] = Form::of(values, factors[row]);
        }
        sums[row] += (reinterpret_cast<Unsigned>(q[0]) + reinterpret_cast<Unsigned>(q[1])) +
                     (reinterpret_cast<Unsigned>(q[2]) + reinterpret_cast<Unsigned>(q[3]));
        Lanes::store_atoms(q, column + row * kAtomInt8, rows.column_stride);
    };
    const size_t whole = rows.K / kStep * kStep;
    int8_t* column = rows.native;
    size_t k = 0;
    for (; k < whole; k += kStep, column += kAtoms * rows.column_stride) {
#pragma GCC unroll 8
        for (size_t m = 0; m < kRows; ++m)
            store_step(rows.x + m * rows.row_stride + k, m, column);
    }
    for (; k < rows.K_padded; k += kStep, column += kAtoms * rows.column_stride) {
        for (size_t m = 0; m < kRows; ++m) {
            float edge[kStep] = {};
            for (size_t i = k; i < rows.K && i < k + kStep; ++i)
                edge[i - k] = rows.x[m * rows.row_stride + i];
            store_step(edge, m, column);
        }
    }
    for (size_t m = 0; totals != nullptr && m < kRows; ++m)
        totals[m] = Lanes::sum(sums[m], rows.K_padded);
}

// A group of kRowGroup rows at once, where the loops have constant counts; any other number one by one, and
// so rows with a factor of 0, which are stored as zeros whatever they hold.
template <typename Lanes, typename Form>
void store_rows(CubeWalk rows, size_t M, const float* factors, int32_t* totals) {
    bool all = M == kRowGroup;
    for (size_t m = 0; m < M; ++m)
        all = all && factors[m] != 0.0F;
    if (all) return store_group<Lanes, Form, kRowGroup>(rows, factors, totals);
    for (size_t m = 0; m < M; ++m, rows.x += rows.row_stride, rows.native += kAtomInt8) {
        int32_t* const total = totals == nullptr ? nullptr : totals + m;
        if (factors[m] != 0.0F) {
            store_group<Lanes, Form, 1>(rows, factors + m, total);
            continue;
        }
        for (size_t k = 0; k < rows.K_padded; k += kAtomInt8)
            std::memset(rows.native + k / kAtomInt8 * rows.column_stride, 0, kAtomInt8);
        if (total != nullptr) *total = 0;
    }
}

template <typename Lanes>
void store_rows_int8(const CubeWalk& rows, size_t M, const float* factors, bool fits, int32_t* totals) {
    if (fits) return store_rows<Lanes, Rounded<Lanes, false>>(rows, M, factors, totals);
    store_rows<Lanes, Rounded<Lanes, true>>(rows, M, factors, totals);
}

template <typename Lanes>
void store_residuals_int8(const CubeWalk& rows, size_t M, const float* factors, int32_t* totals) {
    store_rows<Lanes, Residual<Lanes>>(rows, M, factors, totals);
}

}  // namespace rknpu2::lanes
