// SPDX-License-Identifier: MIT
// Vendor libraries print to stdout, where our JSON goes: while one of these lives, stdout is stderr.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace rknpu2 {

class StdoutToStderr {
  public:
    StdoutToStderr() : saved_(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)) {
        std::fflush(stdout);
        if (saved_ >= 0) dup2(STDERR_FILENO, STDOUT_FILENO);
    }
    ~StdoutToStderr() {
        std::fflush(stdout);
        if (saved_ < 0) return;
        dup2(saved_, STDOUT_FILENO);
        close(saved_);
    }
    StdoutToStderr(const StdoutToStderr&) = delete;
    StdoutToStderr& operator=(const StdoutToStderr&) = delete;

  private:
    int saved_;
};

}  // namespace rknpu2
