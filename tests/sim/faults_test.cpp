// SPDX-License-Identifier: MIT
// Faults on request: every kind, every way to say when, and lists that cannot be read.
#include "core/faults.hpp"

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using rknnsim::Faults;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FaultTest : public SimTest {
  protected:
    static constexpr Shape kShape{2, 64, 96};
    const Operands first_ = random_operands(kI8I32, kShape, 15);
    const Operands second_ = random_operands(kI8I32, kShape, 16);

    // Which of `count` calls of rknn_matmul_run the list makes fail, from 1.
    static std::vector<int> hits(const std::string& when, int count) {
        std::unique_ptr<Faults> faults;
        EXPECT_EQ(Faults::parse("fail:rknn_matmul_run:" + when, {"rknn_matmul_run"}, &faults).text, "");
        std::vector<int> result;
        for (int i = 1; i <= count; ++i) {
            EXPECT_EQ(faults->call("rknn_create_mem"), 0);
            if (faults->call("rknn_matmul_run") != 0) result.push_back(i);
        }
        return result;
    }

    static std::string refusal(const std::string& text) {
        std::unique_ptr<Faults> faults;
        return Faults::parse(text, {"rknn_matmul_run", "rknn_create_mem"}, &faults).text;
    }
};

TEST_F(FaultTest, When) {
    EXPECT_THAT(hits("nth=3", 8), ElementsAre(3));
    EXPECT_THAT(hits("from=6", 8), ElementsAre(6, 7, 8));
    EXPECT_THAT(hits("every=3", 8), ElementsAre(3, 6));
    EXPECT_THAT(hits("share=1", 3), ElementsAre(1, 2, 3));
}

TEST_F(FaultTest, SharesFollowTheSeed) {
    const std::vector<int> once = hits("share=0.1,seed:7", 20000);
    EXPECT_EQ(once, hits("share=0.1,seed:7", 20000));
    EXPECT_NE(once, hits("share=0.1,seed:8", 20000));
    EXPECT_NEAR(static_cast<double>(once.size()), 2000, 200);  // almost five standard deviations
    EXPECT_LT(hits("share=0.001", 20000).size(), 60U);
}

TEST_F(FaultTest, APauseCountsNothing) {
    std::unique_ptr<Faults> faults;
    const std::string list = "fail:rknn_matmul_run:every=2,lost:nth=2,memory:bytes=1000";
    ASSERT_EQ(Faults::parse(list, {"rknn_matmul_run"}, &faults).text, "");
    const auto fails = [&] { return faults->call("rknn_matmul_run") != 0; };
    const auto is_lost = [&] { return !faults->run(1, 1).computes; };
    EXPECT_FALSE(fails() || is_lost() || faults->refuses_memory(500, 500));
    EXPECT_EQ(faults->made(), 0U);
    faults->pause(true);
    for (int i = 0; i < 3; ++i)
        EXPECT_FALSE(fails() || is_lost() || faults->refuses_memory(500, 501));
    EXPECT_EQ(faults->made(), 0U);
    faults->pause(false);
    EXPECT_TRUE(fails());
    EXPECT_TRUE(is_lost());
    EXPECT_TRUE(faults->refuses_memory(500, 501));
    EXPECT_EQ(faults->made(), 3U);
}

TEST_F(FaultTest, ACoreHangsThroughAPause) {
    std::unique_ptr<Faults> faults;
    ASSERT_EQ(Faults::parse("hang:nth=1", {}, &faults).text, "");
    EXPECT_FALSE(faults->run(1, 1).computes);
    EXPECT_EQ(faults->made(), 1U);
    faults->pause(true);
    EXPECT_FALSE(faults->run(1, 1).computes);
    EXPECT_EQ(faults->made(), 1U);
    faults->context_destroyed(1);
    EXPECT_TRUE(faults->run(1, 1).computes);
}

TEST_F(FaultTest, AProgramPausesThem) {
    set("RKNNSIM_FAULTS", "fail:rknn_matmul_run:share=1");
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(rknnsim_fault_count(), 0U);
    EXPECT_EQ(matmul.run(), RKNN_ERR_FAIL);
    EXPECT_EQ(rknnsim_fault_count(), 1U);
    EXPECT_EQ(rknnsim_pause_faults(1), 0);
    EXPECT_EQ(matmul.compute(first_), expected(first_, kShape));
    EXPECT_EQ(rknnsim_pause_faults(0), 0);
    EXPECT_EQ(matmul.run(), RKNN_ERR_FAIL);
    EXPECT_EQ(rknnsim_fault_count(), 2U);
}

TEST_F(FaultTest, CallsFailWithTheirCode) {
    set("RKNNSIM_FAULTS",
        "fail:rknn_matmul_run:nth=2:code=-2,fail:rknn_create_mem:nth=4,fail:rknn_mem_sync:nth=4:code=-6");
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(first_), expected(first_, kShape));
    EXPECT_EQ(stderr_of([&] { EXPECT_EQ(matmul.run(), RKNN_ERR_TIMEOUT); }),
              "rknnsim: fault: rknn_matmul_run: fails as RKNNSIM_FAULTS asks for\n");
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(rknn_create_mem(matmul.ctx(), 4096), nullptr);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), 1), -6);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), 1), 0);
    rknnsim_live_counts live;
    ASSERT_EQ(rknnsim_live(&live), 0);
    EXPECT_EQ(live.runs, 2U);
}

TEST_F(FaultTest, ALostSubmitLeavesTheResultAsItWas) {
    on_default_board();
    for (const int code : {RKNN_ERR_TIMEOUT, 0}) {
        set("RKNNSIM_FAULTS", code == 0 ? "lost:nth=2:code=0" : "lost:nth=2");
        Matmul matmul(kI8I32, kShape);
        const std::vector<double> before = matmul.compute(first_);
        matmul.write_a(second_.a);
        EXPECT_EQ(matmul.bind_a(), 0);
        const std::string output = stderr_of([&] { EXPECT_EQ(matmul.run(), code); });
        EXPECT_THAT(output, HasSubstr("accepted and never ran"));
        EXPECT_EQ(matmul.read_c(), before);
        EXPECT_EQ(matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), expected({second_.a, first_.b}, kShape));
    }
}

TEST_F(FaultTest, ALostFirstRunLeavesPoison) {
    set("RKNNSIM_FAULTS", "lost:nth=1:code=0");
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    EXPECT_EQ(data_of(matmul.c())[0], std::byte{0xAA});
}

TEST_F(FaultTest, AHungCoreStaysSoUntilItsContextGoes) {
    set("RKNNSIM_FAULTS", "hang:core=1:nth=2");
    auto culprit = std::make_unique<Matmul>(kI8I32, kShape);
    Matmul victim(kI8I32, kShape);
    Matmul elsewhere(kI8I32, kShape);
    for (Matmul* matmul : {culprit.get(), &victim, &elsewhere}) {
        const int mask = matmul == &elsewhere ? 1 : 2;
        EXPECT_EQ(rknn_matmul_set_core_mask(matmul->ctx(), mask), 0);
        EXPECT_EQ(matmul->bind_a() | matmul->bind_b() | matmul->bind_c(), 0);
    }
    EXPECT_EQ(culprit->run(), 0);
    EXPECT_EQ(culprit->run(), RKNN_ERR_TIMEOUT);
    EXPECT_EQ(culprit->run(), RKNN_ERR_TIMEOUT);
    EXPECT_EQ(victim.run(), RKNN_ERR_TIMEOUT);
    EXPECT_EQ(elsewhere.run(), 0);
    EXPECT_EQ(rknn_matmul_set_core_mask(victim.ctx(), 0), 0);
    EXPECT_EQ(victim.run(), 0);  // AUTO takes a core that works
    EXPECT_EQ(rknn_matmul_set_core_mask(victim.ctx(), 2), 0);
    EXPECT_EQ(victim.run(), RKNN_ERR_TIMEOUT);
    culprit.reset();
    EXPECT_EQ(victim.run(), 0);
    EXPECT_EQ(victim.compute(second_), expected(second_, kShape));
}

TEST_F(FaultTest, AllCoresHang) {
    set("RKNNSIM_FAULTS", "hang:from=1");
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(matmul.run(), RKNN_ERR_TIMEOUT);
}

TEST_F(FaultTest, MemoryRunsOut) {
    set("RKNNSIM_FAULTS", "memory:bytes=10000");
    rknn_matmul_info info = info_of(kI8I32, kShape);
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    rknn_tensor_mem* first = rknn_create_mem(ctx, 8192);
    ASSERT_NE(first, nullptr);
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(rknn_create_mem(ctx, 8192), nullptr); }),
                HasSubstr("memory has run out"));
    EXPECT_EQ(rknn_destroy_mem(ctx, first), 0);
    rknn_tensor_mem* again = rknn_create_mem(ctx, 8192);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(rknn_destroy_mem(ctx, again), 0);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
}

TEST_F(FaultTest, ADelayedRunIsRight) {
    set("RKNNSIM_FAULTS", "delay:every=1:us=50");
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(first_), expected(first_, kShape));
    std::unique_ptr<Faults> faults;
    EXPECT_TRUE(Faults::parse("delay:every=2:us=50,delay:nth=4:us=7", {}, &faults).ok());
    std::vector<uint64_t> delays;
    for (int i = 0; i < 4; ++i)
        delays.push_back(faults->run(1, 0).delay_ns);
    EXPECT_THAT(delays, ElementsAre(0, 50000, 0, 57000));
}

// That a blocked call does not return is in tests/tools/doctor_program_test.cpp, where somebody ends it.
TEST_F(FaultTest, ACrashEndsTheProcessInThatCall) {
    std::unique_ptr<Faults> faults;
    ASSERT_TRUE(Faults::parse("crash:rknn_matmul_run:nth=2", {"rknn_matmul_run"}, &faults).ok());
    EXPECT_EQ(faults->call("rknn_create_mem"), 0);
    EXPECT_EQ(faults->call("rknn_matmul_run"), 0);
    EXPECT_EXIT(faults->call("rknn_matmul_run"), ::testing::KilledBySignal(SIGABRT),
                "rknnsim: rknn_matmul_run crashes, as RKNNSIM_FAULTS asks for");
}

TEST_F(FaultTest, AMistypedFaultFailsEverything) {
    set("RKNNSIM_FAULTS", "fail:rknn_matmul_rnu:nth=5");
    rknn_matmul_info info = info_of(kI8I32, {1, 32, 32});
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    const std::string text =
        stderr_of([&] { EXPECT_EQ(rknn_matmul_create(&ctx, &info, &attr), RKNN_ERR_FAIL); });
    EXPECT_THAT(text, HasSubstr("\"fail:rknn_matmul_rnu:nth=5\" names no function that can fail"));
}

TEST_F(FaultTest, ListsThatCannotBeRead) {
    const std::pair<const char*, const char*> cases[] = {
        {"fial:rknn_matmul_run:nth=1", "is none of"},
        {"fail", "names no function"},
        {"fail:rknn_matmul_run", "needs one of nth"},
        {"fail:rknn_matmul_run:nth=0", "does not count from 1"},
        {"fail:rknn_matmul_run:nth=", "does not count from 1"},
        {"fail:rknn_matmul_run:nth=1x", "does not count from 1"},
        {"fail:rknn_matmul_run:nth=1:every=2", "more than one of"},
        {"fail:rknn_matmul_run:nth=1:code=0", "no negative code"},
        {"fail:rknn_matmul_run:nth=1:us=5", "means nothing there"},
        {"fail:rknn_matmul_run:5:-2", "without ="},
        {"lost:share=0", "share above 0"},
        {"lost:share=1.5", "share above 0"},
        {"lost:share=nan", "share above 0"},
        {"lost:nth=1:code=1", "no negative code"},
        {"hang:nth=1:core=3", "no core 0 to 2"},
        {"memory", "needs bytes="},
        {"memory:bytes=5:nth=1", "takes no nth"},
        {"delay:nth=1", "needs us="},
        {"seed:x", "has no number"},
        {"crash", "names no function"},
        {"block:rknn_matmul_run", "needs one of nth"},
        {"crash:rknn_matmul_run:nth=1:code=-1", "means nothing there"},
        {"lost:nth=1,", "is none of"},
    };
    for (const auto& [text, why] : cases)
        EXPECT_THAT(refusal(text), HasSubstr(why)) << text;
    EXPECT_EQ(refusal("lost:nth=1,seed:3,hang:from=2:core=0"), "");
}

}  // namespace
}  // namespace rknnsim_test
