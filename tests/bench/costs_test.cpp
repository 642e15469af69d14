// SPDX-License-Identifier: MIT
// Costs of single steps: the grid of a weight, and that runs follow the simulator's rule.
#include "predict/costs.hpp"

#include "bench/predict_cases.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

double total(const std::vector<Operation>& rounds, double (Operation::*what)() const) {
    double sum = 0;
    for (const Operation& round : rounds)
        sum += (round.*what)();
    return sum;
}

TEST(Costs, SmallestGridKeepsTheLimitsOfARun) {
    const BoardProfile board = shipped_board();
    EXPECT_EQ(smallest_grid(4096, 4096, board), (Grid{1, 3}));
    EXPECT_EQ(smallest_grid(22016, 4096, board), (Grid{1, 3}));
    EXPECT_EQ(smallest_grid(4096, 11008, board), (Grid{2, 3}));    // K over 8192
    EXPECT_EQ(smallest_grid(262144, 1152, board), (Grid{1, 18}));  // six rounds
    EXPECT_EQ((Grid{2, 4}).rounds(), 3);
}

TEST(Costs, ARoundIsTheSimulatorsRun) {
    const BoardProfile board = shipped_board();
    const std::vector<Operation> rounds = npu_rounds(100, 3 * 1024, 4096, {1, 3}, true, board);
    ASSERT_EQ(rounds.size(), 1);
    rknnsim::MatmulShape shape;
    shape.ac_native = true;
    shape.M = 100;
    shape.K = 4096;
    shape.N = 1024;
    const rknnsim::Work work = rknnsim::work_of(shape, board.npu);
    EXPECT_NEAR(rounds[0].alone_ns(), rknnsim::duration_of(shape, work, board.npu, 3).total, 1);
    EXPECT_DOUBLE_EQ(rounds[0].fixed_ns, (board.npu.submit_us + board.npu.bind_us) * 1e3);
    EXPECT_DOUBLE_EQ(rounds[0].bytes(),
                     3.0 * static_cast<double>(work.read_a + work.read_b + work.read_c + work.write_c));
}

TEST(Costs, SegmentsReadWeightsLessOften) {
    const BoardProfile board = shipped_board();
    const auto bytes = [&](const Grid& grid) {
        return total(npu_rounds(512, 4096, 4096, grid, true, board), &Operation::bytes);
    };
    EXPECT_GT(bytes({1, 3}), 16 * 4096.0 * 4096);  // 32 rows a tile: 16 passes
    EXPECT_LT(bytes({4, 3}), bytes({1, 3}) / 2);   // 128 rows: 4 passes, three more sums
    EXPECT_EQ(npu_rounds(1, 4096, 4096, {3, 1}, true, board).size(), 1);  // K dealt to the cores: one round
}

TEST(Costs, SyncsOfWholeBuffers) {
    const BoardProfile board = shipped_board();
    // One segment for three cores: a sync of the activations, and one of each core's results, side by side.
    std::vector<Operation> rounds = npu_rounds(100, 3 * 1024, 4096, {1, 3}, true, board);
    const double before = rounds[0].fixed_ns;
    add_syncs(&rounds, 100, 3 * 1024, 4096, {1, 3}, board);
    EXPECT_NEAR(rounds[0].fixed_ns - before, 2000 + 1.25 * (100 * 4096 + 100 * 1024 * 4) / 39, 1);
    // Two segments of three tiles are two rounds, each with activations of its own; of two rounds of one
    // segment the second has none to sync.
    for (const auto& [grid, second] : {std::pair{Grid{2, 3}, true}, {Grid{1, 6}, false}}) {
        rounds = npu_rounds(1, 6 * 1024, 4096, grid, true, board);
        ASSERT_EQ(rounds.size(), 2);
        const double call = rounds[1].fixed_ns;
        add_syncs(&rounds, 1, 6 * 1024, 4096, grid, board);
        EXPECT_EQ(rounds[1].fixed_ns - call > 2000, second);
        EXPECT_GT(rounds[0].fixed_ns - call, 2000);
    }
    // Three segments, one to each core: all activations before the one round.
    rounds = npu_rounds(1, 1024, 3 * 1024, {3, 1}, true, board);
    const double one = rounds[0].fixed_ns;
    add_syncs(&rounds, 1, 1024, 3 * 1024, {3, 1}, board);
    EXPECT_NEAR(rounds[0].fixed_ns - one, 4000 + 1.25 * (3 * 1024 + 4 * 1024) / 39, 1);
    EXPECT_NEAR(line_ns(256 * 64, board), 256 * 6.6 / 4, 1e-9);
}

TEST(Costs, WideResultsAreSlow) {
    const BoardProfile board = shipped_board();
    EXPECT_DOUBLE_EQ(results_gbps(2560, 64, board), 20);
    EXPECT_DOUBLE_EQ(results_gbps(10240, 64, board), 5.5);
    EXPECT_DOUBLE_EQ(results_gbps(200000, 64, board), 5.5);
    EXPECT_DOUBLE_EQ(results_gbps(200000, 1, board), 20);
    EXPECT_NEAR(1 / results_gbps(6400, 64, board), (1 / 20.0 + 1 / 5.5) / 2, 1e-9);
}

TEST(Costs, CausalAttentionGrowsWithThePosition) {
    const BoardProfile board = shipped_board();
    const auto ns = [&](int64_t first, int64_t rows) {
        return cpu_attention(first, rows, 4096, 1024, board).parts[0].compute_ns;
    };
    EXPECT_NEAR(ns(0, 256) + ns(256, 256), ns(0, 512), 1);
    EXPECT_NEAR(ns(0, 512), 4.0 * 512 * 513 / 2 * 4096 / board.attention_gflops, 1);
    EXPECT_GT(ns(256, 256), 2.9 * ns(0, 256));
}

}  // namespace
}  // namespace rknpu2
