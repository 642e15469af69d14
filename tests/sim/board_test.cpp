// SPDX-License-Identifier: MIT
// RKNNSIM_BOARD: what the worst board is, that a setting by its own name wins, and the readings that only it
// has.
#include "core/settings.hpp"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using rknnsim::Settings;
using ::testing::HasSubstr;

class BoardTest : public TwoProductsTest {
  protected:
    void SetUp() override {
        TwoProductsTest::SetUp();
        on_default_board();
    }
    // The settings with these variables.
    static Settings with(const std::vector<std::pair<const char*, const char*>>& variables) {
        for (const auto& [name, value] : variables)
            setenv(name, value, 1);
        Settings settings;
        const rknnsim::Outcome outcome = Settings::from_environment(&settings);
        EXPECT_TRUE(outcome.ok()) << outcome.text;
        for (const auto& [name, value] : variables)
            unsetenv(name);
        return settings;
    }
    static int create(const rknn_matmul_info& info, rknn_matmul_ctx* ctx) {
        rknn_matmul_info own = info;
        rknn_matmul_io_attr attr;
        return rknn_matmul_create(ctx, &own, &attr);
    }
};

TEST_F(BoardTest, TheDefaultBoardFollowsInputsOnly) {
    const Settings settings = with({{"RKNNSIM_BOARD", "default"}});
    EXPECT_TRUE(settings == Settings{});
    EXPECT_FALSE(settings.cache.follow_every_line());
    EXPECT_TRUE(settings.cache.non_cacheable_stale);
}

// The worst board is what its settings are by name, and nothing else.
TEST_F(BoardTest, TheWorstBoardIsItsSettings) {
    const Settings worst = with({{"RKNNSIM_BOARD", "worst"}});
    EXPECT_TRUE(worst == with({{"RKNNSIM_BIND", "leaves"},
                               {"RKNNSIM_IMPORT_SYNC", "nothing"},
                               {"RKNNSIM_RESULTS", "synced"},
                               {"RKNNSIM_DIRTY", "overwrites"},
                               {"RKNNSIM_NON_CACHEABLE", "stale"},
                               {"RKNNSIM_CONTEXTS", "150"},
                               {"RKNNSIM_MANY_CONTEXTS", "fail"},
                               {"RKNNSIM_K_MAX", "10240"},
                               {"RKNNSIM_QUANT", "abort"},
                               {"RKNNSIM_INT4_NORMAL_B", "refuse-at-bind"}}));
    EXPECT_TRUE(worst.cache.follow_every_line());
    EXPECT_EQ(worst.contexts, 150);
}

TEST_F(BoardTest, ASettingByItsOwnNameWins) {
    for (const bool board_first : {true, false}) {
        if (board_first) setenv("RKNNSIM_BOARD", "worst", 1);
        setenv("RKNNSIM_BIND", "cleans", 1);
        setenv("RKNNSIM_QUANT", "reject", 1);
        const Settings settings = with({{"RKNNSIM_BOARD", "worst"}});
        EXPECT_TRUE(settings.cache.bind_cleans);
        EXPECT_FALSE(settings.cache.results_visible);
        EXPECT_EQ(settings.quant, rknnsim::QuantReading::kReject);
        unsetenv("RKNNSIM_BIND");
        unsetenv("RKNNSIM_QUANT");
    }
}

// Each reading alone is enough to follow the cache.
TEST_F(BoardTest, EachReadingFollowsTheCache) {
    EXPECT_TRUE(with({{"RKNNSIM_BIND", "leaves"}}).cache.follow_every_line());
    EXPECT_TRUE(with({{"RKNNSIM_IMPORT_SYNC", "nothing"}}).cache.follow_every_line());
    EXPECT_TRUE(with({{"RKNNSIM_RESULTS", "synced"}}).cache.follow_every_line());
    EXPECT_TRUE(with({{"RKNNSIM_DIRTY", "overwrites"}}).cache.follow_every_line());
    EXPECT_FALSE(with({{"RKNNSIM_NON_CACHEABLE", "coherent"}}).cache.follow_every_line());
}

TEST_F(BoardTest, ABoardThatDoesNotExistIsAnError) {
    setenv("RKNNSIM_BOARD", "best", 1);
    Settings settings;
    EXPECT_EQ(Settings::from_environment(&settings).text,
              "RKNNSIM_BOARD is \"best\", but must be default or worst; every call will fail until it is put "
              "right");
    unsetenv("RKNNSIM_BOARD");
}

// A program that does all that it must is right on the worst board, in every type and layout.
TEST_F(BoardTest, ARightProgramIsRightOnTheWorstBoard) {
    set("RKNNSIM_BOARD", "worst");
    set("RKNNSIM_CHECK", "strict");
    const std::string said = stderr_of([&] {
        for (const int type : {kF16F32, kI8I32, kI8I8, kF16F16, kI4I16}) {
            for (const int ac_layout : {0, 1}) {
                constexpr Shape kTall{5, 64, 128};
                Matmul matmul(type, kTall, kBNative, ac_layout);
                ASSERT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
                for (unsigned round = 0; round < 3; ++round) {
                    Operands operands = random_operands(type, kTall, round);
                    for (float& value : operands.a)
                        value = std::round(value / 4);
                    for (float& value : operands.b)
                        value = std::round(value / 8);
                    matmul.write_a(operands.a);
                    matmul.write_b(operands.b);
                    const auto sync = [&](rknn_tensor_mem* mem, int mode) {
                        return rknn_mem_sync(matmul.ctx(), mem, mode);
                    };
                    ASSERT_EQ(sync(matmul.a(), 1) | sync(matmul.b(), 1), 0);
                    if (ac_layout == 0) {
                        ASSERT_EQ(matmul.bind_a(), 0);
                    }
                    ASSERT_EQ(matmul.run() | sync(matmul.c(), 2), 0);
                    std::vector<double> want = expected(operands, kTall);
                    if (type == kI8I8) {
                        for (double& value : want)
                            value = std::clamp(value, -128.0, 127.0);
                    }
                    EXPECT_EQ(matmul.read_c(), want) << type << " " << ac_layout;
                }
            }
        }
    });
    EXPECT_EQ(said, "");
}

TEST_F(BoardTest, NormalInt4WeightsAreRefusedWhenTheyAreBound) {
    set("RKNNSIM_BOARD", "worst");
    Matmul matmul(kI4I16, {1, 64, 64}, kBNormal);
    ASSERT_EQ(matmul.created(), 0);
    const std::string said = stderr_of([&] { EXPECT_EQ(matmul.bind_b(), RKNN_ERR_PARAM_INVALID); });
    EXPECT_THAT(said, HasSubstr("B of type 10 in normal layout cannot be bound"));
    EXPECT_EQ(matmul.bind_a(), 0);
}

TEST_F(BoardTest, ARunOfType9EndsTheProcess) {
    rknn_matmul_info info = info_of(9, {1, 64, 64});
    info.B_quant_type = 4;
    info.group_size = 32;
    EXPECT_DEATH(
        {
            setenv("RKNNSIM_QUANT", "abort", 1);
            rknnsim_reset();
            rknn_matmul_ctx ctx = 0;
            if (create(info, &ctx) != 0) _exit(0);
            rknn_matmul_run(ctx);
            _exit(0);
        },
        "rknnsim: error: rknn_matmul_run: .*a run of type 9 ends the process on this board "
        "\\(RKNNSIM_QUANT=abort\\)");
}

TEST_F(BoardTest, ManyContextsFailOnTheWorstBoard) {
    set("RKNNSIM_BOARD", "worst");
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    std::vector<rknn_matmul_ctx> others(149);
    for (rknn_matmul_ctx& ctx : others)
        ASSERT_EQ(create(info_of(kI8I32, {1, 32, 32}), &ctx), 0);
    EXPECT_EQ(matmul.run(), 0);
    rknn_matmul_ctx last = 0;
    ASSERT_EQ(create(info_of(kI8I32, {1, 32, 32}), &last), 0);
    EXPECT_EQ(matmul.run(), RKNN_ERR_FAIL);
    others.push_back(last);
    for (const rknn_matmul_ctx ctx : others)
        EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
}

}  // namespace
}  // namespace rknnsim_test
