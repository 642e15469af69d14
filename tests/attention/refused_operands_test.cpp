// SPDX-License-Identifier: MIT
// Attention where the runtime does not take operands.
#include <gtest/gtest.h>

#include <set>

#include "attention/heads.hpp"
#include "attention/npu_attention.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::FakeRuntime;
using testing::FakeState;
using testing::Heads;
using testing::HeadsShape;

class RefusedOperandsTest : public ::testing::Test {
  protected:
    static HeadsShape shape() {
        HeadsShape shape;
        shape.tokens = 5;
        shape.positions = 50;
        return shape;
    }

    Status attend(NpuResources& npu) {
        const std::lock_guard owns(npu.mutex);
        npu.begin_call();
        npu.get_lane();
        return NpuAttention(npu).run(heads_.problem(), 0, 0, [](size_t) { return Status(); });
    }

    test::Random random_;
    Heads heads_{shape(), random_};
    Config config_;
    Counters counters_;
};

// Before any run wants them.
TEST_F(RefusedOperandsTest, OperandsThatAreRefusedFailNoRun) {
    for (const StatusCode code : {StatusCode::kOutOfMemory, StatusCode::kDeviceError}) {
        FakeState state;
        NpuResources npu(std::make_unique<FakeRuntime>(state), config_, counters_, nullptr);
        state.refuses_imports = code;
        const Status status = attend(npu);
        EXPECT_EQ(status.code(), code == StatusCode::kOutOfMemory ? code : StatusCode::kUnsupported)
            << status.to_string();
        EXPECT_EQ(counters_.faults.failed_runs, 0U);
        EXPECT_EQ(state.runs, 0);
        state.refuses_imports = StatusCode::kOk;
        EXPECT_TRUE(attend(npu).ok());
    }
}

// However often they are tried, and whichever they are.
TEST_F(RefusedOperandsTest, KeysOrValuesThatAreRefusedFailNoRun) {
    config_.on_error = {OnError::kRetry, OnError::kFail};
    std::set<size_t> widths;  // of results
    for (size_t columns = 32; columns <= kAttentionBlock; columns += 32) {
        FakeState state;
        NpuResources npu(std::make_unique<FakeRuntime>(state), config_, counters_, nullptr);
        state.refuses_imports = StatusCode::kDeviceError;
        state.refused_columns = columns;
        const Status status = attend(npu);
        EXPECT_EQ(counters_.faults.failed_runs, 0U);
        if (status.ok()) continue;
        EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.to_string();
        widths.insert(columns);
    }
    EXPECT_EQ(widths.size(), 2U) << "keys and values";
}

}  // namespace
}  // namespace rknpu2
