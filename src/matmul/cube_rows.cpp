#include "matmul/cube_rows.hpp"

#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {

void zero_padding(const PackedWeight& weight, const KSegment& segment, const Cube& cube) {
    const size_t used = cube.chunk_rows * cube.planes;
    if (weight.plan.recipe.arithmetic == NpuArithmetic::kFloat16) {
        zero_rows(used, cube.rows, segment.K_padded, cube.rows, reinterpret_cast<uint16_t*>(cube.data));
    } else {
        zero_rows(used, cube.rows, segment.K_padded, cube.rows, reinterpret_cast<int8_t*>(cube.data));
    }
}

void quantise_rows(const PackedWeight& weight, const KSegment& segment, const Cube& cube, const float* rows,
                   size_t stride, size_t m, size_t count, float* rotated) {
    const Recipe& recipe = weight.plan.recipe;
    const size_t K_padded = segment.K_padded;
    auto* const int8_cube = reinterpret_cast<int8_t*>(cube.data);
    float* const sums = weight.channel_offsets.empty() ? nullptr : cube.sums + m;
    const float* const factors =
        weight.input_factors.empty() ? nullptr : weight.input_factors.data() + segment.k0;
    const float* from = rows + segment.k0;
    size_t K = segment.k_count;
    float absmax[kRowGroup];
    if (recipe.rotate) {
        rotate_rows(from, stride, count, K, K_padded, factors, rotated, default_tier(), absmax);
        mix_blocks(rotated, count, K_padded, default_tier(), absmax);
        from = rotated;
        stride = K = K_padded;
    }
    if (recipe.arithmetic == NpuArithmetic::kFloat16) {
        convert_rows_fp16(from, stride, count, K, K_padded, cube.rows, m,
                          reinterpret_cast<uint16_t*>(cube.data), cube.scales + m);
    } else if (recipe.one_scale_per_tensor) {
        quantise_rows_int8_scaled(from, stride, count, K, K_padded, cube.rows, m, int8_cube,
                                  cube.tensor_scale, cube.scales + m);
    } else {
        quantise_rows_int8(from, stride, count, K, K_padded, cube.rows, m, int8_cube, cube.scales + m,
                           default_tier(), sums, recipe.rotate ? absmax : nullptr);
    }
    if (cube.planes == 2) {
        quantise_residuals_int8(from, stride, count, K, K_padded, cube.rows, cube.chunk_rows + m, int8_cube,
                                cube.scales + m, cube.scales + cube.chunk_rows + m, default_tier(), sums);
    }
}

}  // namespace rknpu2
