// SPDX-License-Identifier: MIT
// How an examination ends, how it takes its turns, and what its two processes tell each other.
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "config/device_lock.hpp"
#include "examination_fixture.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

using namespace test;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Messages keep what JSON does not: no number, and bytes that are no text.
TEST_F(DoctorExamination, FindingsArriveAsTheyWereTold) {
    report_.running = "\xFF\x01";
    report_.next = Findings::Next::kAsk;
    report_.done = 7;
    SelfTestResult result;
    result.state = StepState::kRan;
    result.test = cases().back();
    result.wrong = 2;
    result.first = {1, 2, 0.1, std::nan("")};
    report_.self_test = {result};
    report_.measurements.speeds = {{speed_shapes(true)[1], 1.5, 1, 2}};
    report_.readings = {not_tried(probes()[0], {StepState::kTimedOut, "late"})};
    report_.readings[0].add_count("seen", 3, 4);
    Findings back;
    read_message(message_of(report_), back);
    EXPECT_EQ(back.running, report_.running);
    EXPECT_EQ(back.next, report_.next);
    EXPECT_EQ(back.done, 7U);
    ASSERT_EQ(back.self_test.size(), 1U);
    EXPECT_EQ(case_text(back.self_test[0].test), case_text(result.test));
    EXPECT_EQ(back.self_test[0].test.integers, result.test.integers);
    EXPECT_EQ(back.self_test[0].first.expected, 0.1);
    EXPECT_TRUE(std::isnan(back.self_test[0].first.got));
    EXPECT_EQ(back.measurements.speeds.at(0).shape, speed_shapes(true)[1]);
    EXPECT_EQ(back.readings[0].state, StepState::kTimedOut);
    EXPECT_EQ(back.readings[0].figures[0].of, 4);
}

TEST_F(DoctorExamination, ACrashAtTheEndIsAWarning) {
    examination_.open = [](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        std::atexit(die);
        Flaw flaw;
        flaw.largest_run = kLargestRun;
        return std::unique_ptr<NpuRuntime>(std::make_unique<FlawedRuntime>(flaw));
    };
    examine_as_set();
    EXPECT_EQ(count(StepState::kRan), cases().size());
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_EQ(report_.bad_end, "ended by signal 9 (Killed)");
    const std::vector<Check> checks = report_.checks();
    EXPECT_EQ(checks.back().health, Health::kWarning);
    EXPECT_THAT(checks.back().found, HasSubstr("ended by signal 9 (Killed)"));
}

// Nothing that was found is doubted because the runtime crashes while it is closed, whatever was asked for.
TEST_F(DoctorExamination, ACrashWhileClosingIsAWarning) {
    struct Dying final : NpuRuntime {
        ~Dying() override { die(); }
        const RuntimeInfo& info() const override { return inner.info(); }
        Result<std::unique_ptr<NpuContext>> create_context(const ContextSpec& spec) override {
            return inner.create_context(spec);
        }
        FlawedRuntime inner{[] {
            Flaw flaw;
            flaw.largest_run = kLargestRun;
            return flaw;
        }()};
    };
    examination_.open = [](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        return std::unique_ptr<NpuRuntime>(std::make_unique<Dying>());
    };
    for (const bool system_only : {false, true}) {
        report_ = {};
        report_.quick = true;
        report_.system_only = system_only;
        examine_as_set();
        EXPECT_EQ(count(StepState::kRan), system_only ? 0 : cases().size());
        EXPECT_EQ(report_.measurements.speeds.empty(), system_only);
        EXPECT_EQ(report_.measure_error, "");
        EXPECT_EQ(report_.bad_end, "ended by signal 9 (Killed)");
    }
}

// Somebody else has the NPU, for longer than a step may take: that is no silence.
TEST_F(DoctorExamination, TakesItsTurn) {
    examination_.patience = milliseconds(8000);
    examination_.config.lock = ::testing::TempDir() + "doctor-lock-" + std::to_string(getpid());
    Config config = examination_.config;
    Result<WatchedProcess> holder = WatchedProcess::start([&config](const WatchedProcess::Link& link) {
        LockCounters counters;
        const auto lock = DeviceLock::open(config, false, {}, counters);
        if (!lock.value()->acquire().ok()) std::_Exit(3);
        link.tell("mine");
        std::this_thread::sleep_for(milliseconds(9000));
    });
    ASSERT_TRUE(holder.ok());
    ASSERT_EQ(holder.value().next(milliseconds(60000)), "mine");
    const auto start = std::chrono::steady_clock::now();
    std::optional<std::chrono::steady_clock::time_point> first_case;
    before_step_ = [&] {
        if (!first_case && report_.running == case_text(cases()[0]))
            first_case = std::chrono::steady_clock::now();
    };
    examine();
    ASSERT_TRUE(first_case.has_value());
    EXPECT_GE(*first_case - start, milliseconds(8000)) << "it did not wait";
    EXPECT_THAT(steps_, ::testing::Contains("waiting for other programs that use the NPU"));
    EXPECT_EQ(count(StepState::kRan), cases().size());
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_FALSE(holder.value().next(milliseconds(60000)).has_value());
    EXPECT_EQ(holder.value().ending(), "");
    std::filesystem::remove(examination_.config.lock);
    std::filesystem::remove(examination_.config.lock + ".queue");
}

TEST_F(DoctorExamination, WithoutALockItTouchesNothing) {
    examination_.config.lock = missing_path("lock");
    examine();
    EXPECT_THAT(report_.lock_error, StartsWith("cannot lock the NPU: " + missing_path()));
    EXPECT_THAT(report_.self_test, IsEmpty());
    const std::vector<Check> checks = report_.checks();
    EXPECT_EQ(checks[0].id, "system.lock");
    EXPECT_EQ(checks[0].health, Health::kProblem);
    EXPECT_EQ(checks[1].found, "the NPU was not used");
}

}  // namespace
}  // namespace rknpu2
