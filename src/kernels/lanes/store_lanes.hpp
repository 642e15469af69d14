// SPDX-License-Identifier: MIT
// Float rows into the int8 cube in vectors, for any number of lanes: written once, compiled for each machine.
//
// Four vectors of a row become one or two atoms, straight from the registers. The rows of a group take turns,
// so that they write whole cache lines of the cube one after the other.
//
// `Lanes` (four_lanes.cpp; eight_lanes_avx2.cpp) says what a vector is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::lanes {

inline constexpr size_t kAtomInt8 = kAtomBytes;

template <typename Lanes, bool kClamp>
struct Rounded {
    [[gnu::always_inline]] static inline typename Lanes::Int of(typename Lanes::Float x, float factor) {
        typename Lanes::Int result = Lanes::round(x * factor);
        if constexpr (kClamp) Lanes::clamp(result, x * factor);
        return result;
    }
};

// What rounding leaves is at most half a step, hence 127 of the finer ones.
template <typename Lanes>
struct Residual {
    [[gnu::always_inline]] static inline typename Lanes::Int of(typename Lanes::Float x, float factor) {
        const typename Lanes::Float steps = x * factor;
        return Lanes::round((steps - Lanes::to_float(Lanes::round(steps))) * kResidualSteps);
    }
};

// Rows first .. first + kRows - 1, whose factors are not 0. By value, and with a copy of the factors, since the
// compiler must assume that storing bytes changes anything that others can see.
template <typename Lanes, typename Form, size_t kRows>
void store_group(const Int8Rows rows, size_t first) {
    float factors[kRows];
    std::memcpy(factors, rows.factors + first, sizeof factors);
    const float* const x = rows.x + first * rows.row_stride;
    constexpr size_t kStep = 4 * Lanes::kLanes;
    constexpr size_t kAtoms = kStep / kAtomInt8;
    using Unsigned = typename Lanes::Unsigned;
    Unsigned sums[kRows] = {};
    const auto store_step = [&](const float* from, size_t row, int8_t* column)
        __attribute__((always_inline)) {
        typename Lanes::Int q[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) {
            typename Lanes::Float values;
            Lanes::load(from + i * Lanes::kLanes, values);
            q[i] = Form::of(values, factors[row]);
        }
        sums[row] += (reinterpret_cast<Unsigned>(q[0]) + reinterpret_cast<Unsigned>(q[1])) +
                     (reinterpret_cast<Unsigned>(q[2]) + reinterpret_cast<Unsigned>(q[3]));
        Lanes::store_atoms(q, column + row * kAtomInt8, rows.column_stride);
    };
    const size_t whole = rows.K / kStep * kStep;
    int8_t* column = rows.native + first * kAtomInt8;
    size_t k = 0;
    for (; k < whole; k += kStep, column += kAtoms * rows.column_stride) {
#pragma GCC unroll 8
        for (size_t m = 0; m < kRows; ++m)
            store_step(x + m * rows.row_stride + k, m, column);
    }
    for (; k < rows.K_padded; k += kStep, column += kAtoms * rows.column_stride) {
        for (size_t m = 0; m < kRows; ++m) {
            float edge[kStep] = {};
            for (size_t i = k; i < rows.K && i < k + kStep; ++i)
                edge[i - k] = x[m * rows.row_stride + i];
            store_step(edge, m, column);
        }
    }
    for (size_t m = 0; rows.totals != nullptr && m < kRows; ++m)
        rows.totals[first + m] = Lanes::sum(sums[m], rows.K_padded);
}

// A group of kRowGroup rows at once, where the loops have constant counts; any other number one by one, and
// so rows with a factor of 0, which are stored as zeros whatever they hold.
template <typename Lanes, typename Form>
void store_rows(const Int8Rows& rows) {
    bool all = rows.M == kRowGroup;
    for (size_t m = 0; m < rows.M; ++m)
        all = all && rows.factors[m] != 0.0F;
    if (all) return store_group<Lanes, Form, kRowGroup>(rows, 0);
    for (size_t m = 0; m < rows.M; ++m) {
        if (rows.factors[m] != 0.0F) {
            store_group<Lanes, Form, 1>(rows, m);
            continue;
        }
        int8_t* atom = rows.native + m * kAtomInt8;
        for (size_t k = 0; k < rows.K_padded; k += kAtomInt8, atom += rows.column_stride)
            std::memset(atom, 0, kAtomInt8);
        if (rows.totals != nullptr) rows.totals[m] = 0;
    }
}

template <typename Lanes>
void store_rows_int8(const Int8Rows& rows, Rounding rounding) {
    switch (rounding) {
        case Rounding::kFits:
            return store_rows<Lanes, Rounded<Lanes, false>>(rows);
        case Rounding::kClamped:
            return store_rows<Lanes, Rounded<Lanes, true>>(rows);
        case Rounding::kResidual:
            return store_rows<Lanes, Residual<Lanes>>(rows);
    }
}

}  // namespace rknpu2::lanes
