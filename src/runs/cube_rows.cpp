// SPDX-License-Identifier: MIT
#include "runs/cube_rows.hpp"

#include <algorithm>

#include "kernels/digits.hpp"
#include "kernels/far.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {
namespace {

// As quantise_group(), for rows that need no care.
void quantise_near(const PackedWeight& weight, const KSegment& segment, const Cube& cube, const float* from,
                   size_t stride, size_t m, size_t count, float* rotated) {
    const Recipe& recipe = weight.plan.recipe;
    const size_t K_padded = segment.K_padded;
    float* const sums = weight.channel_offsets.empty() ? nullptr : cube.sums + m;
    const float* const factors =
        weight.input_factors.empty() ? nullptr : weight.input_factors.data() + segment.k0;
    size_t K = segment.k_count;
    float absmax[kRowGroup];
    if (recipe.rotate) {
        rotate_rows({.x = from,
                     .row_stride = stride,
                     .M = count,
                     .K = K,
                     .K_padded = K_padded,
                     .out = rotated,
                     .factors = factors,
                     .absmax = absmax});
        mix_blocks(rotated, count, K_padded, absmax);
        from = rotated;
        stride = K = K_padded;
    }
    const auto rows_to = [&]<typename Element>(Element* native, size_t m0) {
        return RowsToCube<Element>{.x = from,
                                   .row_stride = stride,
                                   .M = count,
                                   .K = K,
                                   .K_padded = K_padded,
                                   .M_total = cube.rows,
                                   .m0 = m0,
                                   .native = native};
    };
    auto* const int8_cube = reinterpret_cast<int8_t*>(cube.data);
    if (recipe.arithmetic == NpuArithmetic::kInt4) {
        quantise_rows_digits({.x = from,
                              .row_stride = stride,
                              .M = count,
                              .K = K,
                              .K_padded = K_padded,
                              .M_total = cube.rows,
                              .m0 = m,
                              .plane_rows = cube.chunk_rows,
                              .pieces = cube.planes / 2,
                              .native = cube.data},
                             cube.scales + m, sums, recipe.rotate ? absmax : nullptr);
        return;
    }
    if (recipe.arithmetic == NpuArithmetic::kFloat16) {
        convert_rows_fp16(rows_to(reinterpret_cast<uint16_t*>(cube.data), m), cube.scales + m);
    } else if (recipe.one_scale_per_tensor) {
        quantise_rows_int8_scaled(rows_to(int8_cube, m), cube.tensor_scale, cube.scales + m);
    } else {
        quantise_rows_int8(rows_to(int8_cube, m), cube.scales + m, default_tier(), sums,
                           recipe.rotate ? absmax : nullptr);
    }
    if (cube.planes == 2) {
        quantise_residuals_int8(rows_to(int8_cube, cube.chunk_rows + m), cube.scales + m,
                                cube.scales + cube.chunk_rows + m, default_tier(), sums);
    }
}

// Row m alone, brought to ordinary size; `row` is where the segment's part of it begins. Nothing to do for a
// row of zeros, and for one that is not finite.
void quantise_far(const PackedWeight& weight, const KSegment& segment, const Cube& cube, const float* row,
                  size_t m, float* rotated) {
    const float largest = row_absmax(row, segment.k_count);
    if (std::isnan(largest) || largest == 0.0F) return;
    const bool one_scale = weight.plan.recipe.one_scale_per_tensor;
    if (one_scale ? !is_far(cube.tensor_scale) : is_near(largest)) return;
    const double unit = unit_of(one_scale ? scale_value(cube.tensor_scale) : static_cast<double>(largest));
    float near[kSegmentK];
    divide_by_unit(row, segment.k_count, unit, near);
    Cube near_cube = cube;
    if (one_scale) near_cube.tensor_scale = static_cast<float>(scale_value(cube.tensor_scale) / unit);
    const bool with_sums = !weight.channel_offsets.empty();
    if (with_sums) cube.sums[m] = 0.0F;
    quantise_near(weight, segment, near_cube, near, segment.k_count, m, 1, rotated);
    const size_t scales = weight.plan.recipe.arithmetic == NpuArithmetic::kInt4 ? 1 : cube.planes;
    for (size_t plane = 0; plane < scales; ++plane) {
        float& scale = cube.scales[plane * cube.chunk_rows + m];
        scale = far_scale(static_cast<double>(scale) * unit);
    }
    if (with_sums)
        cube.sums[m] = static_cast<float>(cube.sums[m] * unit / -static_cast<double>(cube.scales[m]));
}

void zero_padding(const PackedWeight& weight, const KSegment& segment, const Cube& cube) {
    const size_t used = cube.chunk_rows * cube.planes;
    // Zeros look alike in all types; so many bytes a row lie as atoms of as many int8.
    const size_t row_bytes = dtype_bytes(operand_type(weight.plan.recipe.arithmetic), segment.K_padded);
    zero_rows(used, cube.rows, row_bytes, cube.rows, reinterpret_cast<int8_t*>(cube.data));
}

// Rows m .. m+count-1, count at most kRowGroup; `from` is where the segment's part of them begins.
void quantise_group(const PackedWeight& weight, const KSegment& segment, const Cube& cube, const float* from,
                    size_t stride, size_t m, size_t count, float* rotated) {
    quantise_near(weight, segment, cube, from, stride, m, count, rotated);
    for (size_t i = 0; i < count; ++i)
        if (!is_near(cube.scales[m + i]))
            quantise_far(weight, segment, cube, from + i * stride, m + i, rotated);
}

}  // namespace

size_t cube_bytes(const WeightPlan& plan, size_t segment, size_t bucket) {
    return dtype_bytes(operand_type(plan.recipe.arithmetic),
                       row_buckets()[bucket] * plan.segments[segment].K_padded);
}

Status RotatedRows::reserve(size_t K_padded) {
    floats_ = std::max(floats_, kRowGroup * K_padded);
    return memory_.grow(taken_.size() * floats_ * sizeof(float));
}

void RotatedRows::clear() {
    memory_ = {};
    floats_ = 0;
}

float* RotatedRows::take() {
    size_t spare = 0;
    while (taken_[spare].exchange(true, std::memory_order_acquire))
        spare = (spare + 1) % taken_.size();
    return memory_.as<float>() + spare * floats_;
}

void RotatedRows::give_back(const float* rows) {
    const auto index = static_cast<size_t>(rows - memory_.as<float>()) / floats_;
    taken_[index].store(false, std::memory_order_release);
}

void quantise_rows(const PackedWeight& weight, const KSegment& segment, const Cube& cube,
                   const RowSource& rows, size_t first, size_t count, RotatedRows& rotated) {
    float* const room = weight.plan.recipe.rotate ? rotated.take() : nullptr;
    for (size_t i = 0; i < count; i += kRowGroup) {
        quantise_group(weight, segment, cube, rows.data + i * rows.stride + segment.k0, rows.stride,
                       first + i, std::min(kRowGroup, count - i), room);
    }
    if (room != nullptr) rotated.give_back(room);
    if (first == 0) zero_padding(weight, segment, cube);
}

}  // namespace rknpu2
