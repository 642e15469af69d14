// SPDX-License-Identifier: MIT
// Vendor libraries print to stdout, where our JSON goes: while one of these lives, stdout is stderr.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "system/file.hpp"

namespace rknpu2 {

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
