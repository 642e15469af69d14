// SPDX-License-Identifier: MIT
#include "predict/costs.hpp"

#include <algorithm>

#include "plan/cost_model.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr int64_t kAlign = 32;  // of K and N, int8

int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

// The largest of `count` parts, in whole units of the alignment.
int64_t part_of(int64_t size, int64_t count) {
    return divide_up(divide_up(size, kAlign), count) * kAlign;
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

}  // namespace

Grid smallest_grid(int64_t N, int64_t K, const BoardProfile& board) {
    const auto columns = static_cast<int64_t>(board.npu_columns);
    return {divide_up(K, static_cast<int64_t>(board.npu.k_segment)),
            3 * divide_up(N, rknnsim::kCores * columns)};
}

std::vector<Operation> npu_rounds(int64_t rows, int64_t N, int64_t K, const Grid& grid, bool native,
                                  const BoardProfile& board) {
    rknnsim::MatmulShape shape;
    shape.ac_native = native;
    shape.M = static_cast<uint32_t>(rows);
    shape.K = static_cast<uint32_t>(part_of(K, grid.segments));
    shape.N = static_cast<uint32_t>(part_of(N, grid.tiles));
    std::vector<Operation> rounds;
    for (int64_t cells = grid.segments * grid.tiles; cells > 0; cells -= rknnsim::kCores)
        rounds.push_back(run_on(static_cast<int>(std::min<int64_t>(cells, rknnsim::kCores)), shape, board));
    return rounds;
}

const char* sync_name(Sync sync) {
    switch (sync) {
        case Sync::kNone:
            return "none";
        case Sync::kOwner:
            return "owner";
        case Sync::kLines:
            return "lines";
    }
    return "";
}

Result<Sync> find_sync(const std::string& name) {
    for (const Sync sync : {Sync::kNone, Sync::kOwner, Sync::kLines})
        if (name == sync_name(sync)) return sync;
    return Status(StatusCode::kInvalidArgument,
                  "no strategy is called \"" + name + "\"; there are none, owner and lines");
}

void add_syncs(std::vector<Operation>* rounds, int64_t rows, int64_t N, int64_t K, const Grid& grid,
               const BoardProfile& board) {
    // A call syncs a whole buffer, and buffers come in sizes of which each is a quarter larger than the last.
    constexpr double kBuffer = 1.25;
    constexpr double kBytesInt8 = 1, kBytesInt32 = 4;
    const auto call_ns = [&](double bytes) {
        return board.npu.sync_us * 1e3 + bytes * kBuffer / board.npu.sync_gbps;
    };
    const auto count = static_cast<double>(rows);
    const double activations = call_ns(count * static_cast<double>(part_of(K, grid.segments)) * kBytesInt8);
    const double results = call_ns(count * static_cast<double>(part_of(N, grid.tiles)) * kBytesInt32);
    for (size_t i = 0; i < rounds->size(); ++i) {
        // Cells go segment by segment: a round begins with new segments until all have been there.
        const auto first = static_cast<int64_t>(i) * rknnsim::kCores / grid.tiles;
        const auto end =
            std::min((static_cast<int64_t>(i + 1) * rknnsim::kCores - 1) / grid.tiles + 1, grid.segments);
        const auto before = i == 0 ? 0 : (static_cast<int64_t>(i) * rknnsim::kCores - 1) / grid.tiles + 1;
        const auto fresh = static_cast<double>(std::max<int64_t>(0, end - std::max(first, before)));
        (*rounds)[i].fixed_ns += fresh * activations + results;
    }
}

double line_ns(double bytes, const BoardProfile& board) {
    constexpr double kLine = 64;
    return bytes / kLine * board.npu.line_ns / board.cpu_threads;
}

double results_gbps(int64_t N, int64_t rows, const BoardProfile& board) {
    return rknpu2::results_gbps(board.results_gbps_narrow, board.results_gbps_wide, static_cast<size_t>(rows),
                                static_cast<size_t>(N));
}

Operation cpu_pass(double bytes, const BoardProfile& board) {
    return {.fixed_ns = board.region_us * 1e3,
            .parts = {{.bytes = bytes, .gbps = board.cpu_copy_gbps * board.cpu_in_place}}};
}

Operation cpu_conversion(double bytes_a, double bytes_c, const BoardProfile& board) {
    const double gbps = std::min(rknnsim::kCores * board.npu.convert_gbps, board.cpu_copy_gbps);
    return {.parts = {{.bytes = bytes_a * rknnsim::kCores + bytes_c, .gbps = gbps}}};
}

Operation cpu_attention(int64_t first, int64_t rows, int64_t q_size, int64_t kv_size,
                        const BoardProfile& board) {
    constexpr double kBytesFp16 = 2, kBytesFp32 = 4;
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
