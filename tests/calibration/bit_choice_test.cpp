// SPDX-License-Identifier: MIT
// Eight bits go to the head and to the kinds of weights that need them most, and the budget holds.
#include "calibration/bit_choice.hpp"

#include <gtest/gtest.h>

#include "config/config.hpp"
#include "support/random.hpp"

namespace rknpu2 {
namespace {

ActivationStats entry(size_t N, size_t K, bool output = false, float divergence = 0, bool moments = true) {
    ActivationStats statistics;
    statistics.N = N;
    statistics.K = K;
    statistics.output = output;
    statistics.one_plane_divergence = divergence;
    if (moments) statistics.moments = std::make_shared<const SecondMoments>();
    return statistics;
}

double bytes_a_weight(const ModelStats& statistics, const BitChoice& choice, bool all = true) {
    double bytes = 0, weights = 0;
    for (const auto& [name, statistic] : statistics) {
        if (!all && statistic.output) continue;
        const auto count = static_cast<double>(statistic.N * statistic.K);
        weights += count;
        bytes += count * static_cast<double>(choice.at(name).bits) / 8;
    }
    return bytes / weights;
}

// Two layers of SmolLM2-135M's shape and a head of the size that it has beside thirty.
ModelStats small_model() {
    ModelStats statistics;
    for (const std::string layer : {"blk.0.", "blk.1."}) {
        statistics[layer + "attn_q.weight"] = entry(576, 576);
        statistics[layer + "attn_k.weight"] = entry(192, 576);
        statistics[layer + "attn_v.weight"] = entry(192, 576);
        statistics[layer + "attn_output.weight"] = entry(576, 576);
        statistics[layer + "ffn_gate.weight"] = entry(1536, 576);
        statistics[layer + "ffn_up.weight"] = entry(1536, 576);
        statistics[layer + "ffn_down.weight"] = entry(576, 1536);
    }
    statistics["token_embd.weight"] = entry(3277, 576, true);
    return statistics;
}

TEST(BitChoice, TheHeadThenKAndVThenDown) {
    const ModelStats model = small_model();
    const BitChoice small = choose_bits(model, Config().compact_bytes);
    EXPECT_LE(bytes_a_weight(model, small), 0.63);
    EXPECT_EQ(small.at("token_embd.weight").reason, BitReason::kOutput);
    for (const char* name : {"blk.0.attn_k.weight", "blk.1.attn_v.weight"})
        EXPECT_EQ(small.at(name).bits, 8U) << name;
    for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_down.weight", "blk.0.ffn_gate.weight"})
        EXPECT_EQ(small.at(name).bits, 4U) << name;
    const BitChoice large = choose_bits(model, 0.75);
    EXPECT_LE(bytes_a_weight(model, large), 0.75);
    EXPECT_EQ(large.at("blk.0.ffn_down.weight").reason, BitReason::kSensitive);
    EXPECT_EQ(large.at("blk.1.ffn_down.weight").bits, 8U);
    EXPECT_EQ(large.at("blk.1.ffn_up.weight").bits, 4U);
}

TEST(BitChoice, WithinAKindWhatLosesMostForItsBytesComesFirst) {
    ModelStats model;
    model["a.ffn_down.weight"] = entry(10, 10, false, 0.1F);
    model["b.ffn_down.weight"] = entry(10, 10, false, 0.3F);
    model["c.ffn_down.weight"] = entry(10, 20, false, 0.4F);
    model["d.ffn_up.weight"] = entry(10, 10, false, 9.0F);
    const BitChoice choice = choose_bits(model, 0.74);  // 240 of 500 weights
    for (const char* name : {"b.ffn_down.weight", "a.ffn_down.weight"})
        EXPECT_EQ(choice.at(name).bits, 8U) << name;
    for (const char* name : {"c.ffn_down.weight", "d.ffn_up.weight"})
        EXPECT_EQ(choice.at(name).bits, 4U) << name;
}

TEST(BitChoice, AKindOfWhichLessThanHalfFitsIsNotBegunAndNoneAfterIt) {
    ModelStats model = small_model();
    for (const char* name : {"blk.0.attn_output.weight", "blk.1.attn_output.weight"})
        model.at(name).N = 64;  // they would fit without down, too
    const auto down = [&](double budget) {
        const BitChoice choice = choose_bits(model, budget);
        EXPECT_EQ(choice.at("blk.0.attn_k.weight").bits, 8U);
        return std::pair(choice.at("blk.0.ffn_down.weight").bits, choice.at("blk.0.attn_output.weight").bits);
    };
    EXPECT_EQ(down(0.66), std::pair(size_t{4}, size_t{4}));
    EXPECT_EQ(down(0.71), std::pair(size_t{8}, size_t{8}));
}

TEST(BitChoice, AHeadThatTakesTheBudgetLeavesOneToTheOthers) {
    ModelStats model = small_model();
    model.at("token_embd.weight").N = 50000;
    const BitChoice choice = choose_bits(model, 0.75);
    EXPECT_GT(bytes_a_weight(model, choice), 0.75);
    EXPECT_LE(bytes_a_weight(model, choice, false), 0.75);
    EXPECT_EQ(choice.at("blk.0.attn_k.weight").bits, 8U);
    EXPECT_EQ(choice.at("blk.0.ffn_down.weight").bits, 8U);
}

TEST(BitChoice, TheEndsOfTheRange) {
    const ModelStats model = small_model();
    for (const auto& [name, decision] : choose_bits(model, 1.0))
        EXPECT_EQ(decision.bits, 8U) << name;
    for (const auto& [name, decision] : choose_bits(model, 0.5))
        EXPECT_EQ(decision.bits, name == "token_embd.weight" ? 8U : 4U) << name;
    EXPECT_TRUE(choose_bits({}, 0.63).empty());
}

TEST(BitChoice, WithoutMomentsThereAreEight) {
    const BitChoice choice = choose_bits({{"w", entry(64, 64, false, 0, false)}}, 0.5);
    EXPECT_EQ(choice.at("w").bits, 8U);
    EXPECT_EQ(choice.at("w").reason, BitReason::kWithoutMoments);
}

TEST(BitChoice, NeverMoreThanTheBudget) {
    test::Random random;
    for (int trial = 0; trial < 200; ++trial) {
        ModelStats model;
        const char* const kinds[] = {"attn_k.", "ffn_down.", "attn_q.", "other"};
        for (size_t i = 0, count = random.size(1, 30); i < count; ++i)
            model[std::to_string(i) + kinds[random.size(0, 3)]] =
                entry(random.size(1, 900), random.size(1, 900), false, static_cast<float>(random.size(0, 9)));
        const double budget = 0.5 + static_cast<double>(random.size(0, 100)) / 200;
        EXPECT_LE(bytes_a_weight(model, choose_bits(model, budget)), budget + 1e-12);
    }
}

}  // namespace
}  // namespace rknpu2
