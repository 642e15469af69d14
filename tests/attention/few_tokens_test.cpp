// SPDX-License-Identifier: MIT
// Attention of few tokens by the CPU: near to float64, and a row's bits depend on nothing but the row.
#include "attention/few_tokens.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "attention/heads.hpp"

namespace rknpu2 {
namespace {

using testing::draw_heads;
using testing::draw_mask;
using testing::Heads;
using testing::HeadsShape;

constexpr size_t kMost = FewTokensAttention::kMostTokens;
constexpr double kMostRms = 1e-6;
constexpr double kMostOfRow = 1e-5;

// With what an earlier problem has left in it.
FewTokensAttention& attention() {
    static FewTokensAttention that;
    return that;
}

void attend(const AttentionProblem& problem, size_t threads) {
    ASSERT_TRUE(FewTokensAttention::takes(problem));
    ASSERT_TRUE(attention().begin(problem, threads).ok());
    std::vector<std::thread> others;
    for (size_t i = 1; i < threads; ++i)
        others.emplace_back([] { attention().work(); });
    attention().work();
    for (std::thread& other : others)
        other.join();
}

std::vector<float> result_of(Heads& heads, const AttentionProblem& problem, size_t threads) {
    std::ranges::fill(heads.out, -1e30F);
    attend(problem, threads);
    return heads.out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::string text_of(const HeadsShape& s) {
    return std::to_string(s.tokens) + " tokens, " + std::to_string(s.positions) + " positions, " +
           std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " +
           std::to_string(s.key_width) + "/" + std::to_string(s.value_width);
}

// The error of all rows, and the largest of one, in parts of their size.
struct Errors {
    double rms = 0, most = 0;
};

Errors errors_of(Heads& heads, const HeadsShape& shape) {
    double error = 0, size = 0;
    Errors errors;
    for (size_t row = 0; row < shape.tokens * shape.heads; ++row) {
        const std::vector<double> expected = heads.expected(row / shape.heads, row % shape.heads);
        const float* const got = heads.problem().out_row(row / shape.heads, row % shape.heads);
        double off = 0, all = 0;
        for (size_t k = 0; k < shape.value_width; ++k) {
            off += std::pow(static_cast<double>(got[k]) - expected[k], 2);
            all += expected[k] * expected[k];
        }
        if (all == 0) {
            EXPECT_EQ(off, 0) << "row " << row;
        }
        if (all > 0) errors.most = std::max(errors.most, std::sqrt(off / all));
        error += off;
        size += all;
    }
    errors.rms = size == 0 ? 0 : std::sqrt(error / size);
    return errors;
}

TEST(FewTokens, IsNearToFloat64) {
    test::Random random;
    for (int i = 0; i < 40; ++i) {
        const HeadsShape shape = draw_heads(random, random.one_in(2) ? 8 : kMost);
        SCOPED_TRACE(text_of(shape));
        Heads heads(shape, random);
        heads.round_to_halves();
        draw_mask(heads, shape, random);
        attend(heads.problem(), random.size(1, 4));
        const Errors errors = errors_of(heads, shape);
        EXPECT_LE(errors.rms, kMostRms);
        EXPECT_LE(errors.most, kMostOfRow);
    }
}

// Parts of the tokens, one to all of them, any number of threads, and so any cut of the work.
TEST(FewTokens, ARowDependsOnWhatItSeesAlone) {
    test::Random random;
    for (int i = 0; i < 30; ++i) {
        const HeadsShape shape = draw_heads(random, kMost);
        SCOPED_TRACE(text_of(shape));
        Heads heads(shape, random);
        draw_mask(heads, shape, random);
        const std::vector<float> together = result_of(heads, heads.problem(), 1);
        ASSERT_TRUE(same_bits(together, result_of(heads, heads.problem(), random.size(2, 8))));
        std::ranges::fill(heads.out, -1e30F);
        for (size_t first = 0; first < shape.tokens;) {
            const size_t most = random.one_in(2) ? 3 : shape.tokens;
            const size_t count = random.size(1, std::min(most, shape.tokens - first));
            attend(heads.problem().part(first, count), random.size(1, 8));
            first += count;
        }
        ASSERT_TRUE(same_bits(together, heads.out));
    }
}

// One token after the other, and 1 to 63 at once, of one head or several.
TEST(FewTokens, AnyNumberOfTokensGivesTheBitsOfOne) {
    test::Random random;
    for (const size_t heads : {1U, 6U}) {
        HeadsShape shape;
        shape.tokens = kMost;
        shape.positions = 2300;
        shape.heads = heads;
        shape.kv_heads = 1;
        shape.value_width = 40;
        Heads heads_of(shape, random);
        heads_of.show([](size_t t) { return 3 * t; }, [](size_t t) { return 2100 + 2 * t; });
        const AttentionProblem whole = heads_of.problem();
        for (size_t token = 0; token < kMost; ++token)
            attend(whole.part(token, 1), 1);
        const std::vector<float> alone = heads_of.out;
        for (size_t tokens = 1; tokens <= kMost; tokens += heads) {
            std::vector<float> expected(heads_of.out.size(), -1e30F);
            const size_t first = random.size(0, kMost - tokens);
            const size_t row = heads * shape.value_width;
            const auto from = alone.begin() + static_cast<std::ptrdiff_t>(first * row);
            std::copy_n(from, tokens * row, expected.begin() + static_cast<std::ptrdiff_t>(first * row));
            ASSERT_TRUE(
                same_bits(expected, result_of(heads_of, whole.part(first, tokens), random.size(1, 8))))
                << tokens;
        }
    }
}

// A cache that has grown, by positions that nobody sees and that hold anything.
TEST(FewTokens, WhatIsHiddenChangesNothing) {
    test::Random random;
    for (const size_t tokens : {1U, 2U, 5U, 40U}) {
        HeadsShape shape;
        shape.tokens = tokens;
        shape.positions = 2600;
        shape.halves = !random.one_in(3);
        Heads heads(shape, random);
        heads.show([](size_t) -> size_t { return 100; }, [](size_t t) { return 600 + 10 * t; });
        const std::vector<float> before = result_of(heads, heads.problem(), 3);
        for (const size_t position : {0U, 99U, 1200U, 1499U, 2599U}) {
            heads.set_key(position, position % 2 == 0 ? INFINITY : NAN);
            heads.set_value(position, position % 2 == 0 ? NAN : -INFINITY);
        }
        EXPECT_TRUE(same_bits(before, result_of(heads, heads.problem(), 2)));
        for (const size_t positions : {1024U, 1025U, 1500U}) {
            AttentionProblem shorter = heads.problem();
            shorter.positions = positions;
            EXPECT_TRUE(same_bits(before, result_of(heads, shorter, 4)));
        }
    }
}

// Tokens from 20 on see a position whose key or value is not finite; the others, of the same piece of work, do not.
TEST(FewTokens, OnlyRowsThatSeeWhatIsNotFiniteNotice) {
    test::Random random;
    for (int i = 0; i < 8; ++i) {
        HeadsShape shape;
        shape.halves = i % 2 == 0;
        Heads heads(shape, random);
        heads.show([](size_t) -> size_t { return 0; }, [](size_t t) { return 600 + t; });
        const std::vector<float> before = result_of(heads, heads.problem(), 2);
        const float odd = i % 4 < 2 ? NAN : INFINITY;
        i < 4 ? heads.set_value(619, odd) : heads.set_key(619, odd);
        const std::vector<float> after = result_of(heads, heads.problem(), 2);
        const size_t row = shape.heads * shape.value_width;
        EXPECT_EQ(0, std::memcmp(before.data(), after.data(), 20 * row * sizeof(float)));
        for (size_t k = 20 * row; k < after.size(); ++k)
            ASSERT_FALSE(std::isfinite(after[k])) << k;
    }
}

TEST(FewTokens, OddRows) {
    test::Random random;
    HeadsShape shape;
    Heads heads(shape, random);
    heads.show([](size_t) -> size_t { return 0; },
               [](size_t t) -> size_t { return t == 3 ? 0 : 700; });  // token 3 sees nothing
    heads.query(5, 1, 7) = NAN;
    for (size_t k = 0; k < shape.key_width; ++k) {
        heads.query(6, 0, k) *= 1e30F;
        heads.query(7, 0, k) *= 1e-30F;  // all positions weigh alike
    }
    attend(heads.problem(), 3);
    const AttentionProblem problem = heads.problem();
    for (size_t head = 0; head < shape.heads; ++head) {
        for (size_t k = 0; k < shape.value_width; ++k) {
            ASSERT_EQ(problem.out_row(3, head)[k], 0.0F);
            ASSERT_EQ(std::isnan(problem.out_row(5, head)[k]), head == 1);
        }
    }
    const std::vector<double> alike = heads.expected(7, 0);
    const std::vector<double> one = heads.expected(6, 0);
    for (size_t k = 0; k < shape.value_width; ++k) {
        EXPECT_NEAR(static_cast<double>(problem.out_row(7, 0)[k]), alike[k], 1e-6);
        EXPECT_NEAR(static_cast<double>(problem.out_row(6, 0)[k]), one[k], 1e-6);
    }
}

TEST(FewTokens, EveryEdgeOfBlocksAndSpans) {
    test::Random random;
    for (const size_t positions : {1U, 7U, 8U, 127U, 128U, 129U, 1023U, 1025U, 2049U}) {
        for (const bool masked : {true, false}) {
            HeadsShape shape;
            shape.tokens = random.size(1, 18);
            shape.positions = positions;
            shape.masked = masked;
            shape.key_width = random.size(1, 80);
            shape.value_width = random.one_in(2) ? 576 : random.size(1, 80);
            SCOPED_TRACE(text_of(shape));
            Heads heads(shape, random);
            attend(heads.problem(), random.size(1, 5));
            EXPECT_LE(errors_of(heads, shape).rms, kMostRms);
        }
    }
}

// What the header says of memory.
TEST(FewTokens, MemoryIsBounded) {
    AttentionProblem problem;
    problem.tokens = 8;
    problem.positions = 16384;
    problem.heads = 32;
    problem.kv_heads = 8;
    problem.keys.width = problem.values.width = 128;
    AlignedBuffer memory;
    FewTokensAttention attention_of;
    ASSERT_TRUE(attention_of.begin(problem, 4, &memory).ok());
    EXPECT_LE(memory.size(), size_t{3} << 20);
    EXPECT_GE(memory.size(), size_t{2} << 20);
    for (const size_t kv_heads : {1U, 4U, 32U}) {
        problem.kv_heads = kv_heads;
        for (problem.tokens = 1; problem.tokens <= kMost; ++problem.tokens)
            ASSERT_TRUE(attention_of.begin(problem, 4, &memory).ok());
    }
    EXPECT_LE(memory.size(), (size_t{128} * 4 * 16 * 130 + size_t{4} * 32 * 1024) * sizeof(float));
}

// By attentions that work one after the other, and begin before.
TEST(FewTokens, MemoryIsShared) {
    test::Random random;
    HeadsShape shape;
    Heads heads(shape, random);
    AlignedBuffer shared;
    FewTokensAttention first, all;
    ASSERT_TRUE(first.begin(heads.problem().part(0, 1), 4, &shared).ok());
    ASSERT_TRUE(all.begin(heads.problem(), 4, &shared).ok());
    first.work();
    const size_t row = shape.heads * shape.value_width;
    const std::vector<float> token(heads.out.begin(), heads.out.begin() + static_cast<std::ptrdiff_t>(row));
    all.work();
    heads.out.resize(row);
    EXPECT_TRUE(same_bits(token, heads.out));
}

// An attention for which there is none leaves the others what they have.
TEST(FewTokens, MemoryThatCannotBeHad) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "AddressSanitizer ends a process that asks for so much";
#endif
    test::Random random;
    Heads heads({}, random);
    const std::vector<float> before = result_of(heads, heads.problem(), 1);
    std::ranges::fill(heads.out, -1e30F);
    AlignedBuffer shared;
    FewTokensAttention first, none;
    ASSERT_TRUE(first.begin(heads.problem(), 4, &shared).ok());
    AttentionProblem huge = heads.problem();
    huge.positions = size_t{1} << 50;
    EXPECT_EQ(none.begin(huge, 4, &shared).code(), StatusCode::kOutOfMemory);
    none.work();
    first.work();
    EXPECT_TRUE(same_bits(before, heads.out));
}

// A score of -inf takes no weight, and hides the value.
TEST(FewTokens, ScoresOfMinusInfinity) {
    test::Random random;
    HeadsShape shape;
    Heads heads(shape, random);
    for (size_t token = 0; token < shape.tokens; ++token)
        for (size_t head = 0; head < shape.heads; ++head)
            heads.query(token, head, 0) = -1;
    heads.show([](size_t) -> size_t { return 1; }, [](size_t) -> size_t { return 650; });
    const std::vector<float> before = result_of(heads, heads.problem(), 2);
    heads.show([](size_t) -> size_t { return 0; }, [](size_t) -> size_t { return 650; });
    heads.set_key_element(0, 0, INFINITY);
    EXPECT_TRUE(same_bits(before, result_of(heads, heads.problem(), 2)));
}

TEST(FewTokens, TakesWhatItCanCompute) {
    test::Random random;
    HeadsShape shape;
    Heads heads(shape, random);
    EXPECT_TRUE(FewTokensAttention::takes(heads.problem()));
    const auto takes = [&](const auto& change) {
        AttentionProblem problem = heads.problem();
        change(problem);
        return FewTokensAttention::takes(problem);
    };
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.tokens = 64; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.tokens = 0; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.positions = 0; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.keys.width = 577; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.values.width = 0; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.heads = 5; }));
    EXPECT_FALSE(takes([](AttentionProblem& p) { p.out_token_bytes = 6; }));
}

}  // namespace
}  // namespace rknpu2
