// SPDX-License-Identifier: MIT
#include "runs/result_rows.hpp"

#include <algorithm>
#include <span>

#include "kernels/digits.hpp"
#include "kernels/far.hpp"

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

// As many rows at once as are ordinary, far ones alone.
template <typename Element>
void add_rows(const CubeToRows<Element>& rows) {
    for (size_t m = 0; m < rows.M;) {
        const float* const scale = rows.row_scales + m;
        const auto ordinary =
            static_cast<size_t>(std::find_if(scale, rows.row_scales + rows.M, is_far) - scale);
        if (ordinary > 0) {
            dequantise_rows(rows.part(m, ordinary));
            m += ordinary;
        } else {
            dequantise_far_row(rows.part(m, 1));
            ++m;
        }
    }
}

// Columns of far channels, which the scale 0 has left as they were. n0: the weight's column of the first one.
template <typename Element>
void add_far_channels(const CubeToRows<Element>& rows, std::span<const FarChannel> channels, size_t n0) {
    for (const FarChannel& channel : channels) {
        const size_t n = channel.n - n0;
        for (size_t m = 0; m < rows.M; ++m) {
            const Element acc = rows.native[c_index_native(rows.m0 + m, n, rows.M_total, DType::kInt32)];
            rows.out[m * rows.out_stride + n] +=
                far_result(static_cast<double>(acc), rows.row_scales[m], channel.scale);
        }
    }
}

// `native`: what a run wrote for these columns of the cell.
template <typename Element>
void add_planes(const PackedWeight& weight, const CellResult& cell, const NTile& tile, const Element* native,
                const RunResult& result, const ResultRows& rows, const FloatRows& target) {
    const bool prepared = is_prepared(weight);
    for (size_t plane = 0; plane < rows.planes; ++plane) {
        const size_t m0 = plane * rows.chunk_rows + rows.first;
        const bool stores = cell.segment == 0 && plane == 0 && !prepared;
        const CubeToRows<Element> of_plane{
            .native = native,
            .M_total = result.rows,
            .m0 = m0,
            .M = rows.count,
            .N = tile.n_count,
            .row_scales = rows.scales + cell.segment * kMaxRows + m0,
            .channel_scales = weight.channel_scales[cell.segment].data() + tile.n0,
            .out = target.data,
            .out_stride = target.stride,
            .mode = stores ? Accumulate::kStore : Accumulate::kAdd};
        add_rows(of_plane);
        add_far_channels(of_plane, far_channels_of(weight, cell.segment, tile), tile.n0);
    }
}

// As add_planes() for digits, which are put together first, some rows and columns at a time.
void add_digits(const PackedWeight& weight, const CellResult& cell, const NTile& tile, const int16_t* native,
                const RunResult& result, const ResultRows& rows, const FloatRows& target) {
    constexpr size_t kRows = 16;
    constexpr size_t kColumns = 128;  // whole atoms
    alignas(64) int32_t joined[kRows * kColumns];
    const bool stores = cell.segment == 0 && !is_prepared(weight);
    for (size_t n = 0; n < tile.n_count; n += kColumns) {
        const NTile block{tile.n0 + n, std::min(kColumns, tile.n_count - n), 0};
        for (size_t m = 0; m < rows.count; m += kRows) {
            const size_t count = std::min(kRows, rows.count - m);
            join_digits({.native = native + n * result.rows,
                         .M_total = result.rows,
                         .m0 = rows.first + m,
                         .M = count,
                         .N = block.n_count,
                         .plane_rows = rows.chunk_rows,
                         .pieces = rows.planes / 2},
                        joined);
            const CubeToRows<int32_t> part{
                .native = joined,
                .M_total = count,
                .m0 = 0,
                .M = count,
                .N = block.n_count,
                .row_scales = rows.scales + cell.segment * kMaxRows + rows.first + m,
                .channel_scales = weight.channel_scales[cell.segment].data() + block.n0,
                .out = target.data + m * target.stride + n,
                .out_stride = target.stride,
                .mode = stores ? Accumulate::kStore : Accumulate::kAdd};
            add_rows(part);
            add_far_channels(part, far_channels_of(weight, cell.segment, block), block.n0);
        }
    }
}

}  // namespace

TileColumns StripPart::columns_of(const NTile& of) const {
    if (bands == 1) return {0, of.n_count};
    constexpr size_t kAlignment = 64;  // whole lines of results and of floats
    const size_t step = round_up(ceil_div(of.n_count, bands), kAlignment);
    const size_t first = std::min(band * step, of.n_count);
    return {first, std::min(step, of.n_count - first)};
}

// Both planes of some columns before the next columns: the results are read from start to end, and the floats between them
// stay in the cache.
void add_cell(const PackedWeight& weight, const CellResult& cell, const TileColumns& columns,
              const RunResult& result, const ResultRows& rows, const FloatRows& target) {
    constexpr size_t kColumnsOfPlanes = 512;
    const NpuArithmetic arithmetic = weight.plan.recipe.arithmetic;
    const size_t n0 = weight.plan.tiles[cell.tile].n0 + columns.first;
    const size_t step = rows.planes > 1 ? kColumnsOfPlanes : columns.count;
    for (size_t n = 0; n < columns.count; n += step) {
        const NTile block{n0 + n, std::min(step, columns.count - n), 0};
        const FloatRows out{target.data + n, target.stride};
        if (cell.segment == 0 && is_prepared(weight)) prepare(weight, block, rows, out);
        const size_t before = (cell.column + columns.first + n) * result.rows;
        const std::byte* const data = result.data + dtype_bytes(result_type(arithmetic), before);
        if (arithmetic == NpuArithmetic::kInt4) {
            add_digits(weight, cell, block, reinterpret_cast<const int16_t*>(data), result, rows, out);
        } else if (arithmetic == NpuArithmetic::kInt8) {
            add_planes(weight, cell, block, reinterpret_cast<const int32_t*>(data), result, rows, out);
        } else {
            add_planes(weight, cell, block, reinterpret_cast<const float*>(data), result, rows, out);
        }
    }
}

}  // namespace rknpu2
