// SPDX-License-Identifier: MIT
// Runs of attention go before those of a flow; a context in which a run has failed does no others.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "matmul/npu_resources.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::FakeRuntime;
using testing::FakeState;

class NpuLaneTest : public ::testing::Test {
  protected:
    void SetUp() override {
        config_.cores = 3;
        config_.threads = 2;
        npu_ = std::make_unique<NpuResources>(std::make_unique<FakeRuntime>(state_), config_, counters_,
                                              nullptr);
        npu_->begin_call();
        npu_->get_lane();
    }

    BoundRun bound(int core) {
        CachedContext* const context = npu_->contexts.get({NpuArithmetic::kFloat16, 32, 32, core, 0}).value();
        const Slice memory = npu_->areas.activations(0, 0, 4096).value();
        BoundRun run{context, 0, 0, {}, {}, {}, {memory.data(), 1}};
        run.activations = context->view(Operand::kActivations, 0, memory, memory.bytes).value();
        run.weights = context->view(Operand::kWeights, 0, memory, memory.bytes).value();
        // Cores run at a time: each has its own result.
        const Slice result = npu_->areas.result(0, static_cast<size_t>(core), 4096).value();
        run.result = context->view(Operand::kResult, 0, result, 4096).value();
        return run;
    }

    static void wait_until(const std::atomic<bool>& flag) {
        for (int i = 0; i < 5000 && !flag; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }

    Config config_;
    Counters counters_;
    FakeState state_;
    std::unique_ptr<NpuResources> npu_;
};

// The core's second run waits until the job that goes first is done, or five seconds.
TEST_F(NpuLaneTest, RunsThatGoFirstGoBetweenThoseOfAnotherJob) {
    NpuLane& lane = *npu_->lane;
    const BoundRun run = bound(0);
    NpuLane::Job others;
    NpuLane::Job first;
    others.runs[0] = {run, run, run};
    first.runs[0] = {run};
    others.synced.reset_known(1);
    first.synced.reset_known(1);
    std::atomic<int> begun{0};
    std::atomic<bool> submitted{false};
    std::atomic<bool> done{false};
    state_.before_run = [&] {
        const int number = ++begun;
        if (number == 1) wait_until(submitted);
        if (number == 3) wait_until(done);
    };
    lane.submit(others);
    for (int i = 0; i < 5000 && begun == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    lane.submit_first(first);
    submitted = true;
    lane.wait_for(first);
    EXPECT_LE(begun, 3);
    done = true;
    EXPECT_EQ(lane.wait(), &others);
    EXPECT_EQ(begun, 4);
    EXPECT_EQ(lane.wait(), nullptr);
}

// Two jobs have runs in one context, and the first one's fails. The second job's run there is not done, whatever it would
// have given.
TEST_F(NpuLaneTest, AContextThatHasFailedDoesNoRunsOfOtherJobs) {
    NpuLane& lane = *npu_->lane;
    const BoundRun run = bound(0);
    NpuLane::Job one;
    NpuLane::Job other;
    one.runs[0] = {run};
    other.runs[0] = {run, run};
    other.runs[1] = {bound(1)};
    for (NpuLane::Job* const job : {&one, &other})
        job->synced.reset_known(1);
    std::atomic<bool> submitted{false};
    std::atomic<int> begun{0};
    state_.before_run = [&] {
        if (++begun == 1) return wait_until(submitted);
        while (state_.failing_runs > 0)
            std::this_thread::yield();
    };
    state_.runs_until_failure = 0;
    lane.submit_first(one);
    for (int i = 0; i < 5000 && begun == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    lane.submit_first(other);
    submitted = true;
    lane.wait_for(one);
    lane.wait_for(other);
    EXPECT_TRUE(one.fails_itself);
    EXPECT_FALSE(other.fails_itself);
    EXPECT_EQ(other.status.to_string(), one.status.to_string());
    EXPECT_EQ(state_.runs_after_failure, 0);
    EXPECT_LE(state_.runs, 2);
    EXPECT_EQ(npu_->contexts.size(), 2U);
    npu_->contexts.drop_failed(ContextKey::kProducts);
    EXPECT_EQ(npu_->contexts.size(), 1U);
    other.runs[0] = {bound(0)};
    lane.submit_first(other);
    lane.wait_for(other);
    EXPECT_TRUE(other.status.ok());
}

}  // namespace
}  // namespace rknpu2
