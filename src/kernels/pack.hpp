// SPDX-License-Identifier: MIT
// Weights: float rows become the NPU's native B block, int8 or fp16, with one scale for each output channel.
//
// A GGUF file stores B transposed: row n holds the K weights of output channel n (a "kernel"). The block is
// [N_padded/g, K_padded/32, g, 32] with g = 32 kernels for int8 and 16 for fp16 (matrix/layout.hpp): runs of
// 32 weights of one kernel. A call writes its own kernels only, whole, with zeros from k_count to K_padded.
// So threads may pack disjoint ranges of n into one block, and n0 need not be a multiple of g. Kernels N ..
// N_padded-1 are cleared with zero_kernels().
//
// One block is one K segment: K_padded <= kSegmentK. For a longer K the caller passes a range [k0, k0 + k_count)
// of the source and a block for each segment. Segments may share the scale of the full row (then their int32
// sums can simply be added) or have a scale each.
//
// value = round(clamp(w * storing_factor(scale))), as in quantise.hpp; scale.hpp has the rules for zero, tiny
// and non-finite rows. What the scale does not allow for saturates, infinities and NaN (by its sign bit) too:
// nothing but numbers reaches the NPU.
//
// Cost: one pass; 4 bytes read for 1 or 2 written. Preconditions, unchecked: k_count <= K_padded, K_padded a
// multiple of 32, n0 + n_count <= N_padded, N_padded a multiple of g.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

// Rows of weights, and the kernels of a block that they become. All counts are elements or rows, not bytes.
template <typename Element>
struct RowsToBlock {
    const float* rows;  // weight k of kernel n0 + i is rows[i * row_stride + k0 + k]
    size_t row_stride;
    size_t n0;  // the kernel that the first row becomes
    size_t n_count;
    size_t k0;
    size_t k_count;
    size_t K_padded;  // of the block, a multiple of 32
    size_t N_padded;  // kernels of the block, a multiple of g
    Element* native;  // the whole block
};

// int8 or halves. scales: n_count values, read; scales[i] belongs to kernel n0 + i.
void pack_rows(const RowsToBlock<int8_t>& rows, const float* scales);
void pack_rows(const RowsToBlock<uint16_t>& rows, const float* scales);

// What rounding took from one channel's weights, times `values`: the sum over k of (row[k] - stored value *
// scale) * values[k], in float64. 0 for a row that is stored as zeros. Term k is added to partial sum k %
// kPartialSums, and these in ascending order at last: the same on every machine.
inline constexpr size_t kPartialSums = 16;
double rounding_error_int8(const float* row, size_t K, float scale, const float* values);

// Clears kernels n_begin .. n_end-1 of a block.
template <typename Element>
void zero_kernels(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, Element* native);

}  // namespace rknpu2
