// SPDX-License-Identifier: MIT
// Costs of single steps: the grid of a weight, and that runs follow the simulator's rule.
#include "predict/stages.hpp"

#include "bench/predict_cases.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

TEST(Costs, SmallestGridKeepsTheLimitsOfARun) {
    const BoardProfile board = shipped_board();
    const auto grid = [&](int64_t N, int64_t K) {
        const CellGrid made = smallest_grid(N, K, board);
        return std::pair(made.segments, made.tiles);
    };
    EXPECT_EQ(grid(4096, 4096), std::pair(1UL, 3UL));
    EXPECT_EQ(grid(22016, 4096), std::pair(1UL, 3UL));
    EXPECT_EQ(grid(4096, 11008), std::pair(2UL, 3UL));    // K over 8192
    EXPECT_EQ(grid(262144, 1152), std::pair(1UL, 18UL));  // six rounds
    const std::vector<Operation> cells = npu_rounds(1, even_runs(4096, 4096, {2, 4}), Sync::kNone, board);
    ASSERT_EQ(cells.size(), 8);
    EXPECT_EQ(cells[7].server, 1);
    EXPECT_EQ(cells[7].after, (std::vector<size_t>{3, 4, 5}));
    const std::vector<Operation> job = job_of(cells, false);
    ASSERT_EQ(job.size(), 3);
    EXPECT_DOUBLE_EQ(job[1].bytes(), cells[1].bytes() * 3);
    EXPECT_DOUBLE_EQ(job[2].fixed_ns, cells[1].fixed_ns * 2);
    EXPECT_EQ(job_of(cells, true)[7].after, std::vector<size_t>{4});
}

TEST(Costs, ARoundIsTheSimulatorsRun) {
    const BoardProfile board = shipped_board();
    const std::vector<Operation> rounds =
        npu_rounds(100, even_runs(3 * 1024, 4096, {1, 3}), Sync::kNone, board);
    ASSERT_EQ(rounds.size(), 3);
    rknnsim::MatmulShape shape;
    shape.ac_native = true;
    shape.M = 100;
    shape.K = 4096;
    shape.N = 1024;
    const rknnsim::Work work = rknnsim::work_of(shape, board.npu);
    double alone_ns = 0;
    for (const Part& part : rounds[0].parts)
        alone_ns += part.count * std::max(part.compute_ns, part.bytes / part.gbps.with[2]);
    EXPECT_NEAR(alone_ns, rknnsim::duration_of(shape, work, board.npu, 3).total, 1);
    EXPECT_DOUBLE_EQ(rounds[0].fixed_ns, (board.npu.submit_us + board.npu.bind_us) * 1e3);
    EXPECT_DOUBLE_EQ(rounds[0].bytes(),
                     static_cast<double>(work.read_a + work.read_b + work.read_c + work.write_c));
}

TEST(Costs, SegmentsReadWeightsLessOften) {
    const BoardProfile board = shipped_board();
    const auto bytes = [&](const CellGrid& grid) {
        double sum = 0;
        for (const Operation& round : npu_rounds(512, even_runs(4096, 4096, grid), Sync::kNone, board))
            sum += round.bytes();
        return sum;
    };
    EXPECT_GT(bytes({1, 3}), 16 * 4096.0 * 4096);  // 32 rows a tile: 16 passes
    EXPECT_LT(bytes({4, 3}), bytes({1, 3}) / 2);   // 128 rows: 4 passes, three more sums
    // K dealt to the cores: one round.
    EXPECT_TRUE(npu_rounds(1, even_runs(4096, 4096, {3, 1}), Sync::kNone, board).back().after.empty());
}

TEST(Costs, SyncsOfWholeBuffers) {
    const BoardProfile board = shipped_board();
    // What the calls add to each round.
    const auto syncs = [&](int64_t rows, int64_t N, int64_t K, const CellGrid& grid) {
        const std::vector<Operation> without = npu_rounds(rows, even_runs(N, K, grid), Sync::kNone, board);
        const std::vector<Operation> with = npu_rounds(rows, even_runs(N, K, grid), Sync::kOwner, board);
        EXPECT_EQ(with.size(), without.size());
        std::vector<double> added;
        for (size_t i = 0; i < with.size(); i += 3)
            added.push_back(with[i].fixed_ns - without[i].fixed_ns);
        return added;
    };
    // One segment for three cores: a sync of the activations, and one of each core's results, side by side.
    const std::vector<double> one = syncs(100, 3 * 1024, 4096, {1, 3});
    ASSERT_EQ(one.size(), 1);
    EXPECT_NEAR(one[0], 2000 + 1.25 * (100 * 4096 + 100 * 1024 * 4) / 39, 1);
    // Two segments of three tiles are two rounds, each with activations of its own; of two rounds of one
    // segment the second has none to sync.
    for (const auto& [grid, second] : {std::pair{CellGrid{2, 3}, true}, {CellGrid{1, 6}, false}}) {
        const std::vector<double> two = syncs(1, 6 * 1024, 4096, grid);
        ASSERT_EQ(two.size(), 2);
        EXPECT_EQ(two[1] > 2000, second);
        EXPECT_GT(two[0], 2000);
    }
    // Three segments, one to each core: all activations before the one round.
    EXPECT_NEAR(syncs(1, 1024, 3 * 1024, {3, 1})[0], 4000 + 1.25 * (3 * 1024 + 4 * 1024) / 39, 1);
    EXPECT_NEAR(line_ns(256 * 64, board), 256 * 6.6 / 4, 1e-9);
}

TEST(Costs, WideResultsAreSlow) {
    const auto gbps = [board = shipped_board()](size_t N, size_t rows) {
        return results_gbps(board.results_gbps_narrow, board.results_gbps_wide, rows, N);
    };
    EXPECT_DOUBLE_EQ(gbps(2560, 64), 20);
    EXPECT_DOUBLE_EQ(gbps(10240, 64), 5.5);
    EXPECT_DOUBLE_EQ(gbps(200000, 64), 5.5);
    EXPECT_DOUBLE_EQ(gbps(200000, 1), 20);
    EXPECT_NEAR(1 / gbps(6400, 64), (1 / 20.0 + 1 / 5.5) / 2, 1e-9);
}

TEST(Costs, CausalAttentionGrowsWithThePosition) {
    const BoardProfile board = shipped_board();
    const ModelShape llama = find_model_shape("Llama-2-7B").value();
    const auto ns = [&](int64_t first, int64_t rows) {
        return cpu_attention(first, rows, 0, llama, board).parts[0].compute_ns;
    };
    EXPECT_NEAR(ns(0, 256) + ns(256, 256), ns(0, 512), 1);
    EXPECT_NEAR(ns(0, 512), 4.0 * 512 * 513 / 2 * 4096 / board.attention_gflops, 1);
    EXPECT_GT(ns(256, 256), 2.9 * ns(0, 256));
    const double window = cpu_attention(1000, 64, 100, llama, board).parts[0].compute_ns;
    EXPECT_NEAR(window, 4.0 * 64 * 100 * 4096 / board.attention_gflops, 1);
}

// Keys and values are read, and made floats, once for all rows of a KV head.
TEST(Costs, AttentionOfFewTokensReadsTheCacheOnce) {
    const BoardProfile board = shipped_board();
    const ModelShape llama = find_model_shape("Llama-2-7B").value();
    const auto part = [&](int64_t rows) { return cpu_attention_of_few(512, rows, 0, llama, board).parts[0]; };
    const double cache = 2.0 * 2 * 513 * 4096;
    EXPECT_NEAR(part(1).bytes, cache + 8.0 * 4096, 1);
    EXPECT_NEAR(part(8).bytes, cache + 2.0 * 2 * 7 * 4096 + 8.0 * 8 * 4096, 1);
    const auto gflops = [&](int64_t rows, double positions) {
        return 4 * positions * 4096 / part(rows).compute_ns;
    };
    EXPECT_NEAR(gflops(1, 513), 32, 1);
    EXPECT_NEAR(gflops(4, 4 * 513 + 6), 77, 1);
    EXPECT_NEAR(gflops(8, 8 * 513 + 28), 84, 1);
    EXPECT_NEAR(gflops(32, 32 * 513 + 496), 101, 2);
}

}  // namespace
}  // namespace rknpu2
