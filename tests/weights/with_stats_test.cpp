// SPDX-License-Identifier: MIT
// Weights packed with statistics of their activations: nearer to exact arithmetic, and only for the weight
// they belong to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/gathered.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

// Activations as a language model has them: a few loud channels, and means that are not zero.
Matrices model_like(size_t M, size_t N, size_t K, uint32_t seed) {
    Matrices x(M, N, K, seed);
    for (size_t k = 0; k < K; ++k) {
        const float loudness = k % 37 == 0 ? 40.0F : k % 5 == 0 ? 3.0F : 0.2F;
        for (size_t m = 0; m < M; ++m)
            x.a[m * K + k] = (x.a[m * K + k] + 0.7F) * loudness;
    }
    return x;
}

class WithStatisticsTest : public ::testing::Test {
  protected:
    std::shared_ptr<NpuDevice> device(Precision precision) {
        return testing::new_device(state_, counters_, precision);
    }

    static std::vector<float> multiply(NpuDevice& npu, const Matrices& x) {
        std::vector<float> out(x.M * x.N, std::nanf(""));
        const auto packed = npu.pack(x.source());
        EXPECT_TRUE(packed.ok());
        EXPECT_TRUE(npu.multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
        return out;
    }

    static ModelStats gathered(const Matrices& x) { return testing::gathered_from(x); }

    FakeState state_;
    Counters counters_;
};

TEST_F(WithStatisticsTest, TheErrorShrinks) {
    for (const auto& [N, K] : {std::pair<size_t, size_t>{65, 576}, {40, 1000}, {33, 8300}}) {
        const Matrices x = model_like(40, N, K, 1);
        Matrices other = model_like(40, N, K, 2);  // the same weight, other activations of the same kind
        other.w = x.w;
        for (const Precision precision : {Precision::kFast, Precision::kBalanced}) {
            const double without = other.error_of(multiply(*device(precision), other));
            const auto npu = device(precision);
            npu->use_stats(std::make_unique<StatsLibrary>(gathered(x)));
            const double with = other.error_of(multiply(*npu, other));
            EXPECT_LT(with, 0.8 * without)
                << precision_name(precision) << " N=" << N << " K=" << K << ": " << with << ", " << without;
        }
    }
}

TEST_F(WithStatisticsTest, ARowDoesNotDependOnTheOthers) {
    const Matrices x = model_like(37, 65, 8300, 3);
    for (const Precision precision : {Precision::kFast, Precision::kBalanced}) {
        const auto npu = device(precision);
        npu->use_stats(std::make_unique<StatsLibrary>(gathered(x)));
        const std::vector<float> whole = multiply(*npu, x);
        const auto packed = npu->pack(x.source());
        for (const size_t m : {0U, 5U, 36U}) {
            std::vector<float> row(x.N);
            ASSERT_TRUE(npu->multiply(*packed.value(), x.a.data() + m * x.K, 1, row.data()).ok());
            EXPECT_EQ(std::memcmp(row.data(), whole.data() + m * x.N, x.N * sizeof(float)), 0) << m;
        }
    }
}

// Wrong statistics would make a wrong bias; they are refused by the weight's bytes, once, in one line.
TEST_F(WithStatisticsTest, AnotherModelsStatisticsAreNotUsed) {
    const Matrices x = model_like(5, 33, 100, 4);
    const Matrices other = model_like(5, 33, 100, 5);  // same name, same shape, other weights
    std::vector<std::string> lines;
    set_log_sink([&](LogLevel, const std::string& line) { lines.push_back(line); });
    const auto npu = device(Precision::kBalanced);
    npu->use_stats(std::make_unique<StatsLibrary>(gathered(other)));
    EXPECT_EQ(multiply(*npu, x), multiply(*device(Precision::kBalanced), x));
    EXPECT_EQ(multiply(*npu, x), multiply(*device(Precision::kBalanced), x));
    set_log_sink({});
    const auto says = ::testing::HasSubstr("not of this model (w differs)");
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                            [&](const std::string& line) { return ::testing::Value(line, says); }),
              1);
}

// For a row that is the mean itself, two planes leave the rounding of the weights, and the bias takes that
// off.
TEST_F(WithStatisticsTest, TheMeanIsExact) {
    for (const auto& [N, K] : {std::pair<size_t, size_t>{65, 576}, {33, 8300}}) {
        Matrices x = model_like(4, N, K, 8);
        for (size_t m = 1; m < x.M; ++m)
            std::copy_n(x.a.begin(), x.K, x.a.begin() + static_cast<std::ptrdiff_t>(m * x.K));
        const auto npu = device(Precision::kBalanced);
        ModelStats statistics = gathered(x);
        statistics.at("w").output = true;  // two planes
        const double without = x.error_of(multiply(*device(Precision::kBalanced), x));
        npu->use_stats(std::make_unique<StatsLibrary>(std::move(statistics)));
        const double with = x.error_of(multiply(*npu, x));
        EXPECT_LT(with, 2e-4) << N << " x " << K;
        EXPECT_GT(without, 1e-3) << N << " x " << K;
    }
}

// One plane of a weight with two is what fast gives; and the choice of planes decides what a weight is packed
// for.
TEST_F(WithStatisticsTest, PlanesAreChosenAndCanBeLeftOut) {
    const Matrices x = model_like(9, 33, 576, 7);
    ModelStats statistics = gathered(x);
    const auto with = [&](Precision precision, const ModelStats& used) {
        const auto npu = device(precision);
        npu->use_stats(std::make_unique<StatsLibrary>(used));
        return npu;
    };
    const std::vector<float> one_plane = multiply(*with(Precision::kFast, statistics), x);
    EXPECT_EQ(multiply(*with(Precision::kBalanced, statistics), x), one_plane);  // not measured
    statistics.at("w").output = true;
    const auto npu = with(Precision::kBalanced, statistics);
    const auto packed = npu->pack(x.source());
    ASSERT_TRUE(packed.ok());
    EXPECT_EQ(packed.value()->plan.recipe.planes, 2U);
    std::vector<float> out(x.M * x.N);
    ASSERT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data(), 1).ok());
    EXPECT_EQ(out, one_plane);
    EXPECT_LT(x.error_of(multiply(*npu, x)), 0.95 * x.error_of(one_plane));
}

TEST_F(WithStatisticsTest, PrecisionsThatDoNotRotateIgnoreThem) {
    const Matrices x = model_like(5, 33, 100, 6);
    for (const Precision precision : {Precision::kExact, Precision::kNaive}) {
        const auto npu = device(precision);
        npu->use_stats(std::make_unique<StatsLibrary>(gathered(x)));
        EXPECT_EQ(multiply(*npu, x), multiply(*device(precision), x));
    }
}

}  // namespace
}  // namespace rknpu2
