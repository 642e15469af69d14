// SPDX-License-Identifier: MIT
// Whole models in one process: loading and freeing leaves nothing behind, and two at once do not disturb each
// other.
#include <gtest/gtest.h>
#include <malloc.h>

#include <filesystem>
#include <thread>

#include "ggml/llama_session.hpp"

namespace rknpu2::test {
namespace {

constexpr int kAllLayers = 99;

size_t open_files() {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(files), end(files)));
}

size_t anonymous_and_shared() {
    malloc_trim(0);  // what was freed and kept for the next allocation does not count
    return process_bytes("RssAnon") + process_bytes("RssShmem");
}

// What malloc has handed out and not got back.
size_t allocated() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

class ModelsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_MODEL();
        llama_ = Llama::open();
        ASSERT_TRUE(llama_);
    }

    // A short text: the prompt, then the most likely token again and again; the logits of its last step.
    static std::vector<float> write(LlamaSession& session, size_t prompt, int steps) {
        EXPECT_TRUE(session.decode(some_tokens(prompt)));
        for (int i = 0; i < steps; ++i)
            EXPECT_TRUE(session.decode({session.most_likely()}));
        return session.logits();
    }

    std::vector<float> write_alone(size_t prompt, int steps) {
        LlamaSession session(*llama_, kAllLayers);
        EXPECT_TRUE(session.ok());
        return write(session, prompt, steps);
    }

    std::unique_ptr<Llama> llama_;
};

TEST_F(ModelsTest, TwentyTimesLoadedAndFreed) {
    constexpr int kWarmUp = 8;  // in which the simulator fills its quarantine of destroyed handles
    constexpr int kRounds = 20;
    size_t files = 0;
    size_t resident = 0;
    size_t live = 0;
    for (int round = 0; round < kRounds; ++round) {
        {
            LlamaSession session(*llama_, kAllLayers);
            ASSERT_TRUE(session.ok());
            ASSERT_TRUE(session.decode(some_tokens(3)));
            EXPECT_GT(simulator_counts().contexts, 0U);
            EXPECT_GT(simulator_counts().memories, 0U);
        }
        llama_->host->take_log();
        const rknnsim_live_counts counts = simulator_counts();
        EXPECT_EQ(counts.contexts, 0U) << "round " << round;
        EXPECT_EQ(counts.memories, 0U) << "round " << round;
        EXPECT_EQ(counts.bytes, 0U) << "round " << round;
        if (round == kWarmUp - 1) {
            files = open_files();
            resident = anonymous_and_shared();
            live = allocated();
        }
    }
    const auto growth = [](size_t now, size_t then) {
        return static_cast<long long>(now) - static_cast<long long>(then);
    };
    const long long live_growth = growth(allocated(), live);
    const long long resident_growth = growth(anonymous_and_shared(), resident);
    std::printf(
        "after %d rounds %zu bytes are resident, %zu live; in the %d that follow they grow by %lld, %lld\n",
        kWarmUp, resident, live, kRounds - kWarmUp, resident_growth, live_growth);
    EXPECT_EQ(open_files(), files);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep freed memory for a while
    EXPECT_LT(live_growth, 512 << 10);                               // the packed weights are 134 MB
    EXPECT_LT(resident_growth, 4 << 20);
#endif
}

TEST_F(ModelsTest, TwoAtOnceGiveWhatOneGives) {
    const std::vector<float> first_alone = write_alone(5, 4);
    const std::vector<float> second_alone = write_alone(9, 4);
    LlamaSession first(*llama_, kAllLayers);
    LlamaSession second(*llama_, kAllLayers);
    ASSERT_TRUE(first.ok() && second.ok());
    ASSERT_TRUE(first.decode(some_tokens(5)));
    ASSERT_TRUE(second.decode(some_tokens(9)));
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(first.decode({first.most_likely()}));
        ASSERT_TRUE(second.decode({second.most_likely()}));
    }
    EXPECT_EQ(first.logits(), first_alone);
    EXPECT_EQ(second.logits(), second_alone);
}

TEST_F(ModelsTest, TwoOnTwoThreadsGiveWhatOneGives) {
    const std::vector<float> first_alone = write_alone(5, 4);
    const std::vector<float> second_alone = write_alone(9, 4);
    LlamaSession first(*llama_, kAllLayers);
    LlamaSession second(*llama_, kAllLayers);
    ASSERT_TRUE(first.ok() && second.ok());
    std::vector<float> second_logits;
    std::thread other([&] { second_logits = write(second, 9, 4); });
    EXPECT_EQ(write(first, 5, 4), first_alone);
    other.join();
    EXPECT_EQ(second_logits, second_alone);
}

// Freeing one of two leaves the other as it was.
TEST_F(ModelsTest, OneGoesTheOtherStays) {
    const std::vector<float> alone = write_alone(5, 4);
    LlamaSession stays(*llama_, kAllLayers);
    ASSERT_TRUE(stays.ok());
    ASSERT_TRUE(stays.decode(some_tokens(5)));
    for (int i = 0; i < 4; ++i) {
        LlamaSession goes(*llama_, i % 2 == 0 ? kAllLayers : 10);
        ASSERT_TRUE(goes.ok());
        ASSERT_TRUE(goes.decode(some_tokens(7)));
        ASSERT_TRUE(stays.decode({stays.most_likely()}));
    }
    EXPECT_EQ(stays.logits(), alone);
}

}  // namespace
}  // namespace rknpu2::test
