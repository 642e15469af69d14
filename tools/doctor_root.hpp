// SPDX-License-Identifier: MIT
// The machine's files below a folder: "/" on a board, a copy or a fake of its /proc, /sys, /dev and /etc in
// tests and when somebody else's board is looked at.
//
// Paths are written as on the machine ("/proc/meminfo"). Files of /proc and /sys tell no size, so they are
// read to their end; one that is missing or not readable is nullopt.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace rknpu2 {

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
    // The last part of what a symbolic link points to, in lower case; empty when it is none.
    std::string link_name(const std::string& path) const;
    // The name of the group that a file belongs to, by /etc/group below the root; its number when that fails.
    std::string group_of(const std::string& path) const;
    // May that group read and write it?
    bool usable_by_group(const std::string& path) const;

  private:
    std::string real(const std::string& path) const { return root_ + path; }

    std::string root_;  // without a slash at the end
    Usable usable_;
};

}  // namespace rknpu2
