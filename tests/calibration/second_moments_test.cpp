// SPDX-License-Identifier: MIT
// Second moments: sums of the rows as they are rotated and mixed, shared by weights that see the same, whole in the
// file, and none in a file of before there were any.
#include "calibration/second_moments.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/hash.hpp"
#include "calibration/calibration.hpp"
#include "kernels/rotate.hpp"
#include "matmul/matrices.hpp"
#include "support/missing_path.hpp"
#include "support/random.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;
using testing::Matrices;

// In float64, from the definition: blocks' upper triangles, row by row.
std::vector<double> reference(const std::vector<float>& rows, size_t K) {
    std::vector<double> values;
    for (const KSegment& segment : segments_of(K, NpuArithmetic::kInt4)) {
        const size_t first = values.size();
        values.resize(first + segment.K_padded + correlation_count(segment.K_padded));
        for (size_t m = 0; m < rows.size() / K; ++m) {
            std::vector<float> x(segment.K_padded);
            rotate_rows(
                {rows.data() + m * K + segment.k0, K, 1, segment.k_count, segment.K_padded, x.data()});
            mix_blocks(x.data(), 1, segment.K_padded);
            size_t at = first;
            for (size_t b = 0; b < segment.K_padded; b += kMomentBlock) {
                const size_t end = std::min(b + kMomentBlock, segment.K_padded);
                for (size_t i = b; i < end; ++i)
                    for (size_t j = i; j < end; ++j)
                        values[at++] += static_cast<double>(x[i]) * x[j];
            }
        }
        const double scale = static_cast<double>(rows.size() / K * rotation_block(segment.K_padded));
        for (size_t at = first; at < values.size(); ++at)
            values[at] /= scale;
    }
    return values;
}

TEST(SecondMoments, AreTheMeansOfProducts) {
    test::Random random;
    for (const size_t K : {1U, 31U, 96U, 100U, 576U, 1000U, 9000U}) {
        const size_t M = random.size(1, 70);
        std::vector<float> rows(M * K);
        for (float& x : rows)
            x = random.normal();
        MomentSums sums(K);
        EXPECT_EQ(sums.moments(), nullptr);
        sums.add(rows.data(), M / 2);
        sums.add(rows.data() + M / 2 * K, M - M / 2);
        const auto moments = sums.moments();
        ASSERT_NE(moments, nullptr);
        const std::vector<double> expected = reference(rows, K);
        ASSERT_EQ(moments->squares.size(), channel_count(moments->segments));
        ASSERT_EQ(moments->squares.size() + moments->correlations.size(), expected.size());
        size_t at = 0, channel = 0, pair = 0;
        for (const KSegment& segment : moments->segments) {
            for (size_t b = 0; b < moment_blocks(segment.K_padded); ++b) {
                const size_t n = moment_block_size(segment.K_padded, b);
                const float* const squares = moments->squares.data() + channel;
                for (size_t i = 0; i < n; ++i) {
                    ASSERT_NEAR(squares[i], expected[at], 1e-4) << "K " << K << ", channel " << channel + i;
                    ++at;
                    for (size_t j = i + 1; j < n; ++j, ++pair, ++at) {
                        const double both = std::sqrt(static_cast<double>(squares[i]) * squares[j]);
                        ASSERT_NEAR(moments->correlations[pair] * both, 127 * expected[at],
                                    0.51 * both + 1e-4)
                            << "K " << K << ", pair " << pair;
                    }
                }
                channel += n;
            }
        }
    }
}

TEST(SecondMoments, RowsThatAreNotFiniteAreLeftOut) {
    constexpr size_t K = 64;
    std::vector<float> rows(5 * K, 1.0F);
    std::vector<float> finite(rows.begin(), rows.begin() + 3 * K);
    rows[1 * K + 7] = std::numeric_limits<float>::infinity();
    rows[4 * K + 63] = std::nanf("");
    MomentSums some(K);
    some.add(rows.data(), 5);
    MomentSums all(K);
    all.add(finite.data(), 3);
    EXPECT_EQ(some.moments()->squares, all.moments()->squares);
    EXPECT_EQ(some.moments()->identity, all.moments()->identity);
    MomentSums huge(K);
    finite.assign(K, 3e38F);
    finite[0] = -3e38F;
    huge.add(finite.data(), 1);
    EXPECT_EQ(huge.moments(), nullptr);
}

TEST(SecondMoments, WeightsThatSeeTheSameShareThem) {
    Matrices x(40, 3, 64, 1);
    const auto named = [&](const char* name) {
        WeightSource source = x.source();
        source.name = name;
        return source;
    };
    const WeightSource q = named("q"), k = named("k"), late = named("late");
    Calibration calibration;
    calibration.add(q, x.a.data(), 20);
    calibration.add(k, x.a.data(), 20);
    calibration.add(late, x.a.data(), 20);
    ModelStats statistics = calibration.statistics();
    EXPECT_EQ(statistics.at("q").moments, statistics.at("k").moments);
    EXPECT_EQ(statistics.at("q").moments, statistics.at("late").moments);
    const auto before = statistics.at("late").moments;
    calibration.add(q, x.a.data() + 20 * 64, 20);
    calibration.add(k, x.a.data() + 20 * 64, 20);
    statistics = calibration.statistics();
    EXPECT_EQ(statistics.at("q").moments, statistics.at("k").moments);
    EXPECT_EQ(statistics.at("late").moments->identity, before->identity);
    MomentSums all(64);
    all.add(x.a.data(), 20);
    all.add(x.a.data() + 20 * 64, 20);
    EXPECT_EQ(statistics.at("q").moments->identity, all.moments()->identity);
    EXPECT_NE(statistics.at("q").moments->identity, before->identity);
}

ModelStats with_moments() {
    ModelStats statistics;
    test::Random random(7);
    const auto moments = [&](size_t K) {
        std::vector<float> rows(3 * K);
        for (float& x : rows)
            x = random.normal();
        MomentSums sums(K);
        sums.add(rows.data(), 3);
        return sums.moments();
    };
    const auto entry = [](size_t K, std::shared_ptr<const SecondMoments> of) {
        ActivationStats made{5, K, 77, 33, std::vector<float>(K, 1.0F), std::vector<float>(K, 2.0F)};
        made.moments = std::move(of);
        return made;
    };
    const auto shared = moments(96);
    statistics["k"] = entry(96, shared);
    statistics["q"] = entry(96, shared);
    statistics["down"] = entry(9000, moments(9000));
    statistics["none"] = entry(4, nullptr);
    return statistics;
}

TEST(MomentsFile, WhatIsWrittenComesBackAndIsSharedAgain) {
    const ModelStats before = with_moments();
    const std::string content = encode_stats(before);
    const Result<ModelStats> after = decode_stats(content);
    ASSERT_TRUE(after.ok()) << after.status().to_string();
    for (const auto& [name, entry] : before) {
        const auto& read = after.value().at(name).moments;
        ASSERT_EQ(read == nullptr, entry.moments == nullptr) << name;
        if (read == nullptr) continue;
        EXPECT_EQ(read->squares, entry.moments->squares);
        EXPECT_EQ(read->correlations, entry.moments->correlations);
        EXPECT_EQ(read->segments, entry.moments->segments);
        EXPECT_EQ(read->identity, entry.moments->identity);
    }
    EXPECT_EQ(after.value().at("k").moments, after.value().at("q").moments);
    EXPECT_EQ(encode_stats(after.value()), content);
}

TEST(MomentsFile, WithoutThemTheFirstPartIsEnough) {
    const test::OwnFolder folder;
    const std::string path = folder.path() + "/statistics";
    std::string content = encode_stats(with_moments());
    content.back() = static_cast<char>(content.back() ^ 1);
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_THAT(read_stats(path).status().message(), HasSubstr("checksum"));
    const Result<ModelStats> first = read_stats(path, Moments::kLeaveOut);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    EXPECT_EQ(first.value().size(), 4U);
    EXPECT_EQ(first.value().at("q").moments, nullptr);
    EXPECT_EQ(first.value().at("q").mean.size(), 96U);
}

TEST(MomentsFile, WhatCannotBeIsRefused) {
    const auto refusal = [](const auto& change) {
        ModelStats statistics = with_moments();
        SecondMoments moments = *statistics.at("q").moments;
        change(statistics, moments);
        statistics.at("q").moments = std::make_shared<const SecondMoments>(moments);
        return decode_stats(encode_stats(statistics)).status().message();
    };
    EXPECT_EQ(refusal([](auto&, auto&) {}), "");
    EXPECT_THAT(refusal([](auto&, auto& m) { m.squares[0] = -1; }), HasSubstr("that are none"));
    EXPECT_EQ(refusal([](auto&, auto& m) { m.correlations[0] = -1; }), "");
    EXPECT_THAT(refusal([](auto&, auto& m) { m.squares[95] = std::nanf(""); }), HasSubstr("that are none"));
    EXPECT_NE(refusal([](auto&, auto& m) { m.squares.pop_back(); }), "");
    EXPECT_NE(refusal([](auto&, auto& m) { m.correlations.pop_back(); }), "");
    EXPECT_THAT(refusal([](auto&, auto& m) { m.segments[0].K_padded = 95; }), HasSubstr("impossible shape"));
    EXPECT_THAT(refusal([](auto&, auto& m) { m.segments[0].k_count = 1; }), ::testing::Not(""));
    EXPECT_THAT(refusal([](auto& s, auto&) {
                    s.at("k").K = 64, s.at("k").mean.resize(64), s.at("k").mean_square.resize(64);
                }),
                HasSubstr("another shape"));
}

template <typename T>
void put(std::string& to, const T& value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Its second part, of another kind, is not looked at.
TEST(MomentsFile, OfVersion3AreOfNoUse) {
    std::string content = encode_stats(with_moments());
    const uint32_t version = 3;
    std::memcpy(content.data() + 8, &version, sizeof version);
    uint64_t first = 0;
    std::memcpy(&first, content.data() + 16, sizeof first);
    const size_t body = first - sizeof(uint64_t);
    const uint64_t sum = hash_words(content.data(), body);
    std::memcpy(content.data() + body, &sum, sizeof sum);
    content.resize(content.size() - 100);
    const Result<ModelStats> read = decode_stats(content);
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    EXPECT_EQ(read.value().size(), 4U);
    for (const auto& [name, entry] : read.value())
        EXPECT_EQ(entry.moments, nullptr) << name;
    const uint32_t unknown = 5;
    std::memcpy(content.data() + 8, &unknown, sizeof unknown);
    EXPECT_THAT(decode_stats(content).status().message(), HasSubstr("version 5, not 4"));
}

TEST(MomentsFile, OfVersion2HasNone) {
    std::string old = "RKNPUCAL";
    for (const uint32_t number : {2U, 1U, 1U})
        put(old, number);
    old += "w";
    for (const uint64_t number : {7U, 2U, 0x1234U, 99U})
        put(old, number);
    put(old, uint32_t{1});
    for (const float number : {0.25F, 1.0F, -2.0F, 3.0F, 4.0F})
        put(old, number);
    put(old, hash_words(old.data(), old.size()));
    const Result<ModelStats> read = decode_stats(old);
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    const ActivationStats& entry = read.value().at("w");
    EXPECT_EQ(entry.moments, nullptr);
    EXPECT_EQ(entry.mean, (std::vector<float>{1, -2}));
    EXPECT_EQ(entry.mean_square, (std::vector<float>{3, 4}));
    EXPECT_TRUE(entry.output);
    EXPECT_EQ(entry.one_plane_divergence, 0.25F);
    EXPECT_FALSE(decode_stats(old.substr(0, old.size() - 1)).ok());
}

}  // namespace
}  // namespace rknpu2
