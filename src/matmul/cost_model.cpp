#include "matmul/cost_model.hpp"

#include <algorithm>

#include "kernels/rotate.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Of the request that segments are chosen for.
constexpr size_t kPrompt = 512;
constexpr double kGenerated = 128;
constexpr size_t kShortestSegment = 1024;
// Multiplications of fewer rows are not cut into chunks.
constexpr size_t kFewestChunkRows = 64;
// Rows longer than this are the middle of a feed-forward block, whose weight has about a third as many
// columns; the others are a layer's state, which Q, K and V read together.
constexpr size_t kLongRow = 5120;

double bytes_of(NpuArithmetic arithmetic) {
    return arithmetic == NpuArithmetic::kInt8 ? 1 : 2;
}

double request_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t K, size_t N, size_t segments) {
    const CellGrid grid{segments, tile_count(N, segments, rk3588::kCores)};
    const size_t chunk = best_chunk_rows(rates, arithmetic, kPrompt, K, N, grid);
    return multiplication_ns(rates, arithmetic, kPrompt, K, N, grid, chunk) +
           kGenerated * multiplication_ns(rates, arithmetic, 1, K, N, grid, 1);
}

}  // namespace

double run_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K, size_t N,
              size_t cores) {
    const double bytes = bytes_of(arithmetic);
    const double row = static_cast<double>(K) * bytes;
    const double weights = row * static_cast<double>(N);
    const auto tile_rows = static_cast<size_t>(std::max(1.0, rates.tile_bytes / row));
    const size_t passes = ceil_div(rows, tile_rows);
    const double gbps =
        (passes > 1 ? rates.mixed_gbps : rates.stream_gbps)[cores - 1] / static_cast<double>(cores);
    const double results = static_cast<double>(rows * N) * sizeof(float);
    const double moved = static_cast<double>(passes) * weights + static_cast<double>(rows) * row + results;
    const double macs = static_cast<double>(rows * N) * static_cast<double>(K);
    const double rate = arithmetic == NpuArithmetic::kInt8 ? rates.int8_macs_per_ns : rates.fp16_macs_per_ns;
    return rates.run_ns + std::max(macs / rate, moved / gbps);
}

double quantise_ns(const BoardRates& rates, NpuArithmetic arithmetic, size_t rows, size_t K) {
    return static_cast<double>(rows * K) * (sizeof(float) + bytes_of(arithmetic)) / rates.cpu_gbps;
}

double dequantise_ns(const BoardRates& rates, size_t rows, size_t N, size_t segments) {
    // The first result is read and the floats written; for every other one the floats are read as well.
    const auto bytes = static_cast<double>((3 * segments - 1) * sizeof(float));
    return static_cast<double>(rows * N) * bytes / rates.cpu_gbps;
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
    const double after = dequantise_ns(rates, rows, N, grid.segments);
    return before + npu + after + (chunks - 1) * std::max(npu, before + after);
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

size_t fewest_segments(size_t K) {
    return ceil_div(K, rk3588::kMaxK);
}

size_t best_segments(const BoardRates& rates, NpuArithmetic arithmetic, size_t K) {
    const size_t columns = K > kLongRow ? K / 3 : std::min(3 * K, rk3588::kCores * kMaxTileColumns);
    size_t best = fewest_segments(K);
    double least = request_ns(rates, arithmetic, K, columns, best);
    for (size_t segments = best + 1; segments <= kMostSegments && K / segments >= kShortestSegment;
         ++segments) {
        const double ns = request_ns(rates, arithmetic, K, columns, segments);
        if (ns >= least) continue;
        least = ns;
        best = segments;
    }
    return best;
}

}  // namespace rknpu2
