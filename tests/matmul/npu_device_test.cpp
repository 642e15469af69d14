// SPDX-License-Identifier: MIT
#include "matmul/npu_device.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class NpuDeviceTest : public ::testing::Test {
  protected:
    std::shared_ptr<NpuDevice> device(Precision precision, int cores = 3) {
        return testing::new_device(state_, counters_, precision, cores);
    }

    std::vector<float> multiply(NpuDevice& npu, const Matrices& x) {
        std::vector<float> out(x.M * x.N, std::nanf(""));
        auto packed = npu.pack(x.source());
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        const Status status = npu.multiply(*packed.value(), x.a.data(), x.M, out.data());
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    }

    FakeState state_;
    Counters counters_;
};

struct Shape {
    size_t M, N, K;
};
const Shape kShapes[] = {{1, 1, 1},     {1, 33, 31},    {2, 96, 64},   {3, 7, 200},
                         {5, 100, 32},  {9, 577, 33},   {17, 31, 96},  {257, 40, 50},
                         {4, 64, 8224}, {1, 50, 16500}, {300, 20, 100}};

TEST_F(NpuDeviceTest, EveryShapeInEveryPrecision) {
    for (const int cores : {1, 2, 3}) {
        for (const auto& [precision, bound] : {std::pair{Precision::kFast, 0.02},
                                               {Precision::kBalanced, 0.012},
                                               {Precision::kExact, 1e-3},
                                               {Precision::kNaive, 0.06}}) {
            const auto npu = device(precision, cores);
            for (const auto& [M, N, K] : kShapes) {
                const Matrices x(M, N, K, static_cast<uint32_t>(M + N + K));
                EXPECT_LT(x.error_of(multiply(*npu, x)), bound)
                    << precision_name(precision) << " M=" << M << " N=" << N << " K=" << K
                    << " cores=" << cores;
            }
        }
    }
}

TEST_F(NpuDeviceTest, ReferenceIsFloat64Arithmetic) {
    const auto npu = device(Precision::kReference);
    for (const auto& [M, N, K] : kShapes) {
        const Matrices x(M, N, K, 5);
        std::vector<float> out(M * N);
        ASSERT_TRUE(npu->multiply_reference(x.source(), x.a.data(), M, out.data()).ok());
        EXPECT_LT(x.error_of(out), 1e-6);
    }
}

TEST_F(NpuDeviceTest, ARowDoesNotDependOnTheOthersNorOnTheCores) {
    for (const Precision precision : {Precision::kFast, Precision::kBalanced, Precision::kExact}) {
        const Matrices x(37, 130, 8300, 3);
        const std::vector<float> whole = multiply(*device(precision, 3), x);
        const auto other = device(precision, 1);
        const auto packed = other->pack(x.source());
        for (const size_t m : {0U, 5U, 36U}) {
            std::vector<float> row(x.N);
            ASSERT_TRUE(other->multiply(*packed.value(), x.a.data() + m * x.K, 1, row.data()).ok());
            EXPECT_EQ(std::memcmp(row.data(), whole.data() + m * x.N, x.N * sizeof(float)), 0) << "row " << m;
        }
    }
}

TEST_F(NpuDeviceTest, WritesNothingBeyondTheResult) {
    const auto npu = device(Precision::kFast);
    const Matrices x(5, 45, 70, 3);
    std::vector<float> out(x.M * x.N + 16, 42.0F);
    ASSERT_TRUE(npu->multiply(*npu->pack(x.source()).value(), x.a.data(), x.M, out.data()).ok());
    for (size_t i = x.M * x.N; i < out.size(); ++i)
        EXPECT_EQ(out[i], 42.0F);
}

TEST_F(NpuDeviceTest, ARowThatIsNotFiniteSpoilsItselfOnly) {
    Matrices x(4, 40, 64, 3);
    x.a[1 * x.K + 9] = INFINITY;
    x.a[2 * x.K + 9] = NAN;
    const auto npu = device(Precision::kFast);
    const std::vector<float> out = multiply(*npu, x);
    for (size_t n = 0; n < x.N; ++n) {
        EXPECT_TRUE(std::isfinite(out[n]));
        EXPECT_TRUE(std::isnan(out[x.N + n]));
        EXPECT_TRUE(std::isnan(out[2 * x.N + n]));
        EXPECT_TRUE(std::isfinite(out[3 * x.N + n]));
    }
}

TEST_F(NpuDeviceTest, ManyWeightsOfOneShapeShareContextsAndAllIsGivenBack) {
    const auto npu = device(Precision::kFast);
    {
        std::vector<std::shared_ptr<const PackedWeight>> weights;
        const Matrices x(2, 200, 96, 3);
        std::vector<float> out(x.M * x.N);
        for (int i = 0; i < 100; ++i) {
            weights.push_back(npu->pack(x.source()).take());
            ASSERT_TRUE(npu->multiply(*weights.back(), x.a.data(), x.M, out.data()).ok());
        }
        EXPECT_LE(state_.contexts, 1 + 2 * 3);
        EXPECT_GE(npu->resources().memory.bytes_in_use(), 100 * weights[0]->plan.packed_bytes());
    }
    EXPECT_EQ(npu->resources().memory.bytes_in_use(), 0U);
    EXPECT_EQ(state_.contexts, 0);
    EXPECT_EQ(state_.memories, 0);
}

TEST_F(NpuDeviceTest, ManyShapesStayBelowTheContextLimit) {
    Config config;
    config.precision = Precision::kFast;
    config.threads = 2;
    config.contexts = 100;
    const auto npu =
        std::make_shared<NpuDevice>(std::make_unique<testing::FakeRuntime>(state_), config, counters_);
    std::vector<std::shared_ptr<const PackedWeight>> weights;
    for (size_t i = 1; i <= 120; ++i) {
        const Matrices x(1, 96, 32 * i, 3);
        std::vector<float> out(x.N);
        weights.push_back(npu->pack(x.source()).take());
        ASSERT_TRUE(npu->multiply(*weights.back(), x.a.data(), 1, out.data()).ok());
    }
    EXPECT_EQ(state_.largest_contexts, 101) << "100, and one that memory is got with";
}

TEST_F(NpuDeviceTest, AFailedAllocationFailsCleanlyAndTheNextOneWorks) {
    const auto npu = device(Precision::kFast);
    const Matrices x(3, 40, 64, 3);
    state_.allocations_until_failure = 0;
    const auto packed = npu->pack(x.source());
    ASSERT_FALSE(packed.ok());
    EXPECT_EQ(packed.status().code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(npu->resources().memory.bytes_in_use(), 0U);
    EXPECT_LT(x.error_of(multiply(*npu, x)), 0.02);
}

TEST_F(NpuDeviceTest, AFailedRunFailsTheCallAndTheDeviceStaysUsable) {
    const auto npu = device(Precision::kFast);
    const Matrices x(3, 400, 64, 3);
    const auto packed = npu->pack(x.source());
    std::vector<float> out(x.M * x.N);
    state_.runs_until_failure = 1;
    const Status status = npu->multiply(*packed.value(), x.a.data(), x.M, out.data());
    EXPECT_EQ(status.code(), StatusCode::kTimeout);
    EXPECT_NE(status.message().find("K=64"), std::string::npos) << status.message();
    ASSERT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
    EXPECT_LT(x.error_of(out), 0.02);
}

TEST_F(NpuDeviceTest, SeveralThreadsPackAndMultiplyAtOnce) {
    const auto npu = device(Precision::kFast);
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (uint32_t i = 0; i < 10; ++i) {
                const Matrices x(1 + (t + i) % 5, 40 + 30 * t, 64 + 32 * (i % 3), t * 100 + i);
                EXPECT_LT(x.error_of(multiply(*npu, x)), 0.02);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(counters_.npu_matmuls, 40U);
}

}  // namespace
}  // namespace rknpu2
