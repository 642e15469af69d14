// SPDX-License-Identifier: MIT
#include "doctor_report.hpp"

#include "config/device_lock.hpp"
#include "runtime/locate.hpp"
#include "watched_process.hpp"

namespace rknpu2 {
namespace {

using Link = WatchedProcess::Link;
using Next = Findings::Next;

// What is done with the runtime, one after the other.
struct Step {
    std::string what;
    std::function<bool(const Findings&)> uses_npu;
    std::function<void(Bench&, Findings&)> run;           // notes its result, also a failure
    std::function<void(Findings&, const Outcome&)> note;  // that there is no result, and why
};

// When one shape fails, the other ones are not measured.
Step measuring(const std::string& what, const std::function<Status(Bench&, Measurements&)>& work) {
    return {what, [](const Findings& found) { return found.measure_error.empty(); },
            [what, work](Bench& bench, Findings& found) {
                if (!found.measure_error.empty()) return;
                const Status status = work(bench, found.measurements);
                if (status.ok()) return;
                found.measure_error = what + ": " + status.message();
                found.measure_state = outcome_of(status).state;
            },
            [what](Findings& found, const Outcome& outcome) {
                if (!found.measure_error.empty()) return;
                found.measure_state = outcome.state;
                found.measure_error =
                    (outcome.state == StepState::kCrashed ? what + ": " : "") + outcome.error;
            }};
}

std::vector<Step> steps_of(bool quick) {
    const auto always = [](const Findings&) { return true; };
    std::vector<Step> steps;
    for (const SelfTestCase& test : self_test_cases(quick)) {
        steps.push_back({case_text(test), always,
                         [test](Bench& bench, Findings& found) {
                             found.self_test.push_back(run_self_test(bench.runtime, test));
                         },
                         [test](Findings& found, const Outcome& outcome) {
                             found.self_test.push_back({outcome, test});
                         }});
    }
    for (const SpeedShape& shape : speed_shapes(quick)) {
        steps.push_back(measuring(speed_text(shape), [shape](Bench& bench, Measurements& all) {
            return measure(bench, shape, all);
        }));
    }
    steps.push_back(measuring("binding activations", measure_bind));
    for (const Probe& probe : probes()) {
        steps.push_back(
            {std::string("trying out: ") + probe.title,
             [&probe, quick](const Findings&) { return probe.quick || !quick; },
             [&probe](Bench& bench, Findings& found) { found.readings.push_back(run_probe(probe, bench)); },
             [&probe](Findings& found, const Outcome& outcome) {
                 found.readings.push_back(not_tried(probe, outcome));
             }});
    }
    return steps;
}

// Begins a turn of the NPU for the step. Waiting for it is told, since it takes as long as others use the
// NPU; and the step begins once its name is on the disk.
Result<DeviceLock::Turn> begin(const Step& step, DeviceLock* lock, const Link& link, Findings& found) {
    if (lock != nullptr) {
        found.next = Next::kWait;
        found.running = "waiting for other programs that use the NPU";
        link.tell(message_of(found));
    }
    Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(lock);
    if (!turn.ok()) return turn;
    found.next = Next::kAsk;
    found.running = step.what;
    link.ask(message_of(found));
    found.next = Next::kWork;
    return turn;
}

// All steps that are not done. An error when the NPU cannot be had.
Status run_steps(Bench bench, DeviceLock* lock, const Link& link, Findings& found) {
    const std::vector<Step> steps = steps_of(bench.quick);
    while (found.done < steps.size()) {
        const Step& step = steps[found.done];
        if (found.strikes() >= kStrikesToGiveUp) {
            step.note(found, {StepState::kLeftOut, kTooMuchWentWrong});
        } else if (step.uses_npu(found)) {
            const DeviceLock::Turn turn = RKNPU2_TAKE(begin(step, lock, link, found));
            step.run(bench, found);
        } else {
            step.run(bench, found);
        }
        ++found.done;
        link.tell(message_of(found));
    }
    return {};
}

Status use_runtime(const Examination& examination, NpuRuntime& runtime, const Link& link,
                   DoctorReport& report) {
    report.opened = true;
    report.runtime = runtime.info();
    report.runtime_error.clear();
    link.tell(message_of(report));
    if (report.system_only) return {};
    LockCounters counters;
    const auto lock = RKNPU2_TAKE(
        DeviceLock::open(examination.config, runtime.info().simulated, npu_device_nodes(), counters));
    const RuntimeClock clock(examination.library);
    return run_steps({runtime, clock, report.quick}, lock.get(), link, report);
}

// In the process with the runtime. The end is told before the runtime is closed, which may crash, too.
void examine(const Examination& examination, const Link& link, DoctorReport& report) {
    const Result<std::unique_ptr<NpuRuntime>> opened = examination.open(examination.library);
    if (opened.ok()) {
        report.lock_error = use_runtime(examination, *opened.value(), link, report).message();
    } else {
        report.runtime_error = opened.status().message();
    }
    report.next = Next::kEnd;
    report.running = "closing the runtime";
    link.tell(message_of(report));
}

// The doctor's side.
class Examiner {
  public:
    Examiner(const Examination& examination, DoctorReport& report, const std::function<void()>& watch)
        : examination_(examination),
          report_(report),
          watch_(watch),
          steps_(report.system_only ? std::vector<Step>() : steps_of(report.quick)) {}

    void run() {
        report_.runtime_error = "it was being opened";
        while (run_process()) {
        }
        if (report_.done > 0) leave_out_the_rest(report_.lock_error);
        report_.running.clear();
    }

  private:
    // True if another process has to go on.
    bool run_process() {
        report_.opened = false;
        report_.next = Next::kWork;
        report_.running = "opening the runtime";
        watch_();
        Result<WatchedProcess> started =
            WatchedProcess::start([&](const Link& link) { examine(examination_, link, report_); });
        if (!started.ok()) return bury(started.status().message(), true);
        WatchedProcess& process = started.value();
        while (const auto message = process.next(patience())) {
            const std::string before = report_.running;
            read_message(*message, report_);
            opened_once_ = opened_once_ || report_.opened;
            if (report_.running != before) watch_();
            if (report_.next == Next::kAsk) process.answer();
        }
        if (report_.next == Next::kEnd) {
            report_.bad_end = process.ending();
            return opened_once_ && !report_.opened && give_up(std::exchange(report_.runtime_error, ""));
        }
        const std::string ending = process.ending().empty() ? "ended early, with status 0" : process.ending();
        if (report_.opened && report_.done == steps_.size()) {
            report_.bad_end = ending;
            return false;
        }
        const std::string why = "the process with the runtime " + ending;
        return report_.opened || !opened_once_ ? bury(why, process.stuck()) : give_up(why);
    }

    // It could be opened once, and not again.
    bool give_up(const std::string& why) {
        leave_out_the_rest("left out, since the runtime could not be opened again: " + why);
        return false;
    }

    // What was running when a process ended too early is taken for the reason.
    bool bury(const std::string& why, bool is_last) {
        if (!opened_once_) {
            report_.runtime_error = why;
            return false;
        }
        steps_[report_.done++].note(report_, {StepState::kCrashed, why});
        if (!is_last && report_.strikes() < kStrikesToGiveUp) return true;
        leave_out_the_rest(is_last ? "left out, since the device hangs" : kTooMuchWentWrong);
        return false;
    }

    void leave_out_the_rest(const std::string& why) {
        while (report_.done < steps_.size())
            steps_[report_.done++].note(report_, {StepState::kLeftOut, why});
    }

    std::optional<std::chrono::milliseconds> patience() const {
        return report_.next == Next::kWait ? std::nullopt : std::optional(examination_.patience);
    }

    const Examination& examination_;
    DoctorReport& report_;
    const std::function<void()>& watch_;
    const std::vector<Step> steps_;
    bool opened_once_ = false;
};

}  // namespace

void examine_npu(const Examination& examination, DoctorReport& report, const std::function<void()>& watch) {
    Examiner(examination, report, watch).run();
}

}  // namespace rknpu2
