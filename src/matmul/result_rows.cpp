#include "matmul/result_rows.hpp"

#include <algorithm>

#include "kernels/dequantise.hpp"

namespace rknpu2 {
namespace {

bool is_prepared(const PackedWeight& weight) {
    return !(weight.bias.empty() && weight.channel_offsets.empty());
}

// What does not come from the NPU: the bias, and the zero points of the channels times the sum of each row.
void prepare(const PackedWeight& weight, const NTile& tile, const ResultRows& rows, const FloatRows& target) {
    for (size_t i = 0; i < rows.count; ++i) {
        float* const row = target.data + i * target.stride;
        if (weight.bias.empty()) {
            std::fill_n(row, tile.n_count, 0.0F);
        } else {
            std::copy_n(weight.bias.data() + tile.n0, tile.n_count, row);
        }
        for (size_t s = 0; s < weight.channel_offsets.size(); ++s) {
            const float sum = rows.sums[s * kMaxRows + rows.first + i];
            const float* const offsets = weight.channel_offsets[s].data() + tile.n0;
            for (size_t n = 0; n < tile.n_count; ++n)
                row[n] += sum * offsets[n];
        }
    }
}

}  // namespace

void add_cell(const PackedWeight& weight, const CellResult& cell, const RunResult& result,
              const ResultRows& rows, const FloatRows& target) {
    const NTile& tile = weight.plan.tiles[cell.tile];
    const bool prepared = is_prepared(weight);
    if (cell.segment == 0 && prepared) prepare(weight, tile, rows, target);
    const NpuArithmetic arithmetic = weight.plan.recipe.arithmetic;
    const float* const channel_scales = weight.channel_scales[cell.segment].data() + tile.n0;
    const float* const row_scales = rows.scales + cell.segment * kMaxRows;
    const std::byte* const data =
        result.data + dtype_bytes(result_type(arithmetic), cell.column * result.rows);
    for (size_t plane = 0; plane < rows.planes; ++plane) {
        const size_t m0 = plane * rows.chunk_rows + rows.first;
        const bool stores = cell.segment == 0 && plane == 0 && !prepared;
        const Accumulate mode = stores ? Accumulate::kStore : Accumulate::kAdd;
        if (arithmetic == NpuArithmetic::kInt8) {
            dequantise_rows_int32(reinterpret_cast<const int32_t*>(data), result.rows, m0, rows.count,
                                  tile.n_count, row_scales + m0, channel_scales, target.data, target.stride,
                                  mode);
        } else {
            scale_rows_fp32(reinterpret_cast<const float*>(data), result.rows, m0, rows.count, tile.n_count,
                            row_scales + m0, channel_scales, target.data, target.stride, mode);
        }
    }
}

}  // namespace rknpu2
