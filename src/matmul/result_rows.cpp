// SPDX-License-Identifier: MIT
#include "matmul/result_rows.hpp"

#include <algorithm>
#include <span>

#include "kernels/dequantise.hpp"
#include "kernels/far.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

bool is_prepared(const PackedWeight& weight) {
    return !(weight.bias.empty() && weight.channel_offsets.empty());
}

// The far channels of a segment that lie in a tile.
std::span<const FarChannel> far_channels_of(const PackedWeight& weight, size_t segment, const NTile& tile) {
    if (segment >= weight.far_channels.size()) return {};
    const std::vector<FarChannel>& all = weight.far_channels[segment];
    const auto before = [](const FarChannel& channel, size_t n) { return channel.n < n; };
    const auto first = std::lower_bound(all.begin(), all.end(), tile.n0, before);
    return {first, std::lower_bound(first, all.end(), tile.n0 + tile.n_count, before)};
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
            const float scale = rows.scales[s * kMaxRows + rows.first + i];
            const float sum = rows.sums[s * kMaxRows + rows.first + i];
            const float* const offsets = weight.channel_offsets[s].data() + tile.n0;
            const double far_sum = is_far(scale) ? -static_cast<double>(scale) * sum : sum;
            if (is_far(scale)) {
                for (size_t n = 0; n < tile.n_count; ++n)
                    row[n] += static_cast<float>(far_sum * offsets[n]);
            } else {
                for (size_t n = 0; n < tile.n_count; ++n)
                    row[n] += sum * offsets[n];
            }
            for (const FarChannel& channel : far_channels_of(weight, s, tile)) {
                row[channel.n - tile.n0] +=
                    static_cast<float>(far_sum * channel.offset * -static_cast<double>(channel.scale));
            }
        }
    }
}

// What a run wrote for a cell, as the element type that it wrote.
template <typename Element>
struct CellRows {
    const Element* native;
    size_t M_total;         // rows of the cube
    const float* scales;    // [row of the cube]
    const float* channels;  // [column]
    size_t columns;
};

void dequantise(const CellRows<int32_t>& cell, size_t m0, size_t M, const FloatRows& target,
                Accumulate mode) {
    dequantise_rows_int32(cell.native, cell.M_total, m0, M, cell.columns, cell.scales + m0, cell.channels,
                          target.data, target.stride, mode);
}
void dequantise(const CellRows<float>& cell, size_t m0, size_t M, const FloatRows& target, Accumulate mode) {
    scale_rows_fp32(cell.native, cell.M_total, m0, M, cell.columns, cell.scales + m0, cell.channels,
                    target.data, target.stride, mode);
}

// Rows m0 .. m0+M-1 of the cube: as many at once as are ordinary, far ones alone.
template <typename Element>
void add_rows(const CellRows<Element>& cell, size_t m0, size_t M, const FloatRows& target, Accumulate mode) {
    for (size_t m = 0; m < M;) {
        const FloatRows to{target.data + m * target.stride, target.stride};
        const float* const scale = cell.scales + m0 + m;
        const auto count = static_cast<size_t>(std::find_if(scale, cell.scales + m0 + M, is_far) - scale);
        if (count > 0) {
            dequantise(cell, m0 + m, count, to, mode);
            m += count;
        } else {
            dequantise_far_row(cell.native, cell.M_total, m0 + m, cell.columns, *scale, cell.channels,
                               to.data, mode);
            ++m;
        }
    }
}

// The cell's columns of far channels, which the scale 0 has left as they were.
template <typename Element>
void add_far_channels(const CellRows<Element>& cell, std::span<const FarChannel> channels, size_t n0,
                      size_t m0, size_t M, const FloatRows& target) {
    for (const FarChannel& channel : channels) {
        const size_t n = channel.n - n0;
        for (size_t m = 0; m < M; ++m) {
            const Element acc = cell.native[c_index_native(m0 + m, n, cell.M_total, DType::kInt32)];
            target.data[m * target.stride + n] +=
                far_result(static_cast<double>(acc), cell.scales[m0 + m], channel.scale);
        }
    }
}

template <typename Element>
void add_planes(const PackedWeight& weight, const CellResult& at, const CellRows<Element>& cell,
                const ResultRows& rows, const FloatRows& target) {
    const NTile& tile = weight.plan.tiles[at.tile];
    const std::span<const FarChannel> far = far_channels_of(weight, at.segment, tile);
    const bool prepared = is_prepared(weight);
    for (size_t plane = 0; plane < rows.planes; ++plane) {
        const size_t m0 = plane * rows.chunk_rows + rows.first;
        const bool stores = at.segment == 0 && plane == 0 && !prepared;
        add_rows(cell, m0, rows.count, target, stores ? Accumulate::kStore : Accumulate::kAdd);
        add_far_channels(cell, far, tile.n0, m0, rows.count, target);
    }
}

}  // namespace

void add_cell(const PackedWeight& weight, const CellResult& cell, const RunResult& result,
              const ResultRows& rows, const FloatRows& target) {
    const NTile& tile = weight.plan.tiles[cell.tile];
    if (cell.segment == 0 && is_prepared(weight)) prepare(weight, tile, rows, target);
    const NpuArithmetic arithmetic = weight.plan.recipe.arithmetic;
    const float* const channels = weight.channel_scales[cell.segment].data() + tile.n0;
    const float* const scales = rows.scales + cell.segment * kMaxRows;
    const std::byte* const data =
        result.data + dtype_bytes(result_type(arithmetic), cell.column * result.rows);
    const auto add = [&](const auto* native) {
        add_planes(weight, cell, CellRows{native, result.rows, scales, channels, tile.n_count}, rows, target);
    };
    if (arithmetic == NpuArithmetic::kInt8) {
        add(reinterpret_cast<const int32_t*>(data));
    } else {
        add(reinterpret_cast<const float*>(data));
    }
}

}  // namespace rknpu2
