// SPDX-License-Identifier: MIT
// An examination by --quick of a fake device, whose steps are noted.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "doctor_report.hpp"
#include "flawed_runtime.hpp"
#include "support/missing_path.hpp"

namespace rknpu2::test {

inline const std::vector<SelfTestCase>& cases() {
    static const std::vector<SelfTestCase> all = self_test_cases(true);
    return all;
}

// The fake device is slow, and what is measured need not be right.
inline constexpr size_t kLargestRun = 1 << 21;

// Probes that --quick tries.
inline size_t tried_out() {
    return static_cast<size_t>(
        std::count_if(probes().begin(), probes().end(), [](const Probe& probe) { return probe.quick; }));
}

inline void die() {
    raise(SIGKILL);  // not a signal that a sanitizer handles
}

inline bool same(const ContextSpec& spec, const SelfTestCase& test) {
    return spec.arithmetic == test.arithmetic && spec.K == test.K && spec.N == test.N &&
           spec.rows[0] == test.M && spec.ac_layout == test.ac_layout && spec.b_layout == test.b_layout &&
           spec.core == test.core && spec.domain == test.domain;
}

class DoctorExamination : public ::testing::Test {
  protected:
    DoctorExamination() {
        examination_.library = missing_path("none.so");
        examination_.config.lock = "none";
        report_.quick = true;
    }

    void examine(Flaw flaw = {}) {
        flaw.largest_run = kLargestRun;
        examination_.open = [flaw](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
            return std::unique_ptr<NpuRuntime>(std::make_unique<FlawedRuntime>(flaw));
        };
        examine_as_set();
    }
    void examine_as_set() {
        examine_npu(examination_, report_, [this] {
            steps_.push_back(report_.running);
            if (before_step_) before_step_();
            // What would be left if the board did not survive the step.
            EXPECT_EQ(report_.checks().back().id, "speed.unfinished");
            EXPECT_EQ(report_.checks().back().found, report_.running);
            EXPECT_THAT(to_json(report_), ::testing::HasSubstr("\"running\": \"" + report_.running + "\""));
        });
        EXPECT_EQ(report_.running, "");
    }

    size_t count(StepState state) const {
        return static_cast<size_t>(std::count_if(report_.self_test.begin(), report_.self_test.end(),
                                                 [&](const SelfTestResult& r) { return r.state == state; }));
    }

    size_t count_readings(StepState state) const {
        return static_cast<size_t>(std::count_if(report_.readings.begin(), report_.readings.end(),
                                                 [&](const Reading& r) { return r.state == state; }));
    }

    Examination examination_;
    DoctorReport report_;
    std::vector<std::string> steps_;
    std::function<void()> before_step_;
};

}  // namespace rknpu2::test
