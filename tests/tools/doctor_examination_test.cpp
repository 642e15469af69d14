// SPDX-License-Identifier: MIT
// Runtimes that crash, hang or never let go: what was found before is kept, what was running is named, and
// the rest is looked at all the same.
#include <unistd.h>

#include <filesystem>

#include "examination_fixture.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

using namespace test;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST_F(DoctorExamination, FindsWhatOneProcessWouldFind) {
    Flaw flaw;
    flaw.spoil = [](NpuMemory& result) { result.data()[5] ^= std::byte{1}; };
    examine(flaw);
    flaw.largest_run = kLargestRun;
    FlawedRuntime runtime(flaw);
    std::vector<SelfTestResult> expected;
    for (const SelfTestCase& test : cases())
        expected.push_back(run_self_test(runtime, test));
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
    EXPECT_EQ(report_.measurements.speeds.size(), speed_shapes(true).size());
    EXPECT_GT(report_.measurements.bind_us, 0);
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
    EXPECT_FALSE(report_.measurements.speeds.empty());
    EXPECT_EQ(report_.measure_error, "");
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "opening the runtime"), 3);
}

TEST_F(DoctorExamination, ThreeCrashesEndIt) {
    Flaw flaw;
    flaw.before_run = [](const ContextSpec&) { die(); };
    examine(flaw);
    ASSERT_EQ(report_.self_test.size(), cases().size());
    EXPECT_EQ(count(StepState::kCrashed), 3U);
    EXPECT_EQ(count(StepState::kLeftOut), cases().size() - 3);
    EXPECT_THAT(report_.measurements.speeds, IsEmpty());
    EXPECT_THAT(report_.measure_error, StartsWith("left out after three"));
    EXPECT_EQ(count_readings(StepState::kLeftOut), probes().size());
}

TEST_F(DoctorExamination, ThreeTimeOutsEndIt) {
    Flaw flaw;
    flaw.run_status = Status(StatusCode::kTimeout, "no answer");
    examine(flaw);
    ASSERT_EQ(report_.self_test.size(), cases().size());
    for (size_t i = 0; i < cases().size(); ++i) {
        EXPECT_EQ(report_.self_test[i].state, i < 3 ? StepState::kTimedOut : StepState::kLeftOut) << i;
        EXPECT_EQ(check_of(report_.self_test[i]).health, i < 3 ? Health::kProblem : Health::kSkipped) << i;
        EXPECT_FALSE(report_.self_test[i].passed());
    }
    EXPECT_THAT(report_.measure_error, StartsWith("left out after three"));
    const std::vector<Check> checks = report_.checks();
    const auto speed = std::ranges::find(checks, "speed", &Check::id);
    ASSERT_NE(speed, checks.end());
    EXPECT_EQ(speed->health, Health::kSkipped) << "nothing was measured";
    EXPECT_EQ(count_readings(StepState::kLeftOut), probes().size());
}

TEST_F(DoctorExamination, AHangIsStopped) {
    examination_.patience = milliseconds(8000);
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        while (same(spec, cases()[1]))
            pause();
    };
    examine(flaw);
    EXPECT_EQ(count(StepState::kCrashed), 1U);
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
    EXPECT_EQ(count(StepState::kRan), cases().size());
    EXPECT_EQ(report_.measurements.speeds.size(), 2U);
    EXPECT_EQ(report_.measure_error,
              speed_text(shape) + ": the process with the runtime ended by signal 9 (Killed)");
    EXPECT_EQ(worst_of(report_.checks()), Health::kProblem);
    // The probes have their turn all the same.
    EXPECT_EQ(count_readings(StepState::kRan), tried_out());
}

// One shape that fails ends the measuring, and nothing else.
TEST_F(DoctorExamination, AFailureWhileMeasuring) {
    const SpeedShape shape = speed_shapes(true).back();
    Flaw flaw;
    flaw.misread = [shape](ContextSpec& spec) {
        if (spec.rows[0] == shape.M && spec.K == shape.K && spec.N == shape.N) spec.N = 0;  // is refused
    };
    examine(flaw);
    EXPECT_EQ(report_.measurements.speeds.size(), speed_shapes(true).size() - 1);
    EXPECT_THAT(report_.measure_error, StartsWith(speed_text(shape) + ": "));
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "binding activations"), 0);
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "opening the runtime"), 1);
    EXPECT_EQ(count_readings(StepState::kRan), tried_out());
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
    EXPECT_FALSE(report_.measurements.speeds.empty());
    EXPECT_EQ(count_readings(StepState::kCrashed), 1U);
    EXPECT_EQ(count_readings(StepState::kRan), tried_out() - 1);
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
    EXPECT_EQ(count_readings(StepState::kRan), tried_out() - 1);
}

// A probe that takes the board's patience three times: the rest is left out, and what was read stays.
TEST_F(DoctorExamination, ThreeCrashesWhileTryingOutEndIt) {
    Flaw flaw;
    flaw.before_run = [](const ContextSpec& spec) {
        if (spec.K == 1024 && spec.N == 64 && spec.rows[0] == 4) die();  // the trials of the cache
    };
    examine(flaw);
    EXPECT_EQ(count_readings(StepState::kCrashed), 3U);
    EXPECT_EQ(count_readings(StepState::kLeftOut), probes().size() - 3);
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
    EXPECT_EQ(count(StepState::kRan), cases().size());
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
    EXPECT_EQ(count(StepState::kCrashed), 1U);
    EXPECT_EQ(count(StepState::kLeftOut), cases().size() - 3);
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

}  // namespace
}  // namespace rknpu2
