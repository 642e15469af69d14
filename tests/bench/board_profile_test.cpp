// The profile of a board: complete or refused, and what it changes of the simulator's.
#include "predict/board_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "predict/embedded.hpp"
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
    const Result<BoardProfile> board = load_board_profile("", 0);
    ASSERT_TRUE(board.ok()) << board.status().message();
    EXPECT_NEAR(board.value().int8_peak(3), 6.144e12, 1e6);
    EXPECT_EQ(board.value().npu.mac_efficiency, 0.92);
    EXPECT_EQ(board.value().npu.native_banks[rknnsim::kInt8], 4);
    rknnsim::Profile simulated;
    ASSERT_TRUE(rknnsim::load_profile("", &simulated).ok());
    EXPECT_EQ(board.value().npu.submit_us, simulated.submit_us);  // what is not set is the simulator's
}

TEST(BoardProfile, RatesAreThoseOfTheMemoryClock) {
    const BoardProfile board = load_board_profile("", 0).value();
    const Result<BoardProfile> slow =
        parse_board_profile(std::string(embedded_board_profile()) + "npu.ddr_mhz = 1200\n", "b.profile");
    ASSERT_TRUE(slow.ok()) << slow.status().message();
    EXPECT_DOUBLE_EQ(slow.value().dram_gbps, board.dram_gbps / 2);
    EXPECT_DOUBLE_EQ(slow.value().cpu_read_gbps, board.cpu_read_gbps / 2);
    EXPECT_DOUBLE_EQ(slow.value().npu.stream_gbps[2], board.npu.stream_gbps[2]);  // its rule scales it
}

TEST(BoardProfile, BanksAreSet) {
    EXPECT_EQ(load_board_profile("", 8).value().npu.native_banks[rknnsim::kInt8], 8);
}

// What RKNNSIM_PROFILE takes, rknpu2-doctor's files among it: the NPU is the file's, the rest ours.
TEST(BoardProfile, AProfileOfTheSimulatorReplacesTheNpu) {
    std::string text;
    rknnsim::Profile simulated;
    ASSERT_TRUE(rknnsim::load_profile("", &simulated).ok());
    simulated.stream_gbps[2] = 12.5;
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters())
        text += std::string(parameter.name) + " = " + std::to_string(parameter.value(simulated)) + "\n";
    const Result<BoardProfile> board = parse_board_profile(text, "b.profile");
    ASSERT_TRUE(board.ok()) << board.status().message();
    EXPECT_EQ(board.value().npu.stream_gbps[2], 12.5);
    EXPECT_EQ(board.value().npu.mac_efficiency, simulated.mac_efficiency);  // not board.profile's
    EXPECT_EQ(board.value().dram_gbps, load_board_profile("", 0).value().dram_gbps);
    EXPECT_THAT(error_of("clock_mhz = 1000\n"), HasSubstr("b.profile: ddr_mhz is missing"));
}

TEST(BoardProfile, ErrorsNameFileAndCause) {
    const std::string text = embedded_board_profile();
    EXPECT_EQ(error_of("dram_gbps = 1\n"), "b.profile: npu_columns is missing");
    EXPECT_THAT(error_of(text + "npu.speed = 1\n"), HasSubstr("npu.speed: \"speed\" is not a parameter"));
    EXPECT_THAT(error_of(text + "npu.clock_mhz = 0\n"), HasSubstr("clock_mhz must be a number from"));
    EXPECT_THAT(error_of(text + "npu.clock_mhz = fast\n"), HasSubstr("npu.clock_mhz must be a number"));
    EXPECT_THAT(error_of(text + "cores = 3\n"), HasSubstr("\"cores\" is not a name that belongs here"));
    EXPECT_THAT(load_board_profile(test::missing_path(), 0).status().message(),
                HasSubstr(test::missing_path() + ": cannot be read: No such file"));
}

}  // namespace
}  // namespace rknpu2
