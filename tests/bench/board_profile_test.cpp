// SPDX-License-Identifier: MIT
// The profile of a board: complete or refused, and what it changes of the simulator's.
#include "predict/board_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/key_values.hpp"
#include "plan/cost_model.hpp"
#include "predict/csv.hpp"
#include "predict/matrices.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

using testing::HasSubstr;

std::string error_of(const std::string& text) {
    const Result<BoardProfile> board = parse_board_profile(text, "b.profile");
    EXPECT_FALSE(board.ok());
    return board.status().message();
}

TEST(BoardProfile, TheShippedOneLoads) {
    const Result<BoardProfile> board = load_board_profile();
    ASSERT_TRUE(board.ok()) << board.status().message();
    EXPECT_NEAR(board.value().int8_peak(3), 6.144e12, 1e6);
    EXPECT_EQ(board.value().npu.mac_efficiency, 0.92);
    EXPECT_EQ(board.value().npu.native_banks[rknnsim::kInt8], 4);
    rknnsim::Profile simulated;
    ASSERT_TRUE(rknnsim::load_profile("", &simulated).ok());
    EXPECT_EQ(board.value().npu.submit_us, simulated.submit_us);  // what is not set is the simulator's
}

TEST(BoardProfile, RatesAreThoseOfTheMemoryClock) {
    const BoardProfile board = load_board_profile().value();
    const Result<BoardProfile> slow =
        parse_board_profile(std::string(embedded_board()) + "npu.ddr_mhz = 1200\n", "b.profile");
    ASSERT_TRUE(slow.ok()) << slow.status().message();
    EXPECT_DOUBLE_EQ(slow.value().dram_gbps, board.dram_gbps / 2);
    EXPECT_DOUBLE_EQ(slow.value().cpu_read_gbps, board.cpu_read_gbps / 2);
    EXPECT_DOUBLE_EQ(slow.value().npu.stream_gbps[2], board.npu.stream_gbps[2]);  // its rule scales it
    const BoardRates rates = rates_of(board), slow_rates = rates_of(slow.value());
    EXPECT_DOUBLE_EQ(slow_rates.stream_gbps[2], rates.stream_gbps[2] / 2);
    EXPECT_DOUBLE_EQ(slow_rates.mixed_gbps[2], rates.mixed_gbps[2] / 2);
}

TEST(BoardProfile, BanksAreSet) {
    const std::string text = std::string(embedded_board()) + "npu.data_banks.native.int8 = 8\n";
    EXPECT_EQ(parse_board_profile(text, "b.profile").value().npu.native_banks[rknnsim::kInt8], 8);
}

// What RKNNSIM_PROFILE takes, rknpu2-doctor's files among it: the NPU is the file's, the rest ours.
TEST(BoardProfile, AProfileOfTheSimulatorReplacesTheNpu) {
    std::string text;
    rknnsim::Profile simulated;
    ASSERT_TRUE(rknnsim::load_profile("", &simulated).ok());
    simulated.stream_gbps[2] = 12.5;
    simulated.ddr_mhz = 1200;
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters())
        text += std::string(parameter.name) + " = " + std::to_string(parameter.value(simulated)) + "\n";
    const Result<BoardProfile> board = parse_board_profile(text, "b.profile");
    ASSERT_TRUE(board.ok()) << board.status().message();
    EXPECT_EQ(board.value().npu.stream_gbps[2], 12.5);
    EXPECT_EQ(board.value().npu.mac_efficiency, simulated.mac_efficiency);  // not board.profile's
    EXPECT_DOUBLE_EQ(board.value().dram_gbps, load_board_profile().value().dram_gbps / 2);
    EXPECT_THAT(error_of("clock_mhz = 1000\n"), HasSubstr("b.profile: ddr_mhz is missing"));
}

// The planner, the simulator's clock and this program have one model of the chip.
TEST(BoardProfile, ThePlannersRatesAreTheProfiles) {
    const BoardProfile board = load_board_profile().value();
    const rknnsim::Profile& npu = board.npu;
    constexpr BoardRates kRates = kBoardRates;
    EXPECT_EQ(kRates.run_ns, (npu.submit_us + npu.bind_us) * 1e3);
    EXPECT_EQ(kRates.sync_ns, npu.sync_us * 1e3);
    EXPECT_EQ(kRates.sync_gbps, npu.sync_gbps);
    EXPECT_EQ(kRates.int4_macs_per_ns,
              npu.mac_efficiency * npu.macs_per_cycle[rknnsim::kInt4] * (npu.clock_mhz / 1e3));
    EXPECT_EQ(kRates.int8_macs_per_ns,
              npu.mac_efficiency * npu.macs_per_cycle[rknnsim::kInt8] * (npu.clock_mhz / 1e3));
    EXPECT_EQ(kRates.fp16_macs_per_ns,
              npu.mac_efficiency * npu.macs_per_cycle[rknnsim::kFp16] * (npu.clock_mhz / 1e3));
    EXPECT_EQ(kRates.bank_bytes, npu.bank_bytes);
    EXPECT_EQ(kRates.banks, npu.buffer_banks);
    EXPECT_EQ(kRates.tile_banks, npu.native_banks[rknnsim::kInt8]);
    EXPECT_EQ(kRates.tile_banks, npu.least_banks);
    EXPECT_EQ(kRates.fp16_tile_banks, npu.native_banks[rknnsim::kFp16]);
    EXPECT_THAT(kRates.stream_gbps, testing::ElementsAreArray(npu.stream_gbps));
    EXPECT_THAT(kRates.mixed_gbps, testing::ElementsAreArray(npu.mixed_gbps));
    EXPECT_EQ(kRates.cpu_gbps, board.cpu_copy_gbps * board.cpu_in_place);
    EXPECT_EQ(kRates.results_gbps, board.results_gbps_narrow);
    EXPECT_EQ(kRates.wide_results_gbps, board.results_gbps_wide);
    EXPECT_EQ(kRates.cpu_beside_npu, board.cpu_beside_npu);
    EXPECT_EQ(CpuProducts().read_gbps, board.cpu_read_gbps);
    EXPECT_EQ(kRates.region_ns, board.region_us * 1e3);
    EXPECT_EQ(kRates.wake_ns, board.wake_us * 1e3);
    EXPECT_EQ(kRates.hand_over_ns, board.hand_over_us * 1e3);
}

TEST(BoardProfile, NoNumberStandsTwice) {
    // The planner writes none of its own but the one rate of the CPU's products that no profile has.
    std::ifstream header(RKNPU2_SOURCE_DIR "/src/plan/cost_model.hpp");
    std::string line;
    while (std::getline(header, line) && line.rfind("struct BoardRates {", 0) != 0) {
    }
    int rates = 0;
    for (std::string all; std::getline(header, line) && line.rfind("};", 0) != 0;) {
        all += line.substr(0, line.find("//"));
        if (all.find(';') == std::string::npos) continue;
        const bool own = all.find("CpuProducts") != std::string::npos;
        EXPECT_NE(own, all.find("chip::") != std::string::npos) << all;
        rates += own ? 0 : 1;
        all.clear();
    }
    EXPECT_EQ(rates, 19);
    // The board's profile sets nothing of the NPU's to what the simulator's says already.
    rknnsim::Profile simulated;
    ASSERT_TRUE(rknnsim::load_profile("", &simulated).ok());
    const Result<std::vector<KeyValue>> entries = parse_key_values(embedded_board(), "b.profile");
    ASSERT_TRUE(entries.ok());
    int departures = 0;
    for (const KeyValue& set : entries.value()) {
        if (!set.name.starts_with("npu.")) continue;
        double value = 0;
        EXPECT_TRUE(rknnsim::get_parameter(set.name.substr(4), simulated, &value).ok());
        EXPECT_NE(value, parse_number(set.value)) << set.name;
        ++departures;
    }
    EXPECT_GT(departures, 0);
}

TEST(BoardProfile, ErrorsNameFileAndCause) {
    const std::string text = embedded_board();
    EXPECT_EQ(error_of("dram_gbps = 1\n"), "b.profile: npu_columns is missing");
    EXPECT_THAT(error_of(text + "npu.speed = 1\n"), HasSubstr("npu.speed: \"speed\" is not a parameter"));
    EXPECT_THAT(error_of(text + "npu.clock_mhz = 0\n"), HasSubstr("clock_mhz must be a number from"));
    EXPECT_THAT(error_of(text + "npu.clock_mhz = fast\n"),
                HasSubstr("npu.clock_mhz: clock_mhz must be a number"));
    EXPECT_THAT(error_of(text + "cores = 3\n"), HasSubstr("\"cores\" is not a name that belongs here"));
    EXPECT_EQ(error_of("a = 1\na = 2\n"), "b.profile:2: a is given twice");
    EXPECT_EQ(error_of("\ndram_gbps 1 # a comment\n"), "b.profile:2: expected \"name = value\"");
    for (const char* wrong : {"many", "0", "nan"}) {
        EXPECT_EQ(error_of(std::string("dram_gbps = ") + wrong + "\n"),
                  std::string("b.profile:1: dram_gbps is \"") + wrong +
                      "\", but must be a number from 0.1 to 1000");
    }
    EXPECT_THAT(load_board_profile(test::missing_path()).status().message(),
                HasSubstr(test::missing_path() + ": cannot be read: No such file"));
}

}  // namespace
}  // namespace rknpu2
