// SPDX-License-Identifier: MIT
#include "calibration/rotation_choice.hpp"

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.hpp"
#include "kernels/far.hpp"
#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kRows = 32;  // looked at, evenly spaced

}  // namespace

Result<double> cost_of_rotation(const WeightSource& weight) {
    const size_t K_padded = round_up(weight.K, rk3588::kAlignK);
    const AlignedBuffer buffer = RKNPU2_TAKE(AlignedBuffer::allocate((weight.K + K_padded) * sizeof(float)));
    auto* const row = buffer.as<float>();
    float* const rotated = row + weight.K;
    const size_t rows = std::min(kRows, weight.N);
    double before = 0;
    double after = 0;
    for (size_t i = 0; i < rows; ++i) {
        weight.dequantise(weight.row(i * weight.N / rows), row, static_cast<int64_t>(weight.K));
        const double unit = bring_near(row, weight.K);
        rotate_rows(
            {.x = row, .row_stride = weight.K, .M = 1, .K = weight.K, .K_padded = K_padded, .out = rotated});
        mix_blocks(rotated, 1, K_padded);
        const double largest = unit * static_cast<double>(row_absmax(row, weight.K));
        const double largest_rotated = unit * static_cast<double>(row_absmax(rotated, K_padded));
        before += largest * largest;
        after += largest_rotated * largest_rotated / static_cast<double>(rotation_block(K_padded));
    }
    const double cost = after / before;
    return std::isfinite(cost) ? cost : 1.0;
}

}  // namespace rknpu2
