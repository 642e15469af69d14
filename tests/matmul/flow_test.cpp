// SPDX-License-Identifier: MIT
// A flow's chunks, in whatever order, have the bits of multiplications that are computed one by one; also
// when runs fail on the way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cmath>
#include <new>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/log.hpp"
#include "config/device_lock.hpp"
#include "device/cpu_team.hpp"
#include "matmul/flow_fixture.hpp"
#include "support/failing_threads.hpp"

namespace rknpu2 {
namespace {

using testing::Floats;
using testing::FlowTest;
using ::testing::HasSubstr;
using testing::Matrices;
using testing::Weight;

TEST_P(FlowTest, TheBitsOfOneByOneInAnyOrderOnAnyCores) {
    for (const int cores : {1, 3}) {
        inputs_.clear();
        weights_.clear();
        open(cores);
        const auto expected = one_by_one();
        for (uint32_t seed = 1; seed <= 2; ++seed) {
            auto out = nothing();
            const Status status = flow(out, seed);
            ASSERT_TRUE(status.ok()) << status.to_string();
            EXPECT_EQ(out, expected) << cores << " cores, seed " << seed;
        }
        EXPECT_EQ(one_by_one(), expected);  // and afterwards the device is as it was
    }
}

// A vendor's library may not take contexts and imports from threads that run.
TEST_P(FlowTest, ImportsNothingOnTheThreadsOfTheLane) {
    open(3, {OnError::kRetry, OnError::kReset});
    const std::thread::id here = std::this_thread::get_id();
    std::atomic<int> imports{0};
    std::atomic<int> elsewhere{0};
    state_.before_import = [&] {
        ++imports;
        if (std::this_thread::get_id() != here) ++elsewhere;
    };
    state_.runs_until_failure = 5;  // contexts are made anew, too
    auto out = nothing();
    ASSERT_TRUE(flow(out, 1).ok());
    EXPECT_GT(imports, 0);
    EXPECT_EQ(elsewhere, 0);
}

TEST_P(FlowTest, ChunksWhoseRunsFailAreSubmittedAgain) {
    open(3, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    for (const int first : {0, 3, 10}) {
        const uint64_t failed = counters_.faults.failed;
        state_.failing_runs = 1;
        state_.runs_until_failure = first;
        auto out = nothing();
        const Status status = flow(out, static_cast<uint32_t>(first));
        ASSERT_TRUE(status.ok()) << status.to_string();
        EXPECT_EQ(out, expected) << "run " << first;
        EXPECT_EQ(counters_.faults.failed - failed, 1U);
    }
    EXPECT_EQ(state_.runs_after_failure, 0);
    EXPECT_EQ(counters_.faults.retried, 3U);
    ASSERT_EQ(lines_.size(), 3U);
    EXPECT_THAT(lines_[0], HasSubstr("the fake does not answer"));
    EXPECT_THAT(lines_[0], HasSubstr("trying again in new contexts"));
}

TEST_P(FlowTest, EverythingIsDroppedWhenThatDoesNotHelp) {
    open(1, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    state_.failing_runs = 2;
    state_.runs_until_failure = 1;
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    EXPECT_EQ(counters_.faults.reset + counters_.faults.retried, counters_.faults.failed);
}

TEST_P(FlowTest, WithoutAStepLeftTheFlowFailsAndTheDeviceStaysUsable) {
    open(3);
    const auto expected = one_by_one();
    state_.runs_until_failure = 2;
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.to_string(), HasSubstr("on core"));
    state_.runs_until_failure = -1;
    out = nothing();
    ASSERT_TRUE(flow(out, 2).ok());
    EXPECT_EQ(out, expected);
    EXPECT_EQ(one_by_one(), expected);
    EXPECT_EQ(state_.runs_after_failure, 0);
    EXPECT_EQ(state_.runs_into_lost_results, 0);
}

// Contexts that cannot be made once: at the beginning, and anew after a run has failed.
TEST_P(FlowTest, ContextsThatCannotBeMadeAreTriedAgain) {
    state_.context_failure = StatusCode::kDeviceError;
    open(3, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    for (const int nth : {0, 3}) {
        weights_.clear();
        inputs_.clear();
        open(3, {OnError::kRetry, OnError::kReset});
        const uint64_t failed = counters_.faults.failed;
        state_.contexts_until_failure = nth;
        auto out = nothing();
        const Status status = flow(out, 1);
        ASSERT_TRUE(status.ok()) << status.to_string();
        EXPECT_EQ(out, expected) << "context " << nth;
        EXPECT_EQ(counters_.faults.failed - failed, 1U);
    }
    const uint64_t failed = counters_.faults.failed;
    std::atomic<bool> once{true};
    state_.before_run = [&] {
        if (once.exchange(false)) {
            state_.runs_until_failure = 0;
            state_.contexts_until_failure = 0;
        }
    };
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    EXPECT_EQ(counters_.faults.failed - failed, 2U);
    EXPECT_EQ(counters_.faults.given_up, 0U);
}

TEST_P(FlowTest, ContextsThatCannotBeMadeWithoutAStepLeft) {
    state_.context_failure = StatusCode::kDeviceError;
    open(3, {OnError::kFail});
    state_.contexts_until_failure = 0;
    auto out = nothing();
    EXPECT_EQ(flow(out, 1).code(), StatusCode::kDeviceError);
    EXPECT_EQ(counters_.faults.failed, 1U);
    EXPECT_EQ(counters_.faults.given_up, 1U);
    ASSERT_TRUE(flow(out, 1).ok());
}

// What throws in a run, on a thread of the lane or of the team, is a failure like others: want of memory may
// pass, what nobody expects is not tried again.
TEST_P(FlowTest, ARunThatThrowsIsAFailedRun) {
    open(3, {OnError::kRetry});
    const auto expected = one_by_one();
    std::atomic<int> runs{0};
    std::atomic<bool> memory{true};
    state_.before_run = [&] {
        if (runs++ != 4) return;
        if (memory) throw std::bad_alloc();
        throw std::runtime_error("it broke");
    };
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    runs = 0;
    EXPECT_EQ(one_by_one(), expected);
    ASSERT_EQ(lines_.size(), 2U);
    for (const std::string& line : lines_) {
        EXPECT_THAT(line, HasSubstr("host memory"));
        EXPECT_THAT(line, HasSubstr("trying again in new contexts"));
    }
    memory = false;
    runs = 0;
    const Status broken = flow(out, 1);
    EXPECT_EQ(broken.code(), StatusCode::kInternal);
    EXPECT_THAT(broken.message(), HasSubstr("it broke"));
    runs = 4;
    const Status alone = npu_->multiply(*weights_[0][0], inputs_[0].a.data(), kM, out[0][0].data());
    EXPECT_EQ(alone.code(), StatusCode::kInternal);
    EXPECT_THAT(alone.message(), HasSubstr("it broke"));
    EXPECT_EQ(one_by_one(), expected);
}

// The n-th thread cannot be had, or that and all later ones: of the team, of the lane.
TEST_P(FlowTest, TheBitsAreTheSameWithFewerThreads) {
    open(3);
    const auto expected = one_by_one();
    const int team = team_size(npu_->config(), true) - 1;
    for (const int count : {1, INT_MAX}) {
        for (int first = 1; first <= team + 4; ++first) {
            if (count > 1 && first != 1 && first != team + 2) continue;  // none at all, one of the lane
            inputs_.clear();
            weights_.clear();
            fail_threads(first, count);
            open(3);
            EXPECT_EQ(one_by_one(), expected) << "thread " << first;
            auto out = nothing();
            const Status status = flow(out, static_cast<uint32_t>(first));
            ASSERT_TRUE(status.ok()) << status.to_string();
            EXPECT_EQ(out, expected) << "thread " << first;
            EXPECT_EQ(failed_threads() > 0, first < team + 4) << first;
            fail_threads(0, 0);
        }
    }
}

// A lock between processes, whose files go with it.
struct LockOfTest {
    LockOfTest() = default;
    LockOfTest(const LockOfTest&) = delete;
    LockOfTest& operator=(const LockOfTest&) = delete;
    ~LockOfTest() {
        unlink(path.c_str());
        unlink((path + ".queue").c_str());
    }
    const DeviceLock& use(NpuDevice& npu, LockCounters& counters) const {
        auto opened = DeviceLock::open(path, counters).take();
        const DeviceLock& lock = *opened;
        npu.use_lock(std::move(opened));
        return lock;
    }

    const std::string path = ::testing::TempDir() + "flow-" + std::to_string(getpid()) + ".lock";
};

// Chunks that have failed wait for runs of others, and their turn may end with those.
TEST_P(FlowTest, WhatIsDoneAgainHasATurn) {
    open(1, {OnError::kRetry});
    const LockOfTest file;
    const DeviceLock& lock = file.use(*npu_, counters_.device_lock);
    LockCounters counters;
    const auto other = DeviceLock::open(file.path, counters).take();
    std::atomic<bool> has_it{false}, had_it{false};
    std::atomic<int> overlaps{0};
    std::thread others;
    {
        NpuFlow flow(npu_->resources(), std::chrono::milliseconds(0));
        add_groups(flow);
        ASSERT_TRUE(flow.begin(chunks_).ok());
        ASSERT_TRUE(flow.begin_other_runs().ok());
        state_.runs_until_failure = 0;
        quantise(flow, 0, 0, chunks_[0]);
        ASSERT_TRUE(flow.submit(0, 0).ok());
        while (flow.has_room())
            EXPECT_EQ(flow.next_done(false).value(), SIZE_MAX);
        state_.before_run = [&] { overlaps += has_it ? 1 : 0; };
        others = std::thread([&] {
            EXPECT_TRUE(other->acquire().ok());
            has_it = had_it = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            has_it = false;
            other->release();
        });
        while (!lock.is_waited_for())
            std::this_thread::yield();
        flow.end_other_runs();
        while (!had_it)
            std::this_thread::yield();
        EXPECT_EQ(flow.next_done(true).value(), 0U);
        flow.used(0);
    }
    others.join();
    EXPECT_EQ(overlaps, 0);
    EXPECT_EQ(counters_.device_lock.taken, 2U);
}

// Where no other process waits, a turn goes on: to end it would let the lane run empty.
TEST_P(FlowTest, WithoutOthersATurnDoesNotEnd) {
    open(1);
    const LockOfTest file;
    file.use(*npu_, counters_.device_lock);
    {
        NpuFlow flow(npu_->resources(), std::chrono::milliseconds(0));
        add_groups(flow);
        ASSERT_TRUE(flow.begin(chunks_).ok());
        for (size_t c = 0; c < 2; ++c) {
            EXPECT_TRUE(flow.has_room());
            quantise(flow, 0, c, chunks_[c]);
            EXPECT_TRUE(flow.submit(0, c).ok());
        }
        for (int c = 0; c < 2; ++c)
            flow.used(flow.next_done(true).value());
        quantise(flow, 0, 2, chunks_[2]);
        EXPECT_TRUE(flow.submit(0, 2).ok());
        flow.used(flow.next_done(true).value());
    }
    EXPECT_EQ(counters_.device_lock.taken, 1U);
    EXPECT_EQ(counters_.device_lock.waits, 0U);
}

// Another process gets the NPU between chunks, and never while one of ours runs.
TEST_P(FlowTest, NobodyElseHasTheNpuWhileAChunkRuns) {
    open(1);
    const LockOfTest file;
    const DeviceLock& lock = file.use(*npu_, counters_.device_lock);
    std::atomic<bool> may_run{false};
    state_.before_run = [&] {
        while (!may_run)
            std::this_thread::yield();
    };
    LockCounters counters;
    const auto other = DeviceLock::open(file.path, counters).take();
    std::atomic<bool> stop{false};
    std::atomic<int> turns{0};
    std::atomic<int> overlaps{0};
    std::thread others([&] {
        while (!stop && other->acquire().ok()) {
            overlaps += state_.running;
            ++turns;
            other->release();
        }
    });
    {
        NpuFlow flow(npu_->resources(), std::chrono::milliseconds(0));
        add_groups(flow);
        ASSERT_TRUE(flow.begin(chunks_).ok());
        const auto submit = [&](size_t c) {
            quantise(flow, 0, c, chunks_[c]);
            EXPECT_TRUE(flow.submit(0, c).ok());
        };
        submit(0);
        while (state_.running == 0 || !lock.is_waited_for())
            std::this_thread::yield();
        EXPECT_FALSE(flow.has_room());
        submit(1);  // as if the turn had not been over when it was asked for room
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        may_run = true;
        for (int c = 0; c < 2; ++c)
            flow.used(flow.next_done(true).value());
        EXPECT_TRUE(flow.has_room());
        submit(2);
        flow.used(flow.next_done(true).value());
    }
    while (turns == 0)
        std::this_thread::yield();
    stop = true;
    others.join();
    EXPECT_EQ(overlaps, 0);
}

// Weights have taken all there is. Then some go.
TEST_P(FlowTest, WithoutMemoryItDoesNotBegin) {
    open(3, {OnError::kFail});
    state_.domain_bytes = 0;
    std::vector<Weight> filling;
    for (const size_t N : {size_t{1024}, size_t{64}, size_t{1}}) {
        auto packed = npu_->pack(Matrices(1, N, 1024, 1).source());
        for (; packed.ok(); packed = npu_->pack(Matrices(1, N, 1024, 1).source()))
            filling.push_back(packed.take());
    }
    EXPECT_GT(filling.size(), 2U);
    auto out = nothing();
    EXPECT_EQ(flow(out, 1).code(), StatusCode::kOutOfMemory);
    filling.clear();
    state_.domain_bytes = SIZE_MAX;  // what is left of slabs is no place for work areas
    const auto expected = one_by_one();
    out = nothing();
    ASSERT_TRUE(flow(out, 1).ok());
    EXPECT_EQ(out, expected);
}

INSTANTIATE_TEST_SUITE_P(Precisions, FlowTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced, Precision::kExact,
                                           Precision::kCompact),
                         [](const auto& test) { return std::string(precision_name(test.param)); });

TEST(Flow, IsNotForEverySetting) {
    Config config;
    EXPECT_TRUE(NpuFlow::possible(config));
    config.on_error = {OnError::kRetry, OnError::kCpu};
    EXPECT_FALSE(NpuFlow::possible(config));
    config.on_error = {};
    config.precision = Precision::kNaive;
    EXPECT_FALSE(NpuFlow::possible(config));
}

}  // namespace
}  // namespace rknpu2
