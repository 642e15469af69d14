// SPDX-License-Identifier: MIT
// Attention whose products the NPU does: near to float64, and a row's bits depend on nothing but the row.
#include "attention/npu_attention.hpp"

#include <set>

#include "attention/heads.hpp"
#include "runtime/rknn_runtime.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::FakeRuntime;
using testing::FakeState;
using testing::Heads;
using testing::HeadsShape;
using testing::kHidden;

// The error that this arithmetic may have: halves of queries, weights and values (2^-11 each), and 2^x.
constexpr double kMostRms = 1.2e-3;
constexpr double kMostOfRow = 1e-2;

class NpuAttentionTest : public ::testing::Test {
  protected:
    std::unique_ptr<NpuResources> open(int cores = 3, int threads = 2) {
        config_.cores = cores;
        config_.threads = threads;
        Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(SIMULATOR);
        EXPECT_TRUE(runtime.ok()) << runtime.status().to_string();
        return std::make_unique<NpuResources>(std::move(runtime.value()), config_, counters_, nullptr);
    }

    // What a node alone does (ggml/cpu/attention_on_npu.cpp).
    Status attend(NpuResources& npu, const AttentionProblem& problem, std::vector<size_t>* by_cpu = nullptr) {
        const std::lock_guard owns(npu.mutex);
        npu.begin_call();
        npu.get_lane();
        NpuAttention attention(npu);
        return attention.run(problem, 0, 0, [&](size_t token) {
            const std::lock_guard lock(by_cpu_mutex_);
            if (by_cpu != nullptr) by_cpu->push_back(token);
            return Status();
        });
    }

    // The same in chunks, neighbours at a time, step by step as it comes.
    Status attend_two_at_a_time(NpuResources& npu, const AttentionProblem& problem, test::Random& random,
                                size_t most_tokens = 40) {
        const std::lock_guard owns(npu.mutex);
        npu.begin_call();
        npu.get_lane();
        NpuAttention attention(npu);
        std::array<bool, kPlaces> open{};
        size_t chunks = 0;
        for (size_t first = 0; first < problem.tokens || open[0] || open[1];) {
            const size_t place = random.size(0, kPlaces - 1);
            if (open[place]) {
                if (!attention.may_step(place) && (open[1 - place] || random.one_in(2))) continue;
                open[place] = RKNPU2_TAKE(attention.step(place));
            } else if (first < problem.tokens && place == chunks % kPlaces) {
                const size_t count =
                    std::min(problem.tokens - first, random.size((most_tokens + 3) / 4, most_tokens));
                attention.begin(place, problem.part(first, count), 0, 0, [](size_t) { return Status(); });
                open[place] = true;
                first += count;
                ++chunks;
            }
        }
        return {};
    }

    void expect_near(Heads& heads, const HeadsShape& shape, test::Random& random, size_t rows = 40) {
        double error = 0;
        double size = 0;
        for (size_t i = 0; i < rows; ++i) {
            const size_t token = random.size(0, shape.tokens - 1);
            const size_t head = random.size(0, shape.heads - 1);
            const std::vector<double> expected = heads.expected(token, head);
            double off = 0;
            double all = 0;
            for (size_t k = 0; k < shape.value_width; ++k) {
                const auto got = static_cast<double>(heads.problem().out_row(token, head)[k]);
                off += (got - expected[k]) * (got - expected[k]);
                all += expected[k] * expected[k];
            }
            EXPECT_LE(std::sqrt(off), kMostOfRow * std::sqrt(all) + 1e-30)
                << "token " << token << " head " << head;
            error += off;
            size += all;
        }
        EXPECT_LE(std::sqrt(error), kMostRms * std::sqrt(size) + 1e-30);
    }

    Config config_;
    std::mutex by_cpu_mutex_;
    Counters counters_;
};

TEST_F(NpuAttentionTest, IsNearToFloat64) {
    test::Random random;
    const auto npu = open();
    for (int i = 0; i < 12; ++i) {
        const HeadsShape shape = testing::draw_heads(random, 90);
        SCOPED_TRACE(::testing::Message()
                     << "draw " << i << ": " << shape.tokens << " tokens, " << shape.positions
                     << " positions, " << shape.heads << "/" << shape.kv_heads << " heads of "
                     << shape.key_width << "/" << shape.value_width);
        Heads heads(shape, random);
        testing::draw_mask(heads, shape, random);
        ASSERT_TRUE(attend(*npu, heads.problem()).ok());
        expect_near(heads, shape, random);
    }
}

TEST_F(NpuAttentionTest, TwoAtATimeGiveTheBitsOfOne) {
    test::Random random;
    const auto three = open();
    const auto one = open(1, 1);
    std::set<std::pair<size_t, size_t>> widths;
    for (int i = 0; i < 10; ++i) {
        const HeadsShape shape = testing::draw_heads(random, 90);
        SCOPED_TRACE(::testing::Message() << "draw " << i);
        Heads heads(shape, random);
        testing::draw_mask(heads, shape, random);
        ASSERT_TRUE(attend(*three, heads.problem()).ok());
        const std::vector<float> alone = heads.out;
        std::ranges::fill(heads.out, -1e30F);
        ASSERT_TRUE(attend_two_at_a_time(random.one_in(3) ? *one : *three, heads.problem(), random).ok());
        EXPECT_EQ(0, std::memcmp(alone.data(), heads.out.data(), alone.size() * sizeof(float)));
        // So many at most for each pair of widths, whatever the length.
        widths.insert({round_up(shape.key_width, kTileK), round_up(shape.value_width, kTileK)});
        EXPECT_LE(three->contexts.size(), 18 * widths.size());
    }
}

// Alone, in another order, with fewer cores and threads, and with positions behind that no token sees.
TEST_F(NpuAttentionTest, ARowDependsOnWhatItSeesAlone) {
    test::Random random;
    const auto three = open();
    const auto one = open(1, 1);
    for (int i = 0; i < 8; ++i) {
        const HeadsShape shape = testing::draw_heads(random, 90);
        SCOPED_TRACE(::testing::Message() << "draw " << i);
        Heads heads(shape, random);
        testing::draw_mask(heads, shape, random);
        ASSERT_TRUE(attend(*three, heads.problem()).ok());
        const std::vector<float> together = heads.out;
        std::ranges::fill(heads.out, -1e30F);
        for (size_t first = 0; first < shape.tokens;) {
            const size_t count = random.size(1, shape.tokens - first);
            ASSERT_TRUE(attend(random.one_in(2) ? *one : *three, heads.problem().part(first, count)).ok());
            first += count;
        }
        EXPECT_EQ(0, std::memcmp(together.data(), heads.out.data(), together.size() * sizeof(float)));
    }
}

// Their work areas are small, and what is asked for may be found in a larger one.
TEST_F(NpuAttentionTest, FewRowsOfWideHeads) {
    test::Random random;
    HeadsShape shape;
    shape.tokens = 11;
    shape.positions = 1100;
    shape.heads = shape.kv_heads = 3;
    shape.key_width = shape.value_width = 256;
    shape.scale = 0.0625F;
    Heads heads(shape, random);
    heads.show([](size_t) -> size_t { return 0; }, [](size_t t) { return 1000 + 10 * t; });
    const auto npu = open();
    ASSERT_TRUE(attend(*npu, heads.problem()).ok());
    expect_near(heads, shape, random, 20);
    const std::vector<float> together = heads.out;
    std::ranges::fill(heads.out, -1e30F);
    for (size_t token = 0; token < shape.tokens; ++token)
        ASSERT_TRUE(attend(*npu, heads.problem().part(token, 1)).ok());
    EXPECT_EQ(0, std::memcmp(together.data(), heads.out.data(), together.size() * sizeof(float)));
}

TEST_F(NpuAttentionTest, WhatIsHiddenChangesNothing) {
    test::Random random;
    HeadsShape shape;
    shape.positions = 1500;
    Heads heads(shape, random);
    heads.show([](size_t) -> size_t { return 100; }, [](size_t t) { return 600 + 10 * t; });
    const auto npu = open();
    ASSERT_TRUE(attend(*npu, heads.problem()).ok());
    const std::vector<float> before = heads.out;
    for (const size_t position : {0U, 99U, 1200U, 1499U}) {
        heads.set_key(position, position % 2 == 0 ? INFINITY : NAN);
        heads.set_value(position, position % 2 == 0 ? NAN : -INFINITY);
    }
    std::vector<size_t> by_cpu;
    ASSERT_TRUE(attend(*npu, heads.problem(), &by_cpu).ok());
    EXPECT_TRUE(by_cpu.empty());
    EXPECT_EQ(0, std::memcmp(before.data(), heads.out.data(), before.size() * sizeof(float)));
}

// Tokens from 20 on see it. Others keep their bits.
TEST_F(NpuAttentionTest, TokensThatSeeWhatHasNoHalfAreForTheCpu) {
    test::Random random;
    for (const bool halves : {true, false}) {
        HeadsShape shape;
        shape.halves = halves;
        Heads heads(shape, random);
        heads.show([](size_t) -> size_t { return 0; }, [](size_t t) { return 600 + t; });
        const auto npu = open();
        ASSERT_TRUE(attend(*npu, heads.problem()).ok());
        const std::vector<float> before = heads.out;
        // Infinite as a half.
        if (halves) heads.set_value(619, 1e6F);
        if (!halves) heads.set_key(619, 1e6F);
        std::vector<size_t> by_cpu;
        ASSERT_TRUE(attend(*npu, heads.problem(), &by_cpu).ok());
        ASSERT_EQ(by_cpu.size(), 20U);
        EXPECT_EQ(std::ranges::min(by_cpu), 20U);
        const size_t same = 20 * shape.heads * shape.value_width;
        EXPECT_EQ(0, std::memcmp(before.data(), heads.out.data(), same * sizeof(float)));
    }
}

TEST_F(NpuAttentionTest, OddRows) {
    test::Random random;
    HeadsShape shape;
    shape.sinks = false;
    Heads heads(shape, random);
    heads.show([](size_t) -> size_t { return 0; },
               [](size_t t) -> size_t { return t == 3 ? 0 : 700; });  // token 3 sees nothing
    heads.query(3, 1, 7) = heads.query(5, 1, 7) = NAN;
    for (size_t k = 0; k < shape.key_width; ++k) {
        heads.query(6, 0, k) *= 1e30F;   // beyond halves
        heads.query(7, 0, k) *= 1e-30F;  // below them: all positions weigh alike
    }
    const auto npu = open();
    ASSERT_TRUE(attend(*npu, heads.problem()).ok());
    const AttentionProblem problem = heads.problem();
    for (size_t head = 0; head < shape.heads; ++head) {
        for (size_t k = 0; k < shape.value_width; ++k)
            ASSERT_EQ(problem.out_row(3, head)[k], 0.0F);
        EXPECT_EQ(std::isnan(problem.out_row(5, head)[0]), head == 1);
    }
    const std::vector<double> alike = heads.expected(7, 0);
    const std::vector<double> one = heads.expected(6, 0);
    for (size_t k = 0; k < shape.value_width; ++k) {
        EXPECT_NEAR(static_cast<double>(problem.out_row(7, 0)[k]), alike[k], 1e-3);
        EXPECT_NEAR(static_cast<double>(problem.out_row(6, 0)[k]), one[k], 1e-2);
    }
}

// More blocks than there is room for: they are packed in turns, again for each call.
TEST_F(NpuAttentionTest, BlocksThatHaveNoRoomTogether) {
    test::Random random;
    HeadsShape shape;
    shape.tokens = 3;
    shape.heads = shape.kv_heads = 48;
    shape.key_width = shape.value_width = 256;  // 48 MiB a block
    shape.scale = 0.0625F;
    shape.positions = 2100;
    ASSERT_LT(AttentionSizes(48, 256, 256).blocks(), 3U);
    Heads heads(shape, random);
    heads.show([](size_t) -> size_t { return 0; }, [](size_t t) { return 1000 + 500 * t; });
    const auto npu = open();
    ASSERT_TRUE(attend(*npu, heads.problem()).ok());
    expect_near(heads, shape, random, 20);
}

// 16,384 positions of heads as Llama-3.1-8B, Llama-2-7B, SmolLM2 and Gemma-3-4B have them, two chunks of 128 tokens at a time. What
// is seen fills the blocks that are kept.
TEST_F(NpuAttentionTest, ALongCacheTakesLittleMemoryAndFewContexts) {
    test::Random random;
    struct Case {
        size_t heads, kv_heads, width, most_mib, seen;
    };
    for (const Case& of : {Case{32, 8, 128, 96, 6500},
                           {32, 32, 128, 192, 8500},
                           {9, 3, 64, 96, 15500},
                           {8, 4, 256, 96, 6500}}) {
        HeadsShape shape;
        shape.tokens = 128 + 30;
        shape.positions = 16384;
        shape.heads = of.heads;
        shape.kv_heads = of.kv_heads;
        shape.key_width = shape.value_width = of.width;
        shape.scale = 0.088F;
        Heads heads(shape, random);
        heads.show([&, first = 16000 - of.seen](size_t) { return first; },
                   [](size_t t) { return 16000 + t; });
        const auto npu = open();
        ASSERT_TRUE(attend_two_at_a_time(*npu, heads.problem(), random, 128).ok());
        const size_t used = npu->memory.bytes_in_use();
        EXPECT_LE(used >> 20, of.most_mib) << of.kv_heads;
        // What rknpu2-info says of a prompt, one whose mask is another.
        const AttentionSizes sizes(of.kv_heads, of.width, of.width);
        const uint64_t planned = sizes.of_prompt(of.heads / of.kv_heads, 128, shape.positions, 3);
        EXPECT_LE(used, planned) << of.kv_heads;
        EXPECT_GE(used, planned / 2) << of.kv_heads;
        EXPECT_LE(npu->contexts.size(), attention_contexts(3));
        expect_near(heads, shape, random, 4);
    }
}

// The last chunks of a prompt have other lengths than the first ones, and take no memory besides.
TEST_F(NpuAttentionTest, ChunksOfAllLengthsShareAreas) {
    test::Random random;
    for (const size_t group : {1U, 3U, 8U}) {
        HeadsShape shape;
        shape.tokens = kMostChunkTokens;
        shape.positions = 1500;
        shape.kv_heads = 2;
        shape.heads = shape.kv_heads * group;
        Heads heads(shape, random);
        heads.show([](size_t) -> size_t { return 0; }, [](size_t t) { return 1200 + t; });
        const auto npu = open();
        ASSERT_TRUE(attend(*npu, heads.problem()).ok());
        const std::vector<float> together = heads.out;
        const size_t used = npu->memory.bytes_in_use();
        for (const size_t tokens : {64U, 80U, 112U, 65U}) {
            std::ranges::fill(heads.out, -1e30F);
            ASSERT_TRUE(attend(*npu, heads.problem().part(0, tokens)).ok());
            EXPECT_EQ(npu->memory.bytes_in_use(), used) << tokens << " tokens of " << group;
            const size_t floats = tokens * shape.heads * shape.value_width;
            EXPECT_EQ(0, std::memcmp(together.data(), heads.out.data(), floats * sizeof(float)));
        }
    }
}

TEST_F(NpuAttentionTest, FailuresAreTriedAgainOrReported) {
    test::Random random;
    HeadsShape shape;
    shape.tokens = 9;
    shape.positions = 90;
    shape.heads = shape.kv_heads = 9;  // several runs of a context are on their way
    shape.key_width = shape.value_width = 32;
    Heads heads(shape, random);
    std::vector<float> right;
    for (const std::vector<OnError>& policy :
         {std::vector<OnError>{}, {OnError::kRetry}, {OnError::kReset}}) {
        for (int until = -1; until < 4; ++until) {
            FakeState state;
            state.spoils_results = true;
            config_.on_error = policy;
            NpuResources npu(std::make_unique<FakeRuntime>(state), config_, counters_, nullptr);
            state.runs_until_failure = until;
            std::ranges::fill(heads.out, -1e30F);
            const Status status = attend(npu, heads.problem());
            EXPECT_EQ(status.ok(), until < 0 || !policy.empty()) << until << ": " << status.to_string();
            if (right.empty()) right = heads.out;
            if (status.ok()) {
                EXPECT_EQ(0, std::memcmp(right.data(), heads.out.data(), right.size() * sizeof(float)));
            }
            EXPECT_EQ(state.running, 0);
            state.runs_until_failure = until;
            std::ranges::fill(heads.out, -1e30F);
            if (attend_two_at_a_time(npu, heads.problem(), random).ok()) {
                EXPECT_EQ(0, std::memcmp(right.data(), heads.out.data(), right.size() * sizeof(float)));
            } else {
                EXPECT_TRUE(policy.empty());
            }
            EXPECT_EQ(state.running, 0);
            state.runs_until_failure = -1;
            ASSERT_TRUE(attend(npu, heads.problem()).ok());
            EXPECT_EQ(state.runs_after_failure, 0);
            EXPECT_EQ(0, std::memcmp(right.data(), heads.out.data(), right.size() * sizeof(float)));
            if (policy != std::vector{OnError::kRetry}) {
                EXPECT_EQ(state.runs_into_lost_results, 0);
            }
        }
    }
}

TEST_F(NpuAttentionTest, TheCpuIsAskedForWhereThePolicySaysSo) {
    test::Random random;
    HeadsShape shape;
    shape.tokens = 5;
    shape.positions = 50;
    Heads heads(shape, random);
    config_.on_error = {OnError::kCpu};
    FakeState state;
    NpuResources npu(std::make_unique<FakeRuntime>(state), config_, counters_, nullptr);
    state.runs_until_failure = 1;
    EXPECT_EQ(attend(npu, heads.problem()).code(), StatusCode::kUnsupported);
    EXPECT_EQ(counters_.faults.by_cpu, 1U);
}

TEST_F(NpuAttentionTest, NoMemoryIsSaid) {
    test::Random random;
    HeadsShape shape;
    shape.tokens = 5;
    shape.positions = 50;
    Heads heads(shape, random);
    FakeState state;
    NpuResources npu(std::make_unique<FakeRuntime>(state), config_, counters_, nullptr);
    state.domain_bytes = 100000;
    EXPECT_EQ(attend(npu, heads.problem()).code(), StatusCode::kOutOfMemory);
}

}  // namespace
}  // namespace rknpu2
