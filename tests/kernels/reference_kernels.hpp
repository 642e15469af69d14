// SPDX-License-Identifier: MIT
// The reference that every tier of src/kernels has to equal: loops so plain that they prove themselves, through the
// index functions of matrix/layout.hpp. It is a tier of the tests alone, by the names of the public functions.
#pragma once

#include <span>

#include "kernels/attention.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/digits.hpp"
#include "kernels/few_tokens.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/reference_matmul.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {

enum class TestTier { kReference, kGeneric, kAvx2 };

// The reference first, then what this CPU runs, the fastest last.
std::span<const TestTier> test_tiers();

constexpr const char* kernel_tier_name(TestTier tier) {
    constexpr const char* kNames[] = {"reference", "generic", "avx2"};
    return kNames[static_cast<size_t>(tier)];
}

// `tier` is not the reference.
constexpr KernelTier of_product(TestTier tier) {
    return tier == TestTier::kGeneric ? KernelTier::kGeneric : KernelTier::kAvx2;
}

float row_absmax(const float* x, size_t K, TestTier tier);
void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, TestTier tier, float* sums = nullptr,
                        const float* absmax = nullptr);
void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales, TestTier tier);
void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             TestTier tier, float* sums = nullptr);
void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales, TestTier tier);
template <typename Element>
void pack_rows(const RowsToBlock<Element>& rows, const float* scales, TestTier tier);
double rounding_error_int8(const float* row, size_t K, float scale, const float* values, TestTier tier);
template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows, TestTier tier);
void quantise_rows_digits(const RowsToDigits& rows, float* scales, TestTier tier, float* sums);
void pack_codes(const CodesToBlock& codes, TestTier tier);
void join_digits(const DigitSums& sums, int32_t* out, TestTier tier);
void rotate_rows(const RowsToRotate& rows, TestTier tier);
void mix_blocks(float* rows, size_t M, size_t K_padded, TestTier tier, float* absmax = nullptr);
void weigh_scores(const ScoresToWeights& rows, TestTier tier);
bool pack_keys(const HalvesToBlock& keys, TestTier tier);
bool pack_values(const HalvesToBlock& values, TestTier tier);
void score_few(const FewScores& scores, TestTier tier);
void weigh_few(const FewWeights& weights, TestTier tier);
void add_few(const FewValues& values, TestTier tier);
void widen_few(const uint16_t* halves, size_t width, float* floats, TestTier tier);
void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count,
                      size_t K, float* out, size_t out_stride, TestTier tier);

}  // namespace rknpu2
