// SPDX-License-Identifier: MIT
#include "kernels/reference_kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/scale.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr auto kReference = TestTier::kReference;

// One stored element; `scaled` is x * storing_factor(scale). Magnitudes beyond the type's largest saturate, infinities
// and NaN (by its sign bit) too, so nothing but numbers reaches the NPU; with the scales of scale.hpp none of this
// happens.
template <typename Element>
Element stored(float scaled) {
    const float largest = std::is_same_v<Element, int8_t> ? 127.0F : kFloat16Max;
    const float magnitude = std::fabs(scaled) <= largest ? std::fabs(scaled) : largest;
    const float clamped = std::copysign(magnitude, scaled);
    if constexpr (std::is_same_v<Element, uint16_t>) {
        return float_to_float16(clamped);
    } else {
        static_assert(std::is_same_v<Element, int8_t>);
        return static_cast<int8_t>(std::nearbyint(clamped));  // ties to even, in the default rounding mode
    }
}

template <typename Element>
Element& cell(const RowsToCube<Element>& rows, size_t m, size_t k) {
    return rows.native[a_index_native(rows.m0 + m, k, rows.M_total, dtype_of<Element>())];
}

// A row's element, multiplied by `factor`; 0 for what is stored as zero.
template <typename Element>
float scaled(const RowsToCube<Element>& rows, size_t m, size_t k, float factor) {
    return k < rows.K && factor != 0.0F ? rows.x[m * rows.row_stride + k] * factor : 0.0F;
}

template <typename Element>
void store_row(const RowsToCube<Element>& rows, size_t m, float scale) {
    const float factor = storing_factor(scale);
    for (size_t k = 0; k < rows.K_padded; ++k) {
        const bool there = k < rows.K && factor != 0.0F;
        cell(rows, m, k) = there ? stored<Element>(scaled(rows, m, k, factor)) : Element{0};
    }
}

// sums[m] += step * what the row adds up to.
void add_sum(const RowsToCube<int8_t>& rows, size_t m, float step, float* sums) {
    if (sums == nullptr) return;
    int32_t total = 0;
    for (size_t k = 0; k < rows.K_padded; ++k)
        total += cell(rows, m, k);
    sums[m] += step * static_cast<float>(total);
}

template <typename Element>
float absmax_of(const RowsToCube<Element>& rows, size_t m) {
    return row_absmax(rows.x + m * rows.row_stride, rows.K, kReference);
}

struct Row {
    const float* x;
    const float* factors;
    size_t K;

    float element(size_t k) const {
        if (k >= K) return 0.0F;
        return factors == nullptr ? x[k] : x[k] * factors[k];
    }
};

// Element k of the block of `size` elements from `first` on, rotated: the sum over the block with the signs of
// a Hadamard matrix, in the order in which the butterflies add. A butterfly at distance d combines the sums
// of two halves of 2d elements.
float rotated(const Row& row, size_t first, size_t size, size_t k) {
    if (size == 1) return row.element(first);
    const size_t half = size / 2;
    const float low = rotated(row, first, half, k % half);
    const float high = rotated(row, first + half, half, k % half);
    return k < half ? low + high : low - high;
}

// The p blocks of `step` elements from `first` on and their successors: every element of each p-th block.
void reflect_blocks(float* row, size_t K, size_t p, size_t step) {
    for (size_t k = 0; k < K; ++k) {
        if (k / step % p != 0) continue;
        float sum = row[k];
        for (size_t b = 1; b < p; ++b)
            sum += row[k + b * step];
        sum *= 2.0F / static_cast<float>(p);
        for (size_t b = 0; b < p; ++b)
            row[k + b * step] -= sum;
    }
}

float dot(const float* a, const float* b, size_t K) {
    double sums[4] = {};
    for (size_t k = 0; k < K; ++k)
        sums[k % 4] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    return static_cast<float>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Calls store(position, element, value) for what a block gets. Returns whether all that is seen is finite.
template <typename Store>
bool pack_halves(const HalvesToBlock& from, const Store& store) {
    bool finite = true;
    for (size_t i = 0; i < from.count; ++i) {
        const bool seen = from.seen == nullptr || from.seen[i] != 0;
        for (size_t k = 0; k < from.width_padded; ++k) {
            uint16_t value = 0;
            if (seen && k < from.width) std::memcpy(&value, from.rows + i * from.row_bytes + k * 2, 2);
            finite = finite && (value & 0x7C00U) != 0x7C00U;
            store(from.first + i, k, value);
        }
    }
    return finite;
}

}  // namespace

std::span<const TestTier> test_tiers() {
    static constexpr TestTier kTiers[] = {TestTier::kReference, TestTier::kGeneric, TestTier::kAvx2};
    return std::span(kTiers).first(1 + available_tiers().size());
}

float row_absmax(const float* x, size_t K, TestTier tier) {
    if (tier != kReference) return row_absmax(x, K);
    float largest = 0.0F;
    for (size_t k = 0; k < K; ++k) {
        if (!std::isfinite(x[k])) return std::numeric_limits<float>::quiet_NaN();
        largest = std::max(largest, std::fabs(x[k]));
    }
    return largest;
}

void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, TestTier tier, float* sums,
                        const float* absmax) {
    if (tier != kReference) return quantise_rows_int8(rows, scales, of_product(tier), sums, absmax);
    for (size_t m = 0; m < rows.M; ++m) {
        scales[m] = int8_scale(absmax != nullptr ? absmax[m] : absmax_of(rows, m));
        store_row(rows, m, scales[m]);
        add_sum(rows, m, scales[m], sums);
    }
}

void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales, TestTier tier) {
    if (tier != kReference) return quantise_rows_int8_scaled(rows, scale, scales, of_product(tier));
    for (size_t m = 0; m < rows.M; ++m) {
        const float absmax = absmax_of(rows, m);
        scales[m] = std::isnan(absmax) ? absmax : scale;
        store_row(rows, m, scales[m]);
    }
}

void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             TestTier tier, float* sums) {
    if (tier != kReference)
        return quantise_residuals_int8(rows, scales, residual_scales, of_product(tier), sums);
    for (size_t m = 0; m < rows.M; ++m) {
        residual_scales[m] = scales[m] / kResidualSteps;
        for (size_t k = 0; k < rows.K_padded; ++k) {
            const float steps = scaled(rows, m, k, storing_factor(scales[m]));
            const auto rounded = static_cast<float>(stored<int8_t>(steps));
            cell(rows, m, k) = stored<int8_t>((steps - rounded) * kResidualSteps);
        }
        add_sum(rows, m, residual_scales[m], sums);
    }
}

void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales, TestTier tier) {
    if (tier != kReference) return convert_rows_fp16(rows, scales);
    for (size_t m = 0; m < rows.M; ++m) {
        scales[m] = fp16_scale(absmax_of(rows, m));
        store_row(rows, m, scales[m]);
    }
}

template <typename Element>
void pack_rows(const RowsToBlock<Element>& from, const float* scales, TestTier tier) {
    if (tier != kReference) return pack_rows(from, scales);
    for (size_t i = 0; i < from.n_count; ++i) {
        const float factor = storing_factor(scales[i]);
        const float* const row = from.rows + i * from.row_stride + from.k0;
        for (size_t k = 0; k < from.K_padded; ++k) {
            const bool there = k < from.k_count && factor != 0.0F;
            from.native[b_index_native(k, from.n0 + i, from.K_padded, from.N_padded, dtype_of<Element>())] =
                there ? stored<Element>(row[k] * factor) : Element{0};
        }
    }
}
template void pack_rows(const RowsToBlock<int8_t>&, const float*, TestTier);
template void pack_rows(const RowsToBlock<uint16_t>&, const float*, TestTier);

double rounding_error_int8(const float* row, size_t K, float scale, const float* values, TestTier tier) {
    if (tier != kReference) return rounding_error_int8(row, K, scale, values);
    const float factor = storing_factor(scale);
    if (factor == 0.0F) return 0;
    std::array<double, kPartialSums> sums{};
    for (size_t k = 0; k < K; ++k) {
        const double there = stored<int8_t>(row[k] * factor);
        sums[k % kPartialSums] += (row[k] - there * scale) * values[k];
    }
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows, TestTier tier) {
    if (tier != kReference) return dequantise_rows(rows, of_product(tier));
    for (size_t m = 0; m < rows.M; ++m) {
        for (size_t n = 0; n < rows.N; ++n) {
            const Element acc =
                rows.native[c_index_native(rows.m0 + m, n, rows.M_total, dtype_of<Element>())];
            const float value = (static_cast<float>(acc) * rows.row_scales[m]) * rows.channel_scales[n];
            float& target = rows.out[m * rows.out_stride + n];
            target = rows.mode == Accumulate::kAdd ? target + value : value;
        }
    }
}
template void dequantise_rows(const CubeToRows<int32_t>&, TestTier);
template void dequantise_rows(const CubeToRows<float>&, TestTier);

void rotate_rows(const RowsToRotate& rows, TestTier tier) {
    if (tier != kReference) return rotate_rows(rows, of_product(tier));
    const size_t block = rotation_block(rows.K_padded);
    for (size_t m = 0; m < rows.M; ++m) {
        const Row row{rows.x + m * rows.row_stride, rows.factors, rows.K};
        float* const out = rows.out + m * rows.K_padded;
        for (size_t k = 0; k < rows.K_padded; ++k)
            out[k] = rotated(row, k / block * block, block, k % block);
        if (rows.absmax != nullptr) rows.absmax[m] = row_absmax(out, rows.K_padded, kReference);
    }
}

void mix_blocks(float* rows, size_t M, size_t K_padded, TestTier tier, float* absmax) {
    if (tier != kReference) return mix_blocks(rows, M, K_padded, absmax);
    for (size_t m = 0; m < M; ++m) {
        float* const row = rows + m * K_padded;
        size_t step = rotation_block(K_padded);
        for (size_t p = 1; (p = mix_factor(K_padded / step)) != 1; step *= p)
            reflect_blocks(row, K_padded, p, step);
        if (absmax != nullptr) absmax[m] = row_absmax(row, K_padded, kReference);
    }
}

void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count,
                      size_t K, float* out, size_t out_stride, TestTier tier) {
    if (tier != kReference) return matmul_reference(a, a_stride, b_rows, M, n_count, K, out, out_stride);
    for (size_t m = 0; m < M; ++m)
        for (size_t n = 0; n < n_count; ++n)
            out[m * out_stride + n] = dot(a + m * a_stride, b_rows + n * K, K);
}

void weigh_scores(const ScoresToWeights& rows, TestTier tier) {
    return tier == kReference ? weigh_scores_reference(rows) : weigh_scores(rows, of_product(tier));
}

bool pack_keys(const HalvesToBlock& from, TestTier tier) {
    if (tier != kReference) return pack_keys(from, of_product(tier));
    return pack_halves(from, [&](size_t position, size_t k, uint16_t value) {
        from.native[b_index_native(k, position, from.width_padded, kAttentionBlock, DType::kFloat16)] = value;
    });
}

bool pack_values(const HalvesToBlock& from, TestTier tier) {
    if (tier != kReference) return pack_values(from, of_product(tier));
    return pack_halves(from, [&](size_t position, size_t n, uint16_t value) {
        from.native[b_index_native(position, n, from.depth, from.width_padded, DType::kFloat16)] = value;
    });
}

}  // namespace rknpu2
