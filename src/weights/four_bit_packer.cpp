// SPDX-License-Identifier: MIT
#include "weights/four_bit_packer.hpp"

#include <cmath>

#include "kernels/digits.hpp"
#include "kernels/far.hpp"

namespace rknpu2 {
namespace {

// In float64, in ascending order.
double rounding_error(const float* row, size_t K, const int8_t* codes, double scale, double zero,
                      const float* means) {
    double sum = 0;
    for (size_t k = 0; k < K; ++k)
        sum += (static_cast<double>(row[k]) - scale * (codes[k] - zero)) * static_cast<double>(means[k]);
    return sum;
}

}  // namespace

FourBitPacker::FourBitPacker(const WeightPlan& plan, const SecondMoments* moments)
    : pieces_(plan.recipe.planes / 2) {
    for (size_t s = 0; moments != nullptr && s < plan.segments.size(); ++s)
        feedback_.emplace_back(*moments, s);
}

void FourBitPacker::pack(size_t segment, const SegmentRows& rows, const Kernels& kernels, double* units,
                         const float* means, double* errors) {
    const size_t K_padded = rows.segment.K_padded;
    for (size_t i = 0; i < kernels.count; ++i)
        units[i] = bring_near(rows.values + i * rows.stride, rows.segment.k_count);
    rotate(rows, 0, kernels.count);
    const FourBitRows rounded = round_to_four_bits(rows.rotated, kernels.count, K_padded,
                                                   feedback_.empty() ? nullptr : &feedback_[segment]);
    for (size_t i = 0; i < kernels.count; ++i) {
        const float scale = rounded.scale[i];
        const float zero = rounded.zero[i];
        const bool finite = std::isfinite(scale);
        rows.scales[i] = scale;
        rows.offsets[i] = finite ? -scale * zero : 0.0F;
        if (means == nullptr) continue;
        errors[i] = !finite ? 0
                            : rounding_error(rows.rotated + i * K_padded, K_padded,
                                             rounded.codes.data() + i * K_padded, scale, zero, means);
    }
    const CodesToBlock codes{.codes = rounded.codes.data(),
                             .row_stride = K_padded,
                             .n0 = kernels.first,
                             .n_count = kernels.count,
                             .K = K_padded,
                             .K_padded = K_padded,
                             .native = kernels.block};
    pack_codes(codes);
    if (kernels.last()) zero_codes(kernels.tile.n_count, kernels.tile.N_padded, K_padded, kernels.block);
    size_t pieces = pieces_;
    const size_t needed = pieces_that_fit(codes, pieces);
    while (pieces < needed && !pieces_.compare_exchange_weak(pieces, needed)) {
    }
}

}  // namespace rknpu2
