// SPDX-License-Identifier: MIT
// The file of activation statistics: what it holds comes back, and nothing else is believed.
#include "calibration/activation_stats.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "calibration/calibration.hpp"
#include "matmul/matrices.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;
using testing::Matrices;

ModelStats two_entries() {
    ModelStats statistics;
    statistics["blk.0.ffn_up.weight"] = {7, 3, 0x1234, 99, {0.5F, -1.0F, 0.0F}, {1.0F, 4.0F, 0.0F}};
    statistics["blk.0.ffn_up.weight"].one_plane_divergence = 1e-5F;
    statistics["output.weight"] = {1, 1, 5, 1, {2.0F}, {8.0F}, true};
    return statistics;
}

// The content with a checksum that fits again after `change`.
template <typename Change>
std::string changed(Change&& change) {
    ModelStats statistics = two_entries();
    change(statistics.begin()->second);
    return encode_stats(statistics);
}

TEST(ActivationStats, WhatIsWrittenComesBack) {
    const ModelStats before = two_entries();
    const Result<ModelStats> after = decode_stats(encode_stats(before));
    ASSERT_TRUE(after.ok()) << after.status().to_string();
    ASSERT_EQ(after.value().size(), 2U);
    for (const auto& [name, entry] : before) {
        const ActivationStats& read = after.value().at(name);
        EXPECT_EQ(read.N, entry.N);
        EXPECT_EQ(read.K, entry.K);
        EXPECT_EQ(read.fingerprint, entry.fingerprint);
        EXPECT_EQ(read.rows, entry.rows);
        EXPECT_EQ(read.mean, entry.mean);
        EXPECT_EQ(read.mean_square, entry.mean_square);
        EXPECT_EQ(read.output, entry.output);
        EXPECT_EQ(read.one_plane_divergence, entry.one_plane_divergence);
        EXPECT_EQ(read.measured(), name != "output.weight");
    }
    EXPECT_TRUE(decode_stats(encode_stats({})).ok());
}

TEST(ActivationStats, EveryTruncationAndEveryFlippedBitIsRefused) {
    const std::string whole = encode_stats(two_entries());
    for (size_t length = 0; length < whole.size(); ++length)
        EXPECT_FALSE(decode_stats(whole.substr(0, length)).ok()) << length;
    for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
        std::string damaged = whole;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        EXPECT_FALSE(decode_stats(damaged).ok()) << bit;
    }
    EXPECT_FALSE(decode_stats(whole + '\0').ok());
}

TEST(ActivationStats, ContentThatCannotBeIsRefused) {
    const auto refusal = [](const std::string& content) { return decode_stats(content).status().message(); };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THAT(refusal("GGUF and so on, much longer than a header"), HasSubstr("not a file of activation"));
    EXPECT_THAT(refusal(changed([&](auto& e) { e.mean[1] = nan; })), HasSubstr("no statistics"));
    EXPECT_THAT(refusal(changed([](auto& e) { e.mean_square[2] = -1; })), HasSubstr("no statistics"));
    for (const float sensitivity : {-2.0F, nan, std::numeric_limits<float>::infinity()})
        EXPECT_THAT(refusal(changed([&](auto& e) { e.one_plane_divergence = sensitivity; })),
                    HasSubstr("sensitivity that cannot be"));
    EXPECT_THAT(refusal(changed([](auto& e) { e.rows = 0; })), HasSubstr("impossible shape"));
    EXPECT_THAT(refusal(changed([](auto& e) { e.N = 0; })), HasSubstr("impossible shape"));
    EXPECT_THAT(refusal(changed([](auto& e) { e.K = size_t{1} << 40; })), HasSubstr("impossible shape"));
    EXPECT_THAT(refusal(changed([](auto& e) { e.K = 1 << 20; })), HasSubstr("cut short"));
    EXPECT_NE(refusal(changed([](auto& e) { e.K = 1; })), "");  // what follows is no entry
}

TEST(ActivationStats, FilesThatCannotBeRead) {
    const Status missing = read_stats(test::missing_path("file")).status();
    EXPECT_EQ(missing.code(), StatusCode::kIo);
    EXPECT_THAT(missing.message(), HasSubstr(test::missing_path("file")));
    const test::OwnFolder folder;
    const std::string path = folder.path() + "/no_statistics";
    std::ofstream(path) << "something else";
    EXPECT_THAT(read_stats(path).status().message(), HasSubstr(path));
}

TEST(ActivationStats, TheFingerprintTellsWeightsApart) {
    for (const size_t K : {4U, 700U}) {  // looked at whole, and in part
        Matrices x(1, 9, K, 1);
        const uint64_t before = weight_fingerprint(x.source());
        EXPECT_EQ(weight_fingerprint(x.source()), before);
        for (const size_t at : {size_t{0}, x.w.size() - 1}) {
            Matrices other = x;
            other.w[at] += 1;
            EXPECT_NE(weight_fingerprint(other.source()), before) << at;
        }
        WeightSource renamed = x.source();
        renamed.name = "another";
        EXPECT_EQ(weight_fingerprint(renamed), before);
        WeightSource retyped = x.source();
        retyped.type_name = "i32";
        EXPECT_NE(weight_fingerprint(retyped), before);
    }
}

// What a host lets a model compute before it reads anything.
void warm_up(Calibration& calibration, const Matrices& x, size_t rows = 2) {
    const std::vector<float> a(rows * x.K, 1000.0F);
    calibration.add(x.source(), a.data(), rows);
}

TEST(Calibration, AWarmUpDoesNotCount) {
    const Matrices x(40, 9, 100, 1);
    Calibration expected;
    expected.add(x.source(), x.a.data(), x.M);
    for (const size_t rows : {1U, 2U, 4U}) {
        Calibration calibration;
        warm_up(calibration, x, rows);
        EXPECT_TRUE(calibration.statistics().empty()) << rows;
        EXPECT_THAT(enough_rows(calibration.statistics()).message(), HasSubstr("a warm-up does not count"));
        calibration.add(x.source(), x.a.data(), x.M);
        EXPECT_EQ(calibration.statistics().at("w").mean, expected.statistics().at("w").mean) << rows;
        EXPECT_TRUE(enough_rows(calibration.statistics()).ok());
        // Once text is read, few rows are tokens that are generated.
        calibration.add(x.source(), x.a.data(), 1);
        EXPECT_EQ(calibration.statistics().at("w").rows, 41U);
    }
}

TEST(Calibration, TooFewRowsAreSaid) {
    const Matrices x(kFewestRows - 1, 9, 100, 1);
    Calibration calibration;
    calibration.add(x.source(), x.a.data(), x.M);
    EXPECT_THAT(enough_rows(calibration.statistics()).message(),
                HasSubstr("1 of 1 weights saw fewer than 32 rows"));
    calibration.add(x.source(), x.a.data(), 1);
    EXPECT_TRUE(enough_rows(calibration.statistics()).ok());
}

TEST(Calibration, MeansOfAllFiniteRows) {
    Matrices x(4, 2, 3, 1);
    x.a = {1, 2, 0, 3, 4, 0, 5, std::nanf(""), 0, -1, 0, 0};
    Calibration calibration;
    warm_up(calibration, x);
    calibration.add(x.source(), x.a.data(), 3);
    calibration.add(x.source(), x.a.data() + 9, 1);
    const ModelStats statistics = calibration.statistics();
    ASSERT_EQ(statistics.count("w"), 1U);
    const ActivationStats& entry = statistics.at("w");
    EXPECT_EQ(entry.rows, 3U);
    EXPECT_EQ(entry.N, 2U);
    EXPECT_EQ(entry.fingerprint, weight_fingerprint(x.source()));
    EXPECT_THAT(entry.mean, ::testing::ElementsAre(1.0F, 2.0F, 0.0F));
    EXPECT_THAT(entry.mean_square, ::testing::ElementsAre(11.0F / 3, 20.0F / 3, 0.0F));
}

TEST(Calibration, AWeightThatSawNothingFiniteIsLeftOut) {
    Matrices x(1, 2, 3, 1);
    x.a.assign(3, std::numeric_limits<float>::infinity());
    Calibration calibration;
    warm_up(calibration, x);
    calibration.add(x.source(), x.a.data(), 1);
    EXPECT_TRUE(calibration.statistics().empty());
    EXPECT_TRUE(decode_stats(encode_stats(calibration.statistics())).ok());
}

TEST(Smoothing, FactorsAreTheInverseRootOfTheMagnitude) {
    ActivationStats entry{1, 4, 0, 1, {0, 0, 0, 0}, {1.0F, 16.0F, 256.0F, 0.0F}};
    const std::vector<float> factors = smoothing_factors(entry);
    ASSERT_EQ(factors.size(), 4U);
    EXPECT_FLOAT_EQ(factors[0] / factors[1], 2.0F);  // rms 1 and 4
    EXPECT_FLOAT_EQ(factors[0] / factors[2], 4.0F);  // and 16
    double logs = 0;
    for (const float factor : factors) {
        EXPECT_TRUE(std::isfinite(factor) && factor > 0);
        logs += std::log(factor);
    }
    EXPECT_NEAR(logs, 0, 1e-5);
    entry.mean_square.assign(4, 0.0F);
    EXPECT_THAT(smoothing_factors(entry), ::testing::Each(1.0F));
}

}  // namespace
}  // namespace rknpu2
