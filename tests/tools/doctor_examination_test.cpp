// SPDX-License-Identifier: MIT
// Runtimes that crash, hang or never let go: what was found before is kept, what was running is named, and
// the rest is looked at all the same.
#include "doctor_examination.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "config/device_lock.hpp"
#include "flawed_runtime.hpp"
#include "support/missing_path.hpp"
#include "system/file.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

using std::chrono::milliseconds;
using test::Flaw;
using test::FlawedRuntime;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::vector<SelfTestCase>& cases() {
    static const std::vector<SelfTestCase> all = self_test_cases(true);
    return all;
}

// The fake device is slow, and what is measured need not be right.
constexpr size_t kLargestRun = 1 << 21;

// Probes that --quick tries.
size_t tried_out() {
    return static_cast<size_t>(
        std::count_if(probes().begin(), probes().end(), [](const Probe& probe) { return probe.quick; }));
}

void die() {
    raise(SIGKILL);  // not a signal that a sanitizer handles
}

bool same(const ContextSpec& spec, const SelfTestCase& test) {
    return spec.arithmetic == test.arithmetic && spec.K == test.K && spec.N == test.N &&
           spec.rows[0] == test.M && spec.ac_layout == test.ac_layout && spec.b_layout == test.b_layout &&
           spec.core == test.core && spec.domain == test.domain;
}

class DoctorExamination : public ::testing::Test {
  protected:
    DoctorExamination() {
        examination_.library = test::missing_path("none.so");
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
            EXPECT_THAT(to_json(report_), HasSubstr("\"running\": \"" + report_.running + "\""));
        });
        EXPECT_EQ(report_.running, "");
    }

    size_t count(CaseState state) const {
        return static_cast<size_t>(std::count_if(report_.self_test.begin(), report_.self_test.end(),
                                                 [&](const SelfTestResult& r) { return r.state == state; }));
    }

    size_t count_readings(CaseState state) const {
        return static_cast<size_t>(std::count_if(report_.readings.begin(), report_.readings.end(),
                                                 [&](const Reading& r) { return r.state == state; }));
    }

    Examination examination_;
    DoctorReport report_;
    std::vector<std::string> steps_;
    std::function<void()> before_step_;
};

TEST_F(DoctorExamination, FindsWhatOneProcessWouldFind) {
    Flaw flaw;
    flaw.spoil = [](NpuMemory& result) { result.data()[5] ^= std::byte{1}; };
    examine(flaw);
    flaw.largest_run = kLargestRun;
    FlawedRuntime runtime(flaw);
    const std::vector<SelfTestResult> expected = run_self_tests(runtime, true);
    ASSERT_EQ(report_.self_test.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
        const Check found = check_of(report_.self_test[i]);
        EXPECT_EQ(found.title, check_of(expected[i]).title);
        EXPECT_EQ(found.found, check_of(expected[i]).found);
        EXPECT_EQ(report_.self_test[i].as_simulator, expected[i].as_simulator);
    }
    EXPECT_GT(std::count_if(expected.begin(), expected.end(), [](const auto& r) { return !r.passed(); }), 0);
    EXPECT_EQ(report_.runtime_error, "");
    EXPECT_EQ(report_.runtime.library, runtime.info().library);
    ASSERT_TRUE(report_.measurements.has_value());
    EXPECT_EQ(report_.measurements->speeds.size(), speed_shapes(true).size());
    EXPECT_GT(report_.measurements->bind_us, 0);
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_EQ(report_.bad_end, "");
    // Opening, each case, each shape, binding, each probe, closing; each named before it began.
    const size_t measured = 1 + cases().size() + speed_shapes(true).size();
    ASSERT_EQ(steps_.size(), measured + 1 + tried_out() + 1);
    EXPECT_EQ(steps_[0], "opening the runtime");
    EXPECT_EQ(steps_[1], case_text(cases()[0]));
    EXPECT_EQ(steps_[measured], "binding activations");
    EXPECT_EQ(steps_[measured + 1], std::string("trying out: ") + probes()[0].title);
    EXPECT_EQ(steps_.back(), "closing the runtime");
    EXPECT_EQ(report_.readings.size(), probes().size());
}

TEST_F(DoctorExamination, ACrashCostsOneCase) {
    constexpr size_t kSecond = 7;
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        if (same(spec, cases()[2]) || same(spec, cases()[kSecond])) die();
    };
    examine(flaw);
    ASSERT_EQ(report_.self_test.size(), cases().size());
    for (size_t i = 0; i < cases().size(); ++i) {
        const bool crashed = i == 2 || i == kSecond;
        EXPECT_EQ(report_.self_test[i].ran(), !crashed) << case_text(cases()[i]);
        if (!crashed) continue;
        const Check check = check_of(report_.self_test[i]);
        EXPECT_EQ(check.health, Health::kProblem);
        EXPECT_THAT(check.found, HasSubstr("the process with the runtime ended by signal 9 (Killed)"));
        EXPECT_THAT(check.advice, HasSubstr("report it"));
    }
    EXPECT_TRUE(report_.measurements.has_value());
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "opening the runtime"), 3);
}

TEST_F(DoctorExamination, ThreeCrashesEndIt) {
    Flaw flaw;
    flaw.before_run = [](const ContextSpec&) { die(); };
    examine(flaw);
    ASSERT_EQ(report_.self_test.size(), cases().size());
    EXPECT_EQ(count(CaseState::kCrashed), 3U);
    EXPECT_EQ(count(CaseState::kLeftOut), cases().size() - 3);
    EXPECT_FALSE(report_.measurements.has_value());
    EXPECT_THAT(report_.measure_error, StartsWith("left out after three"));
    EXPECT_EQ(count_readings(CaseState::kLeftOut), probes().size());
}

TEST_F(DoctorExamination, AHangIsStopped) {
    examination_.patience = milliseconds(8000);
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        while (same(spec, cases()[1]))
            pause();
    };
    examine(flaw);
    EXPECT_EQ(count(CaseState::kCrashed), 1U);
    EXPECT_THAT(report_.self_test[1].error, HasSubstr("gave no answer for 8 s and was stopped"));
    EXPECT_TRUE(report_.self_test.back().passed());
    EXPECT_EQ(report_.measure_error, "");
}

// What was measured before it is kept, but makes no profile.
TEST_F(DoctorExamination, ACrashWhileMeasuring) {
    const SpeedShape shape = speed_shapes(true)[2];
    Flaw flaw;
    flaw.before_run = [shape](const ContextSpec& spec) {
        if (spec.arithmetic == shape.arithmetic && spec.rows[0] == shape.M && spec.K == shape.K &&
            spec.N == shape.N)
            die();
    };
    examine(flaw);
    EXPECT_EQ(count(CaseState::kRan), cases().size());
    ASSERT_TRUE(report_.measurements.has_value());
    EXPECT_EQ(report_.measurements->speeds.size(), 2U);
    EXPECT_EQ(report_.measure_error,
              speed_text(shape) + ": the process with the runtime ended by signal 9 (Killed)");
    EXPECT_EQ(worst_of(report_.checks()), Health::kProblem);
    // The probes have their turn all the same.
    EXPECT_EQ(count_readings(CaseState::kRan), tried_out());
}

// The context of a probe that is told from all others by its shape.
bool is_many_rows(const ContextSpec& spec) {
    return spec.rows == std::vector<size_t>{31} && spec.K == 64 && spec.N == 64;
}

TEST_F(DoctorExamination, ACrashWhileTryingOutIsAReading) {
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        if (is_many_rows(spec)) die();
    };
    examine(flaw);
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_TRUE(report_.measurements.has_value());
    EXPECT_EQ(count_readings(CaseState::kCrashed), 1U);
    EXPECT_EQ(count_readings(CaseState::kRan), tried_out() - 1);
    const Reading* const crashed = find_reading(report_.readings, "m-2048");
    ASSERT_NE(crashed, nullptr);
    EXPECT_EQ(crashed->error, "the process with the runtime ended by signal 9 (Killed)");
    EXPECT_EQ(check_of(*crashed).health, Health::kWarning);
    EXPECT_THAT(check_of(*crashed).advice, HasSubstr("ends with it"));
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "opening the runtime"), 2);
}

TEST_F(DoctorExamination, AHangWhileTryingOutIsAReading) {
    examination_.patience = milliseconds(8000);
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        while (is_many_rows(spec))
            pause();
    };
    examine(flaw);
    const Reading* const hung = find_reading(report_.readings, "m-2048");
    ASSERT_NE(hung, nullptr);
    EXPECT_THAT(hung->error, HasSubstr("gave no answer for 8 s and was stopped"));
    EXPECT_EQ(count_readings(CaseState::kRan), tried_out() - 1);
}

// A probe that takes the board's patience three times: the rest is left out, and what was read stays.
TEST_F(DoctorExamination, ThreeCrashesWhileTryingOutEndIt) {
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        if (spec.K == 1024 && spec.N == 64 && spec.rows[0] == 4) die();  // the trials of the cache
    };
    examine(flaw);
    EXPECT_EQ(count_readings(CaseState::kCrashed), 3U);
    EXPECT_EQ(count_readings(CaseState::kLeftOut), probes().size() - 3);
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_EQ(report_.readings.back().error, "left out after three time-outs or crashes");
    ASSERT_TRUE(report_.coherency().has_value());
    EXPECT_EQ(report_.coherency()->chosen, "owner") << "the safe one, when nothing could be tried";
    EXPECT_FALSE(report_.coherency()->owner.right);
    EXPECT_EQ(check_of(*report_.coherency()).health, Health::kWarning);
}

// A board may freeze in a run's first microsecond: what has begun is known before it begins.
TEST_F(DoctorExamination, EachStepIsNamedBeforeItBegins) {
    const std::string named = ::testing::TempDir() + "doctor-step-" + std::to_string(getpid());
    before_step_ = [&] { ASSERT_TRUE(write_file_atomically(named, report_.running).ok()); };
    Flaw flaw;
    flaw.before_run = [&named](const ContextSpec& spec) {
        const std::string text = read_regular_file(named, 1000).value();
        const std::string shape =
            std::to_string(spec.rows[0]) + "x" + std::to_string(spec.K) + "x" + std::to_string(spec.N);
        const bool several_shapes = text == "binding activations" || text.starts_with("trying out: ");
        if (text.find(shape) == std::string::npos && !several_shapes) die();
    };
    examine(flaw);
    EXPECT_EQ(count(CaseState::kRan), cases().size());
    EXPECT_EQ(report_.measure_error, "");
    unlink(named.c_str());
}

TEST_F(DoctorExamination, ARuntimeThatCannotBeOpenedAgain) {
    const std::string mark = ::testing::TempDir() + "doctor-mark-" + std::to_string(getpid());
    examination_.open = [mark](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        if (std::filesystem::exists(mark)) die();
        EXPECT_TRUE(write_file_atomically(mark, "").ok());
        Flaw flaw;
        flaw.before_run = [](const ContextSpec& spec) {
            if (same(spec, cases()[2])) die();
        };
        return std::unique_ptr<NpuRuntime>(std::make_unique<FlawedRuntime>(flaw));
    };
    examine_as_set();
    EXPECT_EQ(count(CaseState::kCrashed), 1U);
    EXPECT_EQ(count(CaseState::kLeftOut), cases().size() - 3);
    EXPECT_THAT(report_.self_test.back().error, HasSubstr("could not be opened again"));
    EXPECT_THAT(report_.measure_error,
                HasSubstr("could not be opened again: the process with the runtime ended by"));
    unlink(mark.c_str());
}

TEST_F(DoctorExamination, ARuntimeThatCannotBeOpened) {
    examination_.open = [](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        return Status(StatusCode::kDeviceUnavailable, "there is none");
    };
    examine_as_set();
    EXPECT_EQ(report_.runtime_error, "there is none");
    EXPECT_THAT(report_.self_test, IsEmpty());

    examination_.open = [](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        die();
        return Status();
    };
    report_ = {};
    examine_as_set();
    EXPECT_EQ(report_.runtime_error, "the process with the runtime ended by signal 9 (Killed)");
    EXPECT_THAT(report_.self_test, IsEmpty());
}

TEST_F(DoctorExamination, ACrashAtTheEndIsAWarning) {
    examination_.open = [](const std::string&) -> Result<std::unique_ptr<NpuRuntime>> {
        std::atexit(die);
        Flaw flaw;
        flaw.largest_run = kLargestRun;
        return std::unique_ptr<NpuRuntime>(std::make_unique<FlawedRuntime>(flaw));
    };
    examine_as_set();
    EXPECT_EQ(count(CaseState::kRan), cases().size());
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
        EXPECT_EQ(count(CaseState::kRan), system_only ? 0 : cases().size());
        EXPECT_EQ(report_.measurements.has_value(), !system_only);
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
    EXPECT_EQ(count(CaseState::kRan), cases().size());
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_FALSE(holder.value().next(milliseconds(60000)).has_value());
    EXPECT_EQ(holder.value().ending(), "");
    std::filesystem::remove(examination_.config.lock);
    std::filesystem::remove(examination_.config.lock + ".queue");
}

TEST_F(DoctorExamination, WithoutALockItTouchesNothing) {
    examination_.config.lock = test::missing_path("lock");
    examine();
    EXPECT_THAT(report_.lock_error, StartsWith("cannot lock the NPU: " + test::missing_path()));
    EXPECT_THAT(report_.self_test, IsEmpty());
    const std::vector<Check> checks = report_.checks();
    EXPECT_EQ(checks[0].id, "system.lock");
    EXPECT_EQ(checks[0].health, Health::kProblem);
    EXPECT_EQ(checks[1].found, "the NPU was not used");
}

}  // namespace
}  // namespace rknpu2
