#include "predict/costs.hpp"

#include <algorithm>

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
