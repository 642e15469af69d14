#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/generic.hpp"
#include "kernels/lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

// Deals runs of kRows rows out to the cube, atom by atom with the rows in the inner loop: neighbouring rows
// of an atom column share a cache line, which is thus written whole.
template <size_t kRows, typename Element>
[[gnu::always_inline]] inline void deal_atoms(const Element (*runs)[kRun], size_t count, size_t column_stride,
                                              Element* column) {
    constexpr size_t kAtom = kAtomBytes / sizeof(Element);
    for (size_t i = 0; i < count; i += kAtom, column += column_stride) {
        for (size_t m = 0; m < kRows; ++m)
            std::memcpy(column + m * kAtom, &runs[m][i], kAtomBytes);
    }
}

template <typename Element>
[[gnu::always_inline]] inline int32_t sum_of(const Element* run, size_t count) {
    int32_t sum = 0;
    for (size_t i = 0; i < count; ++i)
        sum += run[i];
    return sum;
}

template <size_t kRows, typename Lanes>
[[gnu::always_inline]] inline void store_group(const float* x, size_t row_stride, size_t K, size_t K_padded,
                                               size_t M_total, size_t m0, typename Lanes::Element* native,
                                               const float* factors, int32_t* totals) {
    using Element = typename Lanes::Element;
    constexpr size_t kAtom = kAtomBytes / sizeof(Element);
    Element runs[kRows][kRun];
    for (size_t k = 0; k < K_padded; k += kRun) {
        const size_t count = std::min(kRun, K_padded - k);
        for (size_t m = 0; m < kRows; ++m)
            convert_run<Lanes>(x + m * row_stride, factors[m], K, k, count, runs[m]);
        for (size_t m = 0; totals != nullptr && m < kRows; ++m)
            totals[m] += sum_of(runs[m], count);
        deal_atoms<kRows>(runs, count, M_total * kAtom, native + k * M_total + m0 * kAtom);
    }
}

// A cube of one row is the plain row. Otherwise groups of kRowGroup, where the loops have constant counts,
// and single rows at the edges.
template <typename Lanes>
[[gnu::always_inline]] inline void store_rows(const float* x, size_t row_stride, size_t M, size_t K,
                                              size_t K_padded, size_t M_total, size_t m0,
                                              typename Lanes::Element* native, const float* scales,
                                              int32_t* totals) {
    if (totals != nullptr) std::fill_n(totals, M, 0);
    float factors[kRowGroup];
    for (size_t m = 0; m < M; ++m)
        factors[m] = storing_factor(scales[m]);
    if (M_total == 1 && M == 1) {
        convert_run<Lanes>(x, factors[0], K, 0, K_padded, native);
        if (totals != nullptr) totals[0] = sum_of(native, K_padded);
    } else if (M == kRowGroup) {
        store_group<kRowGroup, Lanes>(x, row_stride, K, K_padded, M_total, m0, native, factors, totals);
    } else {
        for (size_t m = 0; m < M; ++m)
            store_group<1, Lanes>(x + m * row_stride, row_stride, K, K_padded, M_total, m0 + m, native,
                                  factors + m, totals == nullptr ? nullptr : totals + m);
    }
}

}  // namespace

// Floats without their sign are ordered as their bit patterns are, with every NaN above infinity: an integer
// maximum needs no care for NaN and vectorises, which float compares in a reduction do not.
RKNPU2_CLONES float row_absmax(const float* x, size_t K) {
    int32_t largest = 0;
    for (size_t k = 0; k < K; ++k) {
        const int32_t bits = std::bit_cast<int32_t>(x[k]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7F800000 ? std::bit_cast<float>(largest) : std::numeric_limits<float>::quiet_NaN();
}

RKNPU2_CLONES void store_rows_int8(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                                   size_t M_total, size_t m0, int8_t* native, const float* scales,
                                   int32_t* totals) {
    store_rows<Int8Lanes>(x, row_stride, M, K, K_padded, M_total, m0, native, scales, totals);
}

RKNPU2_CLONES void store_residuals_int8(const float* x, size_t row_stride, size_t M, size_t K,
                                        size_t K_padded, size_t M_total, size_t m0, int8_t* native,
                                        const float* scales, int32_t* totals) {
    store_rows<ResidualLanes>(x, row_stride, M, K, K_padded, M_total, m0, native, scales, totals);
}

RKNPU2_CLONES void store_rows_fp16(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                                   size_t M_total, size_t m0, uint16_t* native, const float* scales) {
    store_rows<HalfLanes>(x, row_stride, M, K, K_padded, M_total, m0, native, scales, nullptr);
}

}  // namespace rknpu2::generic
