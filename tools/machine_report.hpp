// SPDX-License-Identifier: MIT
// What this machine offers the plug-in: runtime, device nodes, NPU cores, memory, CPU threads, settings.
//
// look_at_machine() does what the plug-in does when it is loaded: it resolves GGML_RKNPU2_RUNTIME with the
// same locate_runtime() and opens the library with the same open_rknn_runtime(). That no runtime can be
// opened is an answer, not a failure: the reason stands in `runtime_error`.
#pragma once

#include <fcntl.h>
#include <unistd.h>
#include <cstdio>
#include <string>

#include "config/config.hpp"
#include "runtime/npu_runtime.hpp"
#include "runtime/rates_choice.hpp"
#include "system/file.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {

struct MachineReport {
    Config config;
    std::string runtime_path;   // what was or would be opened; empty if not even that is known
    std::string runtime_error;  // empty if the runtime answers
    RuntimeInfo runtime;        // valid if runtime_error is empty
    RatesChoice rates;          // as a model that is used next would find them; likewise
    SystemMemory memory;
};

// `own_directory` plays the part of the plug-in's directory.
MachineReport look_at_machine(const Config& config, const std::string& own_directory);

std::string to_json(const MachineReport& report);
std::string to_text(const MachineReport& report);

// Vendor libraries print to stdout, where our JSON goes: while one of these lives, stdout is stderr.
class StdoutToStderr {
  public:
    StdoutToStderr() : saved_(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)) {
        std::fflush(stdout);
        if (saved_.is_open()) dup2(STDERR_FILENO, STDOUT_FILENO);
    }
    ~StdoutToStderr() {
        std::fflush(stdout);
        if (saved_.is_open()) dup2(saved_.number(), STDOUT_FILENO);
    }
    StdoutToStderr(const StdoutToStderr&) = delete;
    StdoutToStderr& operator=(const StdoutToStderr&) = delete;

  private:
    const FileDescriptor saved_;
};

}  // namespace rknpu2
