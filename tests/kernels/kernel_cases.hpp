// SPDX-License-Identifier: MIT
// What the kernel tests share: rows of awkward numbers, and comparison of floats by their bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/reference_kernels.hpp"
#include "matrix/layout.hpp"
#include "support/guarded_buffer.hpp"
#include "support/random.hpp"

namespace rknpu2::test {

// Equal bits, except that any NaN equals any NaN.
inline bool same_float(float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

template <typename Range>
bool same_floats(const Range& a, const Range& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_float);
}

template <typename Range>
bool same_bits(const Range& a, const Range& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

// One row of K values: ordinary, zero, integers and halves (ties), huge, tiny, subnormal, of mixed magnitude,
// or with a few values that are not finite.
inline void fill_row(Random& random, float* row, size_t K) {
    const size_t kind = random.size(0, 9);
    for (size_t k = 0; k < K; ++k) {
        const float value = random.normal();
        switch (kind) {
            case 0:
                row[k] = 0.0F;
                break;
            case 1:
                row[k] = std::round(value * 127) / 2;
                break;
            case 2:
                row[k] = value * 0x1p125F;
                break;
            case 3:
                row[k] = value * 0x1p-118F;
                break;
            case 4:
                row[k] = value * 0x1p-140F;
                break;
            case 5:
                row[k] = random.any_finite();
                break;
            case 6:
                row[k] = random.one_in(8) ? random.not_finite() : value;
                break;
            case 7:
                row[k] = value * 40000.0F;  // about the largest half
                break;
            default:
                row[k] = value;
        }
    }
    if (kind == 1) row[random.size(0, K - 1)] = 127.0F;  // int8 scale 1: the halves are ties
}

// M rows, `stride` apart, the last one flush against the guard page; NaN between the rows.
inline GuardedBuffer<float> random_rows(Random& random, size_t M, size_t K, size_t stride) {
    GuardedBuffer<float> rows(M == 0 ? 0 : (M - 1) * stride + K, Edge::kEnd, 0xFF);
    for (size_t m = 0; m < M; ++m)
        fill_row(random, rows.data() + m * stride, K);
    return rows;
}

// Row m0+m of an A cube as out[m * K + k].
template <typename Element>
void unpack_rows(const Element* native, size_t M_total, size_t m0, size_t M, size_t K, Element* out) {
    for (size_t m = 0; m < M; ++m) {
        for (size_t k = 0; k < K; ++k)
            out[m * K + k] = native[a_index_native(m0 + m, k, M_total, dtype_of<Element>())];
    }
}

// Weight k < k_count of kernel n0+i of a B block as out[i * k_count + k].
template <typename Element>
void unpack_kernels(const Element* native, size_t K_padded, size_t N_padded, size_t n0, size_t n_count,
                    size_t k_count, Element* out) {
    for (size_t i = 0; i < n_count; ++i) {
        for (size_t k = 0; k < k_count; ++k)
            out[i * k_count + k] = native[b_index_native(k, n0 + i, K_padded, N_padded, dtype_of<Element>())];
    }
}

inline bool all_finite(const float* row, size_t K) {
    return std::all_of(row, row + K, [](float x) { return std::isfinite(x); });
}

}  // namespace rknpu2::test
