// SPDX-License-Identifier: MIT
#include "predict/runs.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// The largest of `count` parts, in whole units of the alignment.
int64_t part_of(int64_t size, size_t count) {
    const size_t units = ceil_div(static_cast<size_t>(size), rk3588::kAlignK);
    return static_cast<int64_t>(ceil_div(units, count) * rk3588::kAlignK);
}

}  // namespace

std::vector<ProductRun> joined_runs(const std::vector<WeightPlan>& plans) {
    constexpr auto kCores = static_cast<size_t>(rknnsim::kCores);
    std::vector<ProductRun> runs;
    size_t tiles = 0;
    for (const WeightPlan& plan : plans)
        tiles = std::max(tiles, plan.tiles.size());
    for (size_t strip = 0; strip < tiles; strip += kCores) {
        for (size_t i = 0; i < kCores * plans[0].segments.size(); ++i) {
            const size_t core = i % kCores, segment = i / kCores;
            const size_t first = runs.size();
            for (const WeightPlan& plan : plans) {
                for (size_t t = strip; t < std::min(strip + kCores, plan.tiles.size()); ++t) {
                    if (plan.core_of(segment, t) != core) continue;
                    const size_t N = plan.tiles[t].N_padded;
                    const bool joins = runs.size() > first && runs.back().N + N <= plan.most_columns;
                    if (!joins)
                        runs.push_back(
                            {core, segment, plan.segments[segment].K_padded, 0, plan.recipe.arithmetic});
                    runs.back().N += N;
                }
            }
        }
    }
    return runs;
}

CellGrid smallest_grid(int64_t N, int64_t K, const BoardProfile& board) {
    const auto columns = static_cast<size_t>(board.npu_columns);
    return {.segments = ceil_div(static_cast<size_t>(K), static_cast<size_t>(board.npu.k_segment)),
            .tiles = 3 * ceil_div(static_cast<size_t>(N), rknnsim::kCores * columns)};
}

Operation run_on_core(size_t core, const rknnsim::MatmulShape& shape, const BoardProfile& board) {
    Operation run{.server = core};
    run.fixed_ns = (board.npu.submit_us + board.npu.bind_us) * 1e3;
    const rknnsim::Work work = rknnsim::work_of(shape, board.npu);
    const uint64_t weights = uint64_t{shape.K} * shape.N, results = uint64_t{shape.M} * shape.N;
    run.counts = {.runs = 1,
                  .weight_bytes = dtype_bytes(rknnsim::input_type(shape.type), weights),
                  .result_bytes = dtype_bytes(rknnsim::output_type(shape.type), results)};
    Gbps gbps;
    for (int cores = 1; cores <= rknnsim::kCores; ++cores)
        gbps.with[static_cast<size_t>(cores) - 1] = rknnsim::bandwidth(work, board.npu, cores);
    for (const rknnsim::Work::Segment& segment : work.segments) {
        for (const rknnsim::Block* block : {&segment.full, &segment.rest}) {
            if (block->count * segment.count == 0) continue;
            run.parts.push_back({.count = static_cast<double>(block->count * segment.count),
                                 .compute_ns = rknnsim::mac_ns(shape, board.npu, block->macs),
                                 .bytes = static_cast<double>(block->bytes()),
                                 .gbps = gbps});
        }
    }
    return run;
}

std::vector<ProductRun> even_runs(int64_t N, int64_t K, const CellGrid& grid) {
    std::vector<ProductRun> runs;
    for (size_t cell = 0; cell < grid.segments * grid.tiles; ++cell)
        runs.push_back({cell % rknnsim::kCores, cell / grid.tiles,
                        static_cast<size_t>(part_of(K, grid.segments)),
                        static_cast<size_t>(part_of(N, grid.tiles))});
    return runs;
}

double sync_ns(double bytes, const BoardProfile& board) {
    constexpr double kBuffer = 1.25;
    return board.npu.sync_us * 1e3 + bytes * kBuffer / board.npu.sync_gbps;
}

std::vector<Operation> npu_rounds(int64_t rows, const std::vector<ProductRun>& runs, Sync sync,
                                  const BoardProfile& board) {
    std::vector<std::vector<const ProductRun*>> all;  // by round
    std::array<size_t, rknnsim::kCores> of_core{};
    for (const ProductRun& run : runs) {
        const size_t round = of_core.at(run.core)++;
        all.resize(std::max(all.size(), round + 1));
        all[round].push_back(&run);
    }
    std::vector<Operation> operations;
    std::vector<size_t> before;
    std::vector<char> read;  // segments whose activations the NPU has
    for (const std::vector<const ProductRun*>& round : all) {
        double fresh_ns = 0;
        Counts fresh;
        for (const ProductRun* const run : round) {
            read.resize(std::max(read.size(), run->segment + 1));
            if (std::exchange(read[run->segment], 1) != 0) continue;
            const size_t bytes =
                dtype_bytes(operand_type(run->arithmetic), static_cast<size_t>(rows) * run->K);
            fresh.activation_bytes += bytes;
            fresh_ns += sync_ns(static_cast<double>(bytes), board);
        }
        std::vector<size_t> now;
        for (const ProductRun* const run : round) {
            rknnsim::MatmulShape shape;
            if (run->arithmetic == NpuArithmetic::kInt4) shape.type = rknnsim::MatmulType::kI4I4I16;
            shape.ac_native = true;
            shape.M = static_cast<uint32_t>(rows);
            shape.K = static_cast<uint32_t>(run->K);
            shape.N = static_cast<uint32_t>(run->N);
            Operation operation = run_on_core(run->core, shape, board);
            const auto results = static_cast<double>(operation.counts.result_bytes);
            if (sync == Sync::kOwner) operation.fixed_ns += fresh_ns + sync_ns(results, board);
            operation.counts += std::exchange(fresh, {});
            operation.after = before;
            now.push_back(operations.size());
            operations.push_back(std::move(operation));
        }
        before = std::move(now);
    }
    return operations;
}

std::vector<Operation> job_of(const std::vector<Operation>& rounds, bool something_between) {
    std::vector<Operation> job;
    std::array<size_t, kNpuCores> last{};
    for (const Operation& run : rounds) {
        const bool first = run.after.empty();
        if (!first && !something_between) {
            Operation& core = job[last[run.server]];
            core.fixed_ns += run.fixed_ns;
            core.parts.insert(core.parts.end(), run.parts.begin(), run.parts.end());
            core.counts += run.counts;
            continue;
        }
        job.push_back(run);
        if (!first) job.back().after = {last[run.server]};
        last[run.server] = job.size() - 1;
    }
    return job;
}

}  // namespace rknpu2
