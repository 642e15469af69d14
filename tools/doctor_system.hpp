// SPDX-License-Identifier: MIT
// What the system around the NPU is like: kernel and driver, device nodes, runtime library, clocks, memory.
//
// Each function looks below a RootFolder only, so that every answer can be tested. Where a file lies in the
// vendor's kernel is known from its users, not from a board of ours, so several places are tried and a file
// that is missing is never more than a warning by itself.
#pragma once

#include <compare>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "doctor_check.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// The machine's files below a folder: "/" on a board, a copy or a fake of its /proc, /sys, /dev and /etc in
// tests and when somebody else's board is looked at.
//
// Paths are written as on the machine ("/proc/meminfo"). Files of /proc and /sys tell no size, so they are
// read to their end; one that is missing or not readable is nullopt.
class RootFolder {
  public:
    // May this process read and write the file of that (real) path?
    using Usable = std::function<bool(const std::string& path)>;

    // `usable`: access(2) when empty, which knows of access lists but lets root do everything.
    explicit RootFolder(std::string root, Usable usable = {});

    const std::string& root() const { return root_; }

    std::optional<std::string> read(const std::string& path) const;
    // Without the newline, and what follows a NUL.
    std::optional<std::string> first_line(const std::string& path) const;
    std::optional<long long> number(const std::string& path) const;

    bool exists(const std::string& path) const;
    bool usable(const std::string& path) const { return usable_(real(path)); }
    // Names in a folder, sorted; none when there is no such folder.
    std::vector<std::string> list(const std::string& path) const;
    // The name of the group that a file belongs to, by /etc/group below the root; its number when that fails.
    std::string group_of(const std::string& path) const;
    // May that group read and write it?
    bool usable_by_group(const std::string& path) const;

  private:
    std::string real(const std::string& path) const { return root_ + path; }

    std::string root_;  // without a slash at the end
    Usable usable_;
};

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
