// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

// Up to kTogether kernels side by side: their runs of 32 weights are neighbours in the block, so the writes
// fill whole cache lines, while the reads go along as many rows.
inline constexpr size_t kTogether = 4;

template <typename Lanes>
[[gnu::always_inline]] inline void pack_kernels(const float* rows, size_t row_stride, size_t count,
                                                size_t k_count, size_t K_padded,
                                                typename Lanes::Element* first, const float* scales) {
    using Element = typename Lanes::Element;
    constexpr size_t kTile = kTileK * (kTileK / sizeof(Element));  // g kernels of 32 weights
    float factors[kTogether];
    for (size_t i = 0; i < count; ++i)
        factors[i] = storing_factor(scales[i]);
    Element runs[kTogether][kRun];
    Element* tile = first;
    for (size_t k = 0; k < K_padded; k += kRun) {
        const size_t run = std::min(kRun, K_padded - k);
        for (size_t i = 0; i < count; ++i)
            convert_run<Lanes>(rows + i * row_stride, factors[i], k_count, k, run, runs[i]);
        for (size_t t = 0; t < run; t += kTileK, tile += kTile)
            for (size_t i = 0; i < count; ++i)
                std::memcpy(tile + i * kTileK, &runs[i][t], kTileK * sizeof(Element));
    }
}

template <typename Lanes>
[[gnu::always_inline]] inline void pack(const RowsToBlock<typename Lanes::Element> from,
                                        const float* scales) {
    constexpr size_t kGroup = kTileK / sizeof(typename Lanes::Element);
    for (size_t i = 0; i < from.n_count;) {
        const size_t n = from.n0 + i;
        const size_t count = std::min(kTogether - n % kTogether, from.n_count - i);
        pack_kernels<Lanes>(
            from.rows + from.k0 + i * from.row_stride, from.row_stride, count, from.k_count, from.K_padded,
            from.native + n / kGroup * kGroup * from.K_padded + n % kGroup * kTileK, scales + i);
        i += count;
    }
}

}  // namespace

RKNPU2_CLONES void add_rounding_errors_int8(const float* row, size_t K, float scale, float factor,
                                            const float* values, double* sums) {
    const auto error = [=](size_t k) __attribute__((always_inline)) {
        const float stored = std::bit_cast<float>(int8_bits(row[k] * factor)) - kMagic;
        return (static_cast<double>(row[k]) - static_cast<double>(stored) * static_cast<double>(scale)) *
               static_cast<double>(values[k]);
    };
    double lanes[kPartialSums];
    std::copy_n(sums, kPartialSums, lanes);
    const size_t whole = K / kPartialSums * kPartialSums;
    for (size_t k = 0; k < whole; k += kPartialSums)
        for (size_t i = 0; i < kPartialSums; ++i)
            lanes[i] += error(k + i);
    for (size_t k = whole; k < K; ++k)
        lanes[k - whole] += error(k);
    std::copy_n(lanes, kPartialSums, sums);
}

}  // namespace rknpu2::generic

namespace rknpu2 {

RKNPU2_CLONES void pack_rows(const RowsToBlock<int8_t>& rows, const float* scales) {
    generic::pack<generic::Int8Lanes>(rows, scales);
}

RKNPU2_CLONES void pack_rows(const RowsToBlock<uint16_t>& rows, const float* scales) {
    generic::pack<generic::HalfLanes>(rows, scales);
}

}  // namespace rknpu2
