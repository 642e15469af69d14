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

}  // namespace
}  // namespace rknpu2
