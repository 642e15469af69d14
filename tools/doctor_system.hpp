// SPDX-License-Identifier: MIT
// What the system around the NPU is like: kernel and driver, device nodes, runtime library, clocks, memory.
//
// Each function looks below a RootFolder only, so that every answer can be tested. Where a file lies in the
// vendor's kernel is known from its users, not from a board of ours, so several places are tried and a file
// that is missing is never more than a warning by itself.
#pragma once

#include <compare>

#include "doctor_check.hpp"
#include "doctor_root.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

struct Version {
    int major = 0, minor = 0, patch = 0;
    auto operator<=>(const Version&) const = default;
};

// The first "a.b.c" in a text such as "RKNPU driver: v0.9.8" or "2.3.2 (429f97ae6b@2025-04-09)".
std::optional<Version> find_version(const std::string& text);

// By the device tree. False on a PC.
bool is_rk3588(const RootFolder& root);

// For the head of a report: "Radxa ROCK 5B", "6.1.43-rk2312"; empty when unknown.
std::string board_model(const RootFolder& root);
std::string kernel_release(const RootFolder& root);

// What only a board has: the chip, kernel, driver, device nodes, clocks of CPU, memory and NPU.
// `runtime_driver`: the driver's version as the runtime tells it, for where the kernel does not; or empty.
std::vector<Check> check_board(const RootFolder& root, const std::string& runtime_driver);

// What every machine has: memory and the limit of open files.
std::vector<Check> check_host(const RootFolder& root);

// `error`: why there is none, in which case `info` is not looked at; empty when it answers. `located`: there
// was a library to open.
Check check_runtime(const RuntimeInfo& info, const std::string& error, bool located);

}  // namespace rknpu2
