// SPDX-License-Identifier: MIT
// All that rknpu2-doctor found, as text for a terminal and as the JSON file of a bug report (docs/doctor.md),
// which holds no names of users, hosts or files of theirs but the runtime's path and the root folder.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "config/config.hpp"
#include "doctor_reading.hpp"
#include "doctor_self_test.hpp"

namespace rknpu2 {

// After so many steps that cost the driver seconds or us a process the rest is left out.
inline constexpr int kStrikesToGiveUp = 3;
inline constexpr const char* kTooMuchWentWrong = "left out after three time-outs or crashes";

// What the process with the runtime has found so far, and what it is at.
struct Findings {
    enum class Next {
        kWork,
        kWait,  // for other programs that use the NPU
        kAsk,   // and waits for an answer before the step begins
        kEnd,   // all is told
    };

    Next next = Next::kWork;
    bool opened = false;        // the runtime, by this process
    std::string running;        // the step; empty in a finished report
    std::string runtime_error;  // empty when there is a runtime
    RuntimeInfo runtime;
    std::string lock_error;  // why the NPU was not used, though there is a runtime
    size_t done = 0;         // steps
    std::vector<SelfTestResult> self_test;
    Measurements measurements;  // what there is of them
    std::string measure_error;  // empty when all was measured, or when there was nothing to measure with
    StepState measure_state = StepState::kRan;  // of the step that measure_error is of
    std::vector<Reading> readings;              // of the probes, in their order

    // Time-outs and crashes.
    int strikes() const;
};

// Findings as a message of watched_process.hpp. Both ends are the same program, so there are no versions;
// numbers arrive with all their bits, NaN too.
std::string message_of(const Findings& findings);
void read_message(const std::string& message, Findings& findings);

struct DoctorReport : Findings {
    std::string when;  // UTC, ISO 8601
    bool quick = false;
    bool system_only = false;  // neither self-test nor measurements were asked for
    std::string root = "/";
    std::string board, kernel;     // as the device tree and the kernel call themselves; may be empty
    bool runtime_located = false;  // there was a library to open
    std::string bad_end;           // how the runtime's process ended, when badly, after all was done

    std::vector<Check> system;
    std::optional<Check> board_profile;  // what became of it

    // By the readings; none before there are all.
    std::optional<CoherencyVerdict> coherency() const;

    // Every line of the report, in order.
    std::vector<Check> checks() const;
};

// kProblem when any check is one, kWarning likewise, else kOk.
Health worst_of(const std::vector<Check>& checks);

std::string to_json(const DoctorReport& report);
std::string to_text(const DoctorReport& report);

// Where the board profile (src/runtime/board_profile.hpp) goes that comes of the readings; kUnsupported, and why, if it goes
// nowhere. `option`: a path, "none", or empty for the user's folder, which only answers of a board get, and only when
// all trials were made: a simulator's and those of --quick go where somebody says.
Result<std::string> board_profile_path(const std::string& option, const Config& config,
                                       const DoctorReport& report, const std::string& root = "");

// Writes it there, says so in report.board_profile, and what it replaced. A warning there, and the status,
// when it cannot be written. `root`: where the device tree is.
Status write_board_profile(const Result<std::string>& path, DoctorReport& report,
                           const std::string& root = "");

// The part of a check that uses the NPU, survived.
//
// On a board that nobody has tried, the vendor's library may crash, hang, or take the board with it. So each
// step is done in a process of its own, which says what it begins before it begins (watched_process.hpp).
// When that process ends, or gives no answer for a while and is killed, the step is known to be the reason,
// and another process goes on behind it. After three such ends and time-outs the rest is left out. `watch`
// may keep what is known so far in a file, for the case that the board itself does not come back.
//
// Each step takes its turn among the programs that use the NPU (GGML_RKNPU2_LOCK), as the plug-in does.
struct Examination {
    std::string library;                         // the runtime's path
    Config config;                               // for the lock
    std::chrono::milliseconds patience{120000};  // for one step, such as a case of the self-test
    std::function<Result<std::unique_ptr<NpuRuntime>>(const std::string& library)>
        open;  // open_rknn_runtime()
};

// Fills in what `report` knows of the runtime, results and times; report.quick and report.system_only say how
// much that is. `watch` is called before each step, with report.running naming it; it is empty in the end.
// Only in a process with one thread.
void examine_npu(const Examination& examination, DoctorReport& report, const std::function<void()>& watch);

}  // namespace rknpu2
