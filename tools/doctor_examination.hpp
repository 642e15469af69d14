// SPDX-License-Identifier: MIT
// The part of a check that uses the NPU, survived.
//
// On a board that nobody has tried, the vendor's library may crash, hang, or take the board with it. So each
// step is done in a process of its own, which says what it begins before it begins (watched_process.hpp).
// When that process ends, or gives no answer for a while and is killed, the step is known to be the reason,
// and another process goes on behind it. After three such ends and time-outs the rest is left out. `watch`
// may keep what is known so far in a file, for the case that the board itself does not come back.
//
// Each step takes its turn among the programs that use the NPU (GGML_RKNPU2_LOCK), as the plug-in does.
#pragma once

#include <chrono>
#include <memory>

#include "config/config.hpp"
#include "doctor_report.hpp"

namespace rknpu2 {

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
