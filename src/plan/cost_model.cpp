// SPDX-License-Identifier: MIT
#include "plan/cost_model.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/rotate.hpp"

namespace rknpu2 {
namespace {

// Tokens of the request that segments are chosen for.
constexpr size_t kPrompt = 512;
constexpr double kGenerated = 128;
constexpr size_t kShortestSegment = 1024;
constexpr size_t kFewestChunkRows = 64;  // multiplications of fewer rows are not cut into chunks
// Rows longer than this are the middle of a feed-forward block, whose weight has about a third as many
// columns; the others are a layer's state, which Q, K and V read together.
constexpr size_t kLongRow = 5120;

double bytes_of(NpuArithmetic arithmetic) {
    return dtype_bits(operand_type(arithmetic)) / 8.0;
}

double macs_per_ns(const BoardRates& rates, NpuArithmetic arithmetic) {
    if (arithmetic == NpuArithmetic::kInt4) return rates.int4_macs_per_ns;
    return arithmetic == NpuArithmetic::kInt8 ? rates.int8_macs_per_ns : rates.fp16_macs_per_ns;
}

double result_bytes(NpuArithmetic arithmetic) {
    return dtype_bits(result_type(arithmetic)) / 8.0;
}

// Rows of the cube for each row of activations, of a segment of K elements; other types are asked per plane.
size_t planned_planes(NpuArithmetic arithmetic, size_t K) {
    return arithmetic == NpuArithmetic::kInt4 ? planes_of_digits(K) : 1;
}

double request_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t K, size_t weights, size_t width,
                  size_t segments) {
    const size_t N = weights * width;
    const CellGrid grid{segments, tile_count(N, segments, rk3588::kCores), width};
    const size_t planes = planned_planes(arithmetic, ceil_div(K, segments));
    const size_t chunk = best_chunk_rows(rates, arithmetic, planes * kPrompt, K, N, grid);
    return multiplication_ns(rates, arithmetic, planes * kPrompt, K, N, grid, chunk) +
           kGenerated * multiplication_ns(rates, arithmetic, planes, K, N, grid, planes);
}

}  // namespace

size_t planes_of_digits(size_t K_padded) {
    return K_padded > kPieceK ? 4 : 2;
}

size_t most_segment_k(NpuArithmetic arithmetic) {
    return arithmetic == NpuArithmetic::kInt4 ? kMostDigitK : rk3588::kMaxK;
}

double results_gbps(double narrow_gbps, double wide_gbps, size_t rows, size_t width) {
    constexpr double kNarrow = 2560, kWide = 10240;
    if (rows <= kFewResultRows) return narrow_gbps;
    const double wide = std::clamp((static_cast<double>(width) - kNarrow) / (kWide - kNarrow), 0.0, 1.0);
    return 1 / ((1 - wide) / narrow_gbps + wide / wide_gbps);
}

size_t tile_rows(const BoardRates& rates, NpuArithmetic arithmetic, size_t K) {
    const double row = static_cast<double>(K) * bytes_of(arithmetic);
    double banks = rates.tile_banks;
    if (arithmetic == NpuArithmetic::kFloat16) {
        constexpr double kGroupBytes = 32;  // of kernels, for each k
        const double group = std::ceil(kGroupBytes * static_cast<double>(K) / rates.bank_bytes);
        banks = std::clamp(rates.banks - 2 * group, banks, rates.fp16_tile_banks);
    }
    return static_cast<size_t>(std::max(1.0, banks * rates.bank_bytes / row));
}

double run_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K, size_t N,
              size_t cores) {
    const double bytes = bytes_of(arithmetic);
    const double row = static_cast<double>(K) * bytes;
    const double weights = row * static_cast<double>(N);
    const size_t passes = ceil_div(rows, tile_rows(rates, arithmetic, K));
    const double gbps =
        (passes > 1 ? rates.mixed_gbps : rates.stream_gbps)[cores - 1] / static_cast<double>(cores);
    const double results = static_cast<double>(rows * N) * result_bytes(arithmetic);
    const double moved = static_cast<double>(passes) * weights + static_cast<double>(rows) * row + results;
    const double macs = static_cast<double>(rows * N) * static_cast<double>(K);
    const double rate = macs_per_ns(rates, arithmetic);
    const double synced = static_cast<double>(rows) * row + results;
    return rates.run_ns + 2 * rates.sync_ns + synced / rates.sync_gbps + std::max(macs / rate, moved / gbps);
}

double quantise_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K) {
    return static_cast<double>(rows * K) * (sizeof(float) + bytes_of(arithmetic)) / rates.cpu_gbps;
}

double dequantise_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t N,
                     size_t segments, size_t width) {
    // The first result is read and the floats written; for every other one the floats are read as well. Each of two
    // digits has half of that.
    auto bytes = static_cast<double>((3 * segments - 1) * sizeof(float));
    if (arithmetic == NpuArithmetic::kInt4) bytes /= 2;
    return static_cast<double>(rows * N) * bytes /
           results_gbps(rates.results_gbps, rates.wide_results_gbps, rows, width);
}

double multiplication_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t M, size_t K, size_t N,
                         const CellGrid& grid, size_t chunk_rows) {
    const size_t rows = std::min(M, chunk_rows);
    const auto chunks = static_cast<double>(ceil_div(M, rows));
    const size_t cells = grid.segments * grid.tiles;
    const auto rounds = static_cast<double>(ceil_div(cells, size_t{rk3588::kCores}));
    const size_t cores = std::min<size_t>(cells, rk3588::kCores);
    const double npu =
        rounds * run_ns(rates, arithmetic, rows, ceil_div(K, grid.segments), ceil_div(N, grid.tiles), cores);
    const double before = quantise_ns(rates, arithmetic, rows, K);
    const double after =
        dequantise_ns(rates, arithmetic, rows, N, grid.segments, grid.width == 0 ? N : grid.width);
    return before + npu + after + (chunks - 1) * std::max(npu, (before + after) / rates.cpu_beside_npu);
}

size_t best_chunk_rows(const BoardRates& rates, NpuArithmetic arithmetic, size_t M, size_t K, size_t N,
                       const CellGrid& grid) {
    size_t best = kMaxRows;
    if (M <= kFewestChunkRows) return best;
    double least = multiplication_ns(rates, arithmetic, M, K, N, grid, best);
    for (const size_t rows : {192U, 128U, 96U, 64U}) {
        const double ns = multiplication_ns(rates, arithmetic, M, K, N, grid, rows);
        if (ns >= least) continue;
        least = ns;
        best = rows;
    }
    return best;
}

int64_t flow_chunk_rows(const BoardRates& rates, NpuArithmetic arithmetic,
                        std::span<const ProductShape> products, int64_t rows) {
    if (rows < kLongPromptRows) return kFlowChunkRows;
    const auto ns_of_row = [&](size_t chunk_rows) {
        double ns = 0;
        for (const auto& [K, N] : products) {
            const size_t segments = best_segments(rates, arithmetic, K);
            const size_t depth = ceil_div(K, segments);
            ns += static_cast<double>(segments) * run_ns(rates, arithmetic,
                                                         chunk_rows * planned_planes(arithmetic, depth),
                                                         depth, ceil_div(N, rk3588::kCores), rk3588::kCores);
        }
        return ns / static_cast<double>(chunk_rows);
    };
    return ns_of_row(112) < ns_of_row(128) ? 112 : 128;
}

int64_t next_chunk_rows(int64_t left, int64_t most) {
    if (left <= most || left - most >= kFlowChunkRows) return std::min(left, most);
    return left < 2 * kFlowChunkRows ? left : left - kFlowChunkRows;
}

size_t best_segments(const BoardRates& rates, NpuArithmetic arithmetic, size_t K) {
    const bool state = K <= kLongRow;
    const size_t weights = state ? 3 : 1;
    const size_t width = state ? std::min(K, rk3588::kDocumentedN) : K / 3;
    const auto cost = [&](size_t segments) {
        return request_ns(rates, arithmetic, K, weights, width, segments);
    };
    size_t best = ceil_div(K, most_segment_k(arithmetic));
    double least = cost(best);
    for (size_t segments = best + 1; segments <= kMostSegments && K / segments >= kShortestSegment;
         ++segments) {
        const double ns = cost(segments);
        if (ns >= least) continue;
        least = ns;
        best = segments;
    }
    return best;
}

}  // namespace rknpu2
