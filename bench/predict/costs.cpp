// SPDX-License-Identifier: MIT
#include "predict/costs.hpp"

#include <algorithm>

#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr double kBytesFp16 = 2, kBytesInt32 = 4, kBytesFp32 = 4;

// The largest of `count` parts, in whole units of the alignment.
int64_t part_of(int64_t size, size_t count) {
    const size_t units = ceil_div(static_cast<size_t>(size), rk3588::kAlignK);
    return static_cast<int64_t>(ceil_div(units, count) * rk3588::kAlignK);
}

Operation run_on(int cores, const rknnsim::MatmulShape& shape, const BoardProfile& board) {
    Operation run{.server = Server::kNpu, .cores = cores};
    run.fixed_ns = (board.npu.submit_us + board.npu.bind_us) * 1e3;
    const rknnsim::Work work = rknnsim::work_of(shape, board.npu);
    const double gbps = rknnsim::bandwidth(work, board.npu, cores) * cores;
    for (const rknnsim::Work::Segment& segment : work.segments) {
        for (const rknnsim::Block* block : {&segment.full, &segment.rest}) {
            if (block->count * segment.count == 0) continue;
            run.parts.push_back({.count = static_cast<double>(block->count * segment.count),
                                 .compute_ns = rknnsim::mac_ns(shape, board.npu, block->macs),
                                 .bytes = static_cast<double>(block->bytes()) * cores,
                                 .gbps = gbps});
        }
    }
    return run;
}

// Segments whose activations the round `index` is the first to read: cells go segment by segment.
size_t new_segments(size_t index, const CellGrid& grid) {
    const auto until = [&](size_t round) {
        const size_t cells = round * rknnsim::kCores;
        return std::min(ceil_div(cells, grid.tiles), grid.segments);
    };
    return until(index + 1) - until(index);
}

}  // namespace

CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board) {
    const auto columns = static_cast<size_t>(board.npu_columns);
    return {.segments = ceil_div(static_cast<size_t>(K), static_cast<size_t>(board.npu.k_segment)),
            .tiles = 3 * ceil_div(static_cast<size_t>(N), rknnsim::kCores * columns)};
}

std::vector<Operation> npu_rounds(int64_t rows, int64_t N, int64_t K, const CellGrid& grid, Sync sync,
                                  const BoardProfile& board) {
    rknnsim::MatmulShape shape;
    shape.ac_native = true;
    shape.M = static_cast<uint32_t>(rows);
    shape.K = static_cast<uint32_t>(part_of(K, grid.segments));
    shape.N = static_cast<uint32_t>(part_of(N, grid.tiles));
    // A call syncs a whole buffer, and buffers come in sizes of which each is a quarter larger than the last.
    constexpr double kBuffer = 1.25;
    const auto call_ns = [&](double bytes) {
        return board.npu.sync_us * 1e3 + bytes * kBuffer / board.npu.sync_gbps;
    };
    const auto count = static_cast<double>(rows);
    const double activations_ns = call_ns(count * shape.K);
    const double results_ns = call_ns(count * shape.N * kBytesInt32);
    std::vector<Operation> rounds;
    const size_t cells = grid.segments * grid.tiles;
    for (size_t first = 0; first < cells; first += rknnsim::kCores) {
        const size_t cores = std::min<size_t>(cells - first, rknnsim::kCores);
        Operation round = run_on(static_cast<int>(cores), shape, board);
        const auto fresh = static_cast<double>(new_segments(rounds.size(), grid));
        if (sync == Sync::kOwner) round.fixed_ns += fresh * activations_ns + results_ns;
        rounds.push_back(std::move(round));
    }
    return rounds;
}

double line_ns(double bytes, const BoardProfile& board) {
    constexpr double kLine = 64;
    return bytes / kLine * board.npu.line_ns / board.cpu_threads;
}

Operation cpu_pass(double bytes, const BoardProfile& board) {
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.bytes = bytes, .gbps = board.cpu_copy_gbps * board.cpu_in_place}}};
}

Operation cpu_attention(int64_t first, int64_t rows, int64_t q_size, int64_t kv_size,
                        const BoardProfile& board) {
    const auto count = static_cast<double>(rows);
    const double positions = count * (static_cast<double>(first) + (count + 1) / 2);  // of all rows together
    const double operations = 4 * positions * static_cast<double>(q_size);  // two products, two each
    const double cache = 2 * kBytesFp16 * static_cast<double>((first + rows) * kv_size);
    const double rows_in_and_out = 2 * kBytesFp32 * count * static_cast<double>(q_size);
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.compute_ns = operations / board.attention_gflops,
                       .bytes = cache + rows_in_and_out,
                       .gbps = board.cpu_read_gbps}}};
}

}  // namespace rknpu2
