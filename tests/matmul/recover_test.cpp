// SPDX-License-Identifier: MIT
// What is done after failures (GGML_RKNPU2_ON_ERROR): whatever helps gives the fault-free bits, every step is
// counted and logged, and when nothing helps the call fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <thread>
#include <tuple>

#include "matmul/recover_fixture.hpp"

namespace rknpu2 {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;

class RecoverTest : public testing::RecoverFixture {};

TEST_F(RecoverTest, ARetryGivesTheSameBitsWhicheverRunFails) {
    for (const Precision precision : {Precision::kBalanced, Precision::kExact, Precision::kNaive}) {
        for (const auto& [M, N, K] :
             {std::tuple<size_t, size_t, size_t>{1, 96, 64}, {5, 70, 8300}, {1200, 33, 32}, {4200, 33, 32}}) {
            open({OnError::kRetry}, 1, precision);
            const Matrices x(M, N, K, 3);
            const Weight weight = npu_->pack(x.source()).take();
            const uint64_t runs_before = counters_.runs;
            const std::vector<float> right = multiply(*weight, x);
            ASSERT_TRUE(status_.ok());
            const auto runs = static_cast<int>(counters_.runs - runs_before);
            for (int run = 0; run < runs; run += std::max(1, runs / 5)) {
                const uint64_t retried = counters_.faults.retried;
                const int made = state_.contexts_made;
                fail_runs(run, 1);
                EXPECT_EQ(multiply(*weight, x), right) << M << " run " << run << " of " << runs;
                EXPECT_TRUE(status_.ok()) << status_.to_string();
                EXPECT_EQ(counters_.faults.retried, retried + 1);
                EXPECT_EQ(state_.contexts_made, made + 1) << "only the context that failed is made anew";
            }
        }
    }
    EXPECT_EQ(counters_.faults.given_up, 0U);
    EXPECT_GT(counters_.faults.retried, 20U);
}

TEST_F(RecoverTest, SeveralFailuresGoThroughTheStepsInOrder) {
    open({OnError::kRetry, OnError::kRetry, OnError::kReset, OnError::kFail}, 1);
    const Matrices x(3, 200, 8300, 3);
    const Weight weight = npu_->pack(x.source()).take();
    const std::vector<float> right = multiply(*weight, x);
    const uint64_t matmuls = counters_.npu_matmuls;
    EXPECT_THAT(lines_, IsEmpty());
    fail_runs(1, 3);
    EXPECT_EQ(multiply(*weight, x), right);
    EXPECT_TRUE(status_.ok());
    EXPECT_EQ(faults(), (Counts{3, 3, 2, 1, 0, 0}));
    EXPECT_EQ(counters_.npu_matmuls, matmuls + 1);
    const auto line = [](const char* step) { return AllOf(HasSubstr("w: timeout: M="), HasSubstr(step)); };
    EXPECT_THAT(lines_, ElementsAre(line("; trying again in new contexts"), line("in new contexts"),
                                    line("; trying again after dropping all")));
    lines_.clear();
    fail_runs(0, 4);
    multiply(*weight, x);
    EXPECT_EQ(status_.code(), StatusCode::kTimeout);
    EXPECT_THAT(status_.message(), HasSubstr("after retry and retry and reset: M="));
    EXPECT_EQ(faults(), (Counts{7, 7, 4, 2, 0, 1}));
    EXPECT_EQ(lines_.size(), 3U);
    EXPECT_EQ(multiply(*weight, x), right);
    EXPECT_EQ(counters_.npu_matmuls, matmuls + 2);
}

// Whoever takes times of multiplications can tell which were not the NPU's alone.
TEST_F(RecoverTest, DisturbedMultiplicationsTell) {
    open({OnError::kRetry, OnError::kCpu}, 1);
    const Matrices x(3, 40, 64, 3);
    const Weight weight = npu_->pack(x.source()).take();
    const auto multiplied = [&] {
        const uint64_t before = npu_->disturbances();
        multiply(*weight, x);
        return npu_->disturbances() - before;
    };
    EXPECT_EQ(multiplied(), 0U);
    fail_runs(0, 1);
    EXPECT_EQ(multiplied(), 1U) << "tried again";
    fail_runs(0, 2);
    EXPECT_EQ(multiplied(), 3U) << "two attempts failed, and the CPU did it";
    EXPECT_EQ(multiplied(), 0U);
    uint64_t waited = 0;
    std::unique_lock busy(npu_->resources().mutex);
    const uint64_t before = npu_->disturbances();
    std::thread other([&] { waited = multiplied(); });
    while (npu_->disturbances() == before)
        std::this_thread::yield();
    busy.unlock();
    other.join();
    EXPECT_EQ(waited, 1U) << "another thread had it";
}

TEST_F(RecoverTest, AnEmptyListAndFailAreTheSame) {
    for (const Steps& steps : {Steps{}, Steps{OnError::kFail}}) {
        open(steps, 1);
        const Matrices x(3, 40, 64, 3);
        const Weight weight = npu_->pack(x.source()).take();
        fail_runs(0, 1);
        multiply(*weight, x);
        EXPECT_EQ(status_.code(), StatusCode::kTimeout);
        EXPECT_THAT(lines_, IsEmpty()) << "whoever gets the status logs it";
    }
    EXPECT_EQ(faults(), (Counts{2, 2, 0, 0, 0, 2}));
}

TEST_F(RecoverTest, AResetLeavesNoContextOfBefore) {
    open({OnError::kReset}, 3);
    const Matrices x(3, 400, 64, 3);
    const Weight weight = npu_->pack(x.source()).take();
    const std::vector<float> right = multiply(*weight, x);
    const size_t bytes = npu_->resources().memory.bytes_in_use();
    const int memories = state_.memories;
    const int made = state_.contexts_made;
    fail_runs(0, 1);
    EXPECT_EQ(multiply(*weight, x), right);
    EXPECT_GE(state_.contexts_made, made + 3);
    EXPECT_EQ(npu_->resources().memory.bytes_in_use(), bytes);
    EXPECT_EQ(state_.memories, memories);
}

TEST_F(RecoverTest, TheCpuComputesItFromTheStoredWeight) {
    open({OnError::kRetry, OnError::kCpu}, 1, Precision::kNaive);
    const Matrices x(5, 70, 96, 3);
    const Weight weight = npu_->pack(x.source()).take();
    multiply(*weight, x);
    const uint64_t matmuls = counters_.npu_matmuls;
    fail_runs(0, 2);
    const std::vector<float> out = multiply(*weight, x);
    ASSERT_TRUE(status_.ok());
    EXPECT_LT(x.error_of(out), 1e-6) << "not the NPU's arithmetic";
    EXPECT_EQ(faults(), (Counts{2, 2, 1, 0, 1, 0}));
    EXPECT_EQ(counters_.npu_matmuls, matmuls);
    EXPECT_EQ(counters_.reference_matmuls, 0U) << "that is a precision, not a fault";
    EXPECT_THAT(lines_.back(), HasSubstr("; computing it on the CPU"));
}

// What comes before the runs fails, too, and the steps may help against it.
TEST_F(RecoverTest, AContextThatCannotBeMadeOnce) {
    open({OnError::kRetry}, 3);
    const Matrices x(3, 200, 64, 3);
    const Weight weight = npu_->pack(x.source()).take();
    state_.contexts_until_failure = 1;
    const std::vector<float> out = multiply(*weight, x);
    EXPECT_EQ(faults(), (Counts{0, 1, 1, 0, 0, 0}));
    EXPECT_EQ(out, multiply(*weight, x));
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("w: out of memory: the fake has no context; trying again")));
}

// Activations that an earlier multiplication left are made anew, too.
TEST_F(RecoverTest, SharedActivationsAreNotTrustedAfterAFailure) {
    open({OnError::kRetry}, 3);
    const Matrices x(7, 300, 96, 3);
    const Weight weight = npu_->pack(x.source()).take();
    const Activations input{x.a.data(), x.M, npu_->new_version()};
    std::vector<float> right = nothing(x);
    ASSERT_TRUE(npu_->multiply({{{weight.get(), right.data()}}}, input).ok());
    const uint64_t quantised = counters_.activations_quantised;
    std::vector<float> out = nothing(x);
    fail_runs(1, 1);
    ASSERT_TRUE(npu_->multiply({{{weight.get(), out.data()}}}, input).ok());
    EXPECT_EQ(out, right);
    EXPECT_EQ(counters_.activations_quantised, quantised + 1);
}

// Keeps the last product it was given for each element, as an epilogue is to do.
class Difference final : public Epilogue {
  public:
    Difference(size_t M, size_t N) : N_(N), out_(M * N, std::nanf("")), calls_(M * N) {}
    void apply(const ResultBlock& block) noexcept override {
        for (size_t i = 0; i < block.rows; ++i) {
            for (size_t j = 0; j < block.columns; ++j) {
                const size_t at = (block.m + i) * N_ + block.n + j;
                out_[at] = block.products[0][i * block.stride + j] - block.products[1][i * block.stride + j];
                ++calls_[at];
            }
        }
    }
    const std::vector<float>& out() const { return out_; }
    int most() const { return *std::max_element(calls_.begin(), calls_.end()); }

  private:
    size_t N_;
    std::vector<float> out_;
    std::vector<std::atomic<int>> calls_;
};

TEST_F(RecoverTest, AnEpilogueGetsEveryElementAgain) {
    const Matrices x(900, 64, 96, 3);
    const Matrices y(900, 64, 96, 4);
    for (const bool by_cpu : {false, true}) {
        open({by_cpu ? OnError::kCpu : OnError::kRetry}, 1);
        const WeightSource sources[] = {x.source(), y.source()};
        auto places = npu_->reserve(sources).take();
        const Weight weights[] = {npu_->pack(places[0]).take(), npu_->pack(places[1]).take()};
        const Activations input{x.a.data(), x.M, 0};
        std::vector<float> a = nothing(x);
        std::vector<float> b = nothing(x);
        const NpuDevice::Product products[] = {{weights[0].get(), a.data()}, {weights[1].get(), b.data()}};
        if (!by_cpu) {
            ASSERT_TRUE(npu_->multiply(products, input).ok());
        } else {
            ASSERT_TRUE(npu_->multiply_reference(sources[0], input.data, x.M, a.data()).ok());
            ASSERT_TRUE(npu_->multiply_reference(sources[1], input.data, x.M, b.data()).ok());
        }
        std::vector<float> right(a.size());
        std::transform(a.begin(), a.end(), b.begin(), right.begin(), std::minus<>());
        Difference difference(x.M, x.N);
        fail_runs(3, 1);  // after some rows have been given
        ASSERT_TRUE(npu_->multiply(products, input, &difference).ok());
        EXPECT_EQ(difference.out(), right);
        EXPECT_EQ(difference.most(), 2);
    }
}

// A thousand failures are a thousand in the counters, and not as many lines.
TEST_F(RecoverTest, ManyFailuresAreCountedAndSomeAreLogged) {
    open(Steps(8, OnError::kRetry), 1);
    const Matrices x(1, 32, 32, 3);
    const Weight weight = npu_->pack(x.source()).take();
    const std::vector<float> right = multiply(*weight, x);
    for (int i = 0; i < 125; ++i) {
        fail_runs(0, 8);
        EXPECT_EQ(multiply(*weight, x), right);
    }
    EXPECT_EQ(faults(), (Counts{1000, 1000, 1000, 0, 0, 0}));
    EXPECT_GE(lines_.size(), RateLimit::kBurst);
    EXPECT_LT(lines_.size(), 200U);
}

// Other processes have the NPU between attempts, and not during one.
TEST_F(RecoverTest, EveryAttemptHasTheNpuToItself) {
    const std::string path = ::testing::TempDir() + "recover-" + std::to_string(getpid()) + ".lock";
    LockCounters others;
    const auto other = DeviceLock::open(path, others).take();
    open({OnError::kRetry}, 1);
    npu_->use_lock(DeviceLock::open(path, counters_.device_lock).take());
    const Matrices x(1, 32, 32, 3);
    const Weight weight = npu_->pack(x.source()).take();
    ASSERT_TRUE(other->acquire().ok());
    std::atomic<bool> done{false};
    std::thread multiplies([&] {
        fail_runs(0, 1);
        multiply(*weight, x);
        done = true;
    });
    while (counters_.device_lock.waits == 0)
        std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(done);
    EXPECT_EQ(counters_.runs, 0U);
    other->release();
    multiplies.join();
    EXPECT_TRUE(status_.ok());
    EXPECT_EQ(counters_.device_lock.taken, 2U);
    EXPECT_GT(counters_.device_lock.waited_ns, 10'000'000U);
    ASSERT_TRUE(other->acquire().ok());
    EXPECT_EQ(others.waits, 0U) << "it was not let go";
    other->release();
    unlink(path.c_str());
    unlink((path + ".queue").c_str());
}

TEST_F(RecoverTest, WhatBreaksARuleIsNotTriedAgain) {
    open({OnError::kRetry, OnError::kCpu}, 1);
    const Matrices x(1, 32, 32, 3);
    const Weight weight = npu_->pack(x.source()).take();
    state_.failure = StatusCode::kInvalidArgument;
    fail_runs(0, 1);
    multiply(*weight, x);
    EXPECT_EQ(status_.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(faults(), (Counts{1, 1, 0, 0, 0, 1}));
}

}  // namespace
}  // namespace rknpu2
