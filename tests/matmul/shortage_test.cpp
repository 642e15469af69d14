// SPDX-License-Identifier: MIT
// Memory or contexts that cannot be had: who waits, who gives up, and what comes after.
#include <gmock/gmock.h>

#include <chrono>

#include "matmul/recover_fixture.hpp"

namespace rknpu2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;

class ShortageTest : public testing::RecoverFixture {};

// The first memory of a process is waited for, and none that is refused later.
TEST_F(ShortageTest, AFirstWeightWaitsForMemoryThatComesBackLate) {
    std::vector<int> slept;
    const auto sleep = [&](std::chrono::milliseconds time) {
        slept.push_back(static_cast<int>(time.count()));
        if (slept.size() == 2) state_.domain_bytes = SIZE_MAX;  // whoever held it is gone
    };
    for (const Steps& steps : {Steps{}, Steps{OnError::kRetry, OnError::kReset, OnError::kFail}}) {
        open(steps, 3);
        npu_->use_start_wait(std::make_unique<StartWait>(std::chrono::seconds(5), sleep));
        const Matrices x(3, 40, 64, 3);
        state_.domain_bytes = 0;
        slept.clear();
        lines_.clear();
        const Weight weight = npu_->pack(x.source()).take();
        EXPECT_THAT(slept, ElementsAre(100, 200));
        EXPECT_THAT(lines_, ElementsAre(HasSubstr("the NPU is not free: out of memory: ")));
        EXPECT_EQ(faults(), (Counts{}));
        EXPECT_LT(x.error_of(multiply(*weight, x)), 0.02);
        state_.domain_bytes = 0;
        const Matrices large(1, 4096, 8192, 5);
        EXPECT_FALSE(npu_->pack(large.source()).ok());
        EXPECT_THAT(slept, ElementsAre(100, 200)) << "a full device is not waited for";
        state_.domain_bytes = SIZE_MAX;
        counters_.faults.failed = counters_.faults.retried = counters_.faults.reset = 0;
        counters_.faults.given_up = 0;
    }
}

// What somebody measures with neither ends that patience nor shows among the weights; full, it drops and counts nothing.
TEST_F(ShortageTest, AWeightToMeasureWithLeavesPatienceToTheModels) {
    int slept = 0;
    const auto sleep = [&](std::chrono::milliseconds) {
        if (++slept == 2) state_.domain_bytes = SIZE_MAX;
    };
    open({OnError::kReset}, 3);
    npu_->use_start_wait(std::make_unique<StartWait>(std::chrono::seconds(5), sleep));
    const Matrices x(3, 40, 64, 3);
    const WeightSource source = x.source();
    const auto listed = [&] {
        return counters_.to_json(npu_->config(), npu_->info(), "").find("\"w\"") != std::string::npos;
    };
    {
        auto reserved = npu_->reserve({&source, 1}, NpuDevice::Attempts::kTrial).take();
        const Weight trial = npu_->pack(std::move(reserved.front())).take();
        EXPECT_LT(x.error_of(multiply(*trial, x)), 0.02);
        EXPECT_FALSE(listed());
    }
    state_.domain_bytes = 0;
    const Weight weight = npu_->pack(source).take();
    EXPECT_EQ(slept, 2) << "the first weight of a model is waited for";
    EXPECT_TRUE(listed());
    state_.domain_bytes = 0;
    const Matrices large(1, 4096, 8192, 5);
    const WeightSource too_large = large.source();
    EXPECT_EQ(npu_->reserve({&too_large, 1}, NpuDevice::Attempts::kTrial).status().code(),
              StatusCode::kOutOfMemory);
    EXPECT_FALSE(npu_->is_full());
    EXPECT_EQ(faults(), (Counts{}));
    state_.domain_bytes = SIZE_MAX;
}

// What comes after a weight that finds room again is tried as if nothing had been.
TEST_F(ShortageTest, AWeightThatFindsMemoryEndsTheShortage) {
    open({OnError::kRetry}, 1);
    const Matrices x(3, 40, 64, 3);
    state_.domain_bytes = 0;
    EXPECT_FALSE(npu_->pack(x.source()).ok());
    EXPECT_TRUE(npu_->is_full());
    state_.domain_bytes = SIZE_MAX;
    const Weight weight = npu_->pack(x.source()).take();
    EXPECT_FALSE(npu_->is_full());
    const uint64_t retried = counters_.faults.retried;
    state_.allocations_until_failure = 0;
    const Matrices large(1, 4096, 8192, 5);  // needs a slab of its own
    const Weight another = npu_->pack(large.source()).take();
    EXPECT_EQ(counters_.faults.retried, retried + 1);
}

// So many contexts are alive that a failure may be for them: fewer are kept from then on, and the lost run's result is nobody's.
TEST_F(ShortageTest, FewerContextsLeaveALostRunsResultAlone) {
    open({}, 1);
    std::vector<Weight> weights;
    for (size_t i = 1; i <= 125; ++i) {
        const Matrices x(1, 32 * i, 32, 3);
        weights.push_back(npu_->pack(x.source()).take());
        multiply(*weights.back(), x);
        ASSERT_TRUE(status_.ok()) << status_.to_string();
    }
    const Matrices x(1, 32 * 125, 32, 3);
    const std::vector<float> right = multiply(*weights.back(), x);
    fail_runs(0, 1);
    EXPECT_EQ(multiply(*weights.back(), x), right);
    EXPECT_TRUE(status_.ok()) << status_.to_string();
    EXPECT_EQ(counters_.contexts.lowered, 1U);
    EXPECT_EQ(state_.runs_into_lost_results, 0);
}

}  // namespace
}  // namespace rknpu2
