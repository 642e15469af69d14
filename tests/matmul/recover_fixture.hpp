// SPDX-License-Identifier: MIT
// Multiplications on a device that fails, by a setting of what is done then.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2::testing {

// Multiplies by one or two weights of N columns.
class RecoverFixture : public ::testing::Test {
  protected:
    void SetUp() override {
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
        state_.spoils_results = true;
    }
    void TearDown() override { set_log_sink({}); }

    using Steps = std::vector<OnError>;

    void open(Steps steps, int cores, Precision precision = Precision::kBalanced) {
        npu_ = new_device(state_, counters_, precision, cores, std::move(steps));
    }

    // Runs from `first` on (0: the next one) fail, `count` of them.
    void fail_runs(int first, int count) {
        state_.failing_runs = count;
        state_.runs_until_failure = first;
    }

    // Filled with what no product gives, so that an element that is not written shows.
    static std::vector<float> nothing(const Matrices& x) { return std::vector<float>(x.M * x.N, 1e30F); }

    std::vector<float> multiply(const PackedWeight& weight, const Matrices& x) {
        std::vector<float> out = nothing(x);
        status_ = npu_->multiply(weight, {x.a.data(), x.M, 0}, out.data());
        return out;
    }

    // failed_runs, failed, retried, reset, by_cpu, given_up
    std::array<uint64_t, 6> faults() const {
        const FaultCounters& f = counters_.faults;
        return {f.failed_runs, f.failed, f.retried, f.reset, f.by_cpu, f.given_up};
    }
    using Counts = std::array<uint64_t, 6>;

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
    std::vector<std::string> lines_;
    Status status_;
};

}  // namespace rknpu2::testing
