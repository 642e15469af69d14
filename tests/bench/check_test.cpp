// SPDX-License-Identifier: MIT
// The model against a token of engines that say what their runs were (docs/measurements/published-engines.csv). Single
// multiplications are compared by scripts/fit_profile.py.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "bench/predict_cases.hpp"
#include "predict/csv.hpp"

namespace rknpu2 {
namespace {

constexpr double kBar = 0.25;  // the share that a token may be off, up or down

// A token as the engine's own account of it says, with the NPU's times from the board: rounds of runs and what wakes
// their threads, bindings and syncs, the weights, and the CPU's loops.
double token_ms(CsvTable& engines, size_t row, const BoardProfile& board) {
    const double round_us = board.npu.submit_us + engines.number(row, "wake_us");
    const double gbps = board.npu.stream_gbps[2] * board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz;
    return engines.number(row, "rounds") * round_us * 1e-3 +
           engines.number(row, "calls") * board.npu.sync_us * 1e-3 +
           engines.number(row, "weight_gb") / gbps * 1e3 + engines.number(row, "cpu_ms");
}

class EngineTest : public testing::Test {
  protected:
    static std::string text() {
        std::ostringstream text;
        text << std::ifstream(RKNPU2_SOURCE_DIR "/docs/measurements/published-engines.csv").rdbuf();
        return text.str();
    }
    // Modelled by published tokens a second, of each engine that has an account.
    std::vector<double> ratios(const BoardProfile& board) {
        std::vector<double> ratios;
        for (size_t row = 0; row < engines_.rows(); ++row) {
            if (engines_.number(row, "rounds") > 0)
                ratios.push_back(1e3 / token_ms(engines_, row, board) / engines_.number(row, "decode_tps"));
        }
        EXPECT_TRUE(engines_.status().ok()) << engines_.status().message();
        return ratios;
    }

    CsvTable engines_{text(), "published-engines.csv"};
};

TEST_F(EngineTest, EveryRowHasASource) {
    EXPECT_GE(engines_.rows(), 5U);
    for (size_t row = 0; row < engines_.rows(); ++row)
        EXPECT_FALSE(engines_.text(row, "source").empty());
}

TEST_F(EngineTest, ATokenIsWithinItsBar) {
    const std::vector<double> all = ratios(shipped_board());
    EXPECT_EQ(all.size(), 3U);
    for (const double ratio : all)
        EXPECT_NEAR(ratio, 1, kBar);
}

// 341 rounds, 4.1 GB.
TEST_F(EngineTest, ATokenIsWhatItsRunsTake) {
    BoardProfile board = shipped_board();
    size_t row = 0;
    while (engines_.number(row, "decode_tps") != 4.55)
        ++row;
    const double ms = token_ms(engines_, row, board);
    EXPECT_NEAR(ms, 341 * 0.133 + 4.258 + 4.1e3 / 31.4 + 25, 0.01);
    board.npu.submit_us += 100;
    EXPECT_NEAR(token_ms(engines_, row, board) - ms, 34.1, 0.01);
}

TEST_F(EngineTest, AWrongProfileMissesTheBar) {
    BoardProfile board = shipped_board();
    board.npu.stream_gbps[2] /= 2;
    EXPECT_LT(ratios(board)[1], 1 - kBar);
}

}  // namespace
}  // namespace rknpu2
