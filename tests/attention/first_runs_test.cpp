// SPDX-License-Identifier: MIT
// Runs of attention go before those of a flow.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "matmul/npu_resources.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::FakeRuntime;
using testing::FakeState;

// The core's second run waits until the job that goes first is done, or five seconds.
TEST(NpuLaneTest, RunsThatGoFirstGoBetweenThoseOfAnotherJob) {
    Config config;
    config.cores = 3;
    config.threads = 2;
    Counters counters;
    FakeState state;
    NpuResources npu(std::make_unique<FakeRuntime>(state), config, counters, nullptr);
    const std::lock_guard owns(npu.mutex);
    npu.begin_call();
    NpuLane& lane = npu.get_lane();
    const auto bound = [&](size_t index) {
        CachedContext* const context = npu.contexts.get({NpuArithmetic::kFloat16, 32, 32, 0, 0}).value();
        const Slice memory = npu.areas.activations(0, index, 4096).value();
        BoundRun run{context, 0, 0, {}, {}, {}, {memory.data(), 1}};
        run.activations = context->view(Operand::kActivations, 0, memory, memory.bytes).value();
        run.weights = context->view(Operand::kWeights, 0, memory, memory.bytes).value();
        run.result =
            context->view(Operand::kResult, 0, npu.areas.result(0, index, 4096).value(), 4096).value();
        return run;
    };
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
    const auto wait_until = [](const std::atomic<bool>& flag) {
        for (int i = 0; i < 5000 && !flag; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    state.before_run = [&] {
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

}  // namespace
}  // namespace rknpu2
