// SPDX-License-Identifier: MIT
#include "doctor_examination.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/device_lock.hpp"
#include "doctor_messages.hpp"
#include "runtime/locate.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

using Link = WatchedProcess::Link;

// Why a step has no turn; ends the process's work.
struct NoTurn {
    Status status;
};

// The turn of one step. Waiting for it is told, since it takes as long as others use the NPU.
class StepTurn {
  public:
    StepTurn(DeviceLock* lock, const Link& link) : lock_(lock), link_(link) {}

    void begin(const std::string& what) {
        end();
        if (lock_ != nullptr) link_.tell(message_of_waiting());
        Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(lock_);
        if (!turn.ok()) throw NoTurn{turn.status()};
        turn_ = turn.take();
        link_.ask(message_of_beginning(what));  // it begins once that is on the disk
    }
    void end() { turn_.end(); }

  private:
    DeviceLock* lock_;
    const Link& link_;
    DeviceLock::Turn turn_;
};

int strikes_of(const DoctorReport& report) {
    const auto strikes = [](const auto& results) {
        return std::count_if(results.begin(), results.end(), [](const auto& result) {
            return result.state == CaseState::kTimedOut || result.state == CaseState::kCrashed;
        });
    };
    return static_cast<int>(strikes(report.self_test) + strikes(report.readings)) +
           (report.measure_crashed ? 1 : 0);
}

// The strikes after it.
int test(const DoctorReport& report, NpuRuntime& runtime, StepTurn& turn, const Link& link) {
    SelfTestProgress tests;
    tests.first = report.self_test.size();
    tests.strikes = strikes_of(report);
    tests.begins = [&](const SelfTestCase& test) { turn.begin(case_text(test)); };
    tests.ended = [&](const SelfTestResult& result) {
        turn.end();
        link.tell(message_of_result(result));
    };
    return tests.strikes + strikes_in(run_self_tests(runtime, report.quick, tests));
}

void measure_all(const DoctorReport& report, NpuRuntime& runtime, const DoctorClock& clock, StepTurn& turn,
                 const Link& link) {
    MeasureProgress progress;
    progress.begins = [&](const std::string& what) { turn.begin(what); };
    progress.measured = [&](const Measurements& so_far) { link.tell(message_of_measurements(so_far)); };
    const Result<Measurements> measured = measure(runtime, clock, report.quick, progress);
    turn.end();
    link.tell(measured.ok() ? message_of_measurements(measured.value())
                            : message_of_no_measurements(measured.status().message()));
}

void try_out(const DoctorReport& report, ProbeBench bench, int strikes, StepTurn& turn, const Link& link) {
    for (size_t i = report.readings.size(); i < probes().size(); ++i) {
        const Probe& probe = probes()[i];
        const bool give_up = strikes >= kStrikesToGiveUp;
        const bool needs_npu = !give_up && (probe.quick || !bench.quick);
        if (needs_npu) turn.begin(std::string("trying out: ") + probe.title);
        const Reading reading = give_up ? not_tried(probe, kTooMuchWentWrong) : run_probe(probe, bench);
        turn.end();
        if (reading.state == CaseState::kTimedOut) ++strikes;
        link.tell(message_of_reading(reading));
    }
}

void look_at_all(const Examination& examination, const DoctorReport& report, NpuRuntime& runtime,
                 StepTurn& turn, const Link& link) {
    const int strikes = test(report, runtime, turn, link);
    if (strikes >= kStrikesToGiveUp) return link.tell(message_of_no_measurements(kTooMuchWentWrong));
    const DoctorClock clock(examination.library);
    if (!report.measure_ended) measure_all(report, runtime, clock, turn, link);
    link.tell(message_of_trying_out());
    try_out(report, {runtime, clock, report.quick}, strikes, turn, link);
}

// All that `report` does not have yet.
void use_runtime(const Examination& examination, const DoctorReport& report, NpuRuntime& runtime,
                 const Link& link) {
    link.tell(message_of_opened(runtime.info()));
    if (report.system_only) return;
    LockCounters counters;
    const auto lock =
        DeviceLock::open(examination.config, runtime.info().simulated, npu_device_nodes(), counters);
    if (!lock.ok()) return link.tell(message_of_no_lock(lock.status().message()));
    StepTurn turn(lock.value().get(), link);
    try {
        look_at_all(examination, report, runtime, turn, link);
    } catch (const NoTurn& none) {
        link.tell(message_of_no_lock(none.status.message()));
    }
}

// In the process with the runtime. The end is told before the runtime is closed, which may crash, too.
void examine(const Examination& examination, const DoctorReport& report, const Link& link) {
    const Result<std::unique_ptr<NpuRuntime>> opened = examination.open(examination.library);
    if (opened.ok()) {
        use_runtime(examination, report, *opened.value(), link);
    } else {
        link.tell(message_of_no_runtime(opened.status().message()));
    }
    link.tell(message_of_end());
}

// The doctor's side.
class Examiner {
  public:
    Examiner(const Examination& examination, DoctorReport& report, const std::function<void()>& watch)
        : examination_(examination),
          report_(report),
          watch_(watch),
          cases_(report.system_only ? std::vector<SelfTestCase>() : self_test_cases(report.quick)) {}

    void run() {
        report_.runtime_error = "it was being opened";
        while (run_process()) {
        }
        if (!report_.self_test.empty())
            leave_out_the_rest(report_.lock_error.empty() ? report_.measure_error : report_.lock_error);
        report_.running.clear();
    }

  private:
    // True if another process has to go on.
    bool run_process() {
        begin("opening the runtime");
        Told told;
        Result<WatchedProcess> process =
            WatchedProcess::start([&](const Link& link) { examine(examination_, report_, link); });
        if (!process.ok()) return bury(process.status().message(), true);
        while (const auto message = process.value().next(patience(told))) {
            const std::string before = report_.running;
            apply_message(*message, cases_, report_, told);
            opened_ = opened_ || told.opened;
            if (report_.running != before) watch_();
            if (told.asks) process.value().answer();
        }
        std::string ending = process.value().ending();
        if (!told.ended) {
            if (ending.empty()) ending = "ended early, with status 0";
            ending = "the process with the runtime " + ending;
            return told.opened || !opened_ ? bury(ending, process.value().stuck()) : give_up(ending);
        }
        report_.bad_end = ending;
        if (opened_ && !report_.runtime_error.empty())
            return give_up(std::exchange(report_.runtime_error, ""));
        return false;
    }

    // It could be opened once, and not again.
    bool give_up(const std::string& why) {
        leave_out_the_rest("left out, since the runtime could not be opened again: " + why);
        return false;
    }

    // What was running when a process ended too early is taken for the reason.
    bool bury(const std::string& why, bool is_last) {
        if (!opened_) {
            report_.runtime_error = why;
            return false;
        }
        bury_step(why);
        if (!is_last && strikes_of(report_) < kStrikesToGiveUp) return true;
        leave_out_the_rest(is_last ? "left out, since the device hangs" : kTooMuchWentWrong);
        return false;
    }

    void bury_step(const std::string& why) {
        if (report_.self_test.size() < cases_.size()) {
            SelfTestResult crashed;
            crashed.test = cases_[report_.self_test.size()];
            crashed.state = CaseState::kCrashed;
            crashed.error = why;
            report_.self_test.push_back(crashed);
        } else if (!report_.measure_ended) {
            report_.measure_error = report_.running + ": " + why;
            report_.measure_ended = report_.measure_crashed = true;
        } else if (report_.readings.size() < probes().size()) {
            report_.readings.push_back(crashed_probe(report_.readings.size(), why));
        } else {
            report_.bad_end = why;
        }
    }

    // `why` is the error of what has none yet.
    void leave_out_the_rest(const std::string& why) {
        while (report_.self_test.size() < cases_.size())
            report_.self_test.push_back(left_out(cases_[report_.self_test.size()], why));
        if (!report_.measure_ended && report_.measure_error.empty()) report_.measure_error = why;
        report_.measure_ended = true;
        while (report_.readings.size() < probes().size())
            report_.readings.push_back(not_tried(probes()[report_.readings.size()], why));
    }

    std::optional<std::chrono::milliseconds> patience(const Told& told) const {
        return told.waiting ? std::nullopt : std::optional(examination_.patience);
    }

    void begin(const std::string& what) {
        report_.running = what;
        watch_();
    }

    const Examination& examination_;
    DoctorReport& report_;
    const std::function<void()>& watch_;
    const std::vector<SelfTestCase> cases_;
    bool opened_ = false;
};

}  // namespace

void examine_npu(const Examination& examination, DoctorReport& report, const std::function<void()>& watch) {
    Examiner(examination, report, watch).run();
}

}  // namespace rknpu2
