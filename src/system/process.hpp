// SPDX-License-Identifier: MIT
// This process: how it tells itself from the copies that fork() makes, and how many files it may have open.
//
// A forked child has its parent's memory and only the thread that called fork(). Our threads are not there,
// locks may be held by threads that are gone, and a descriptor of the NPU is the parent's. So whoever owns
// such things remembers the process, and touches nothing in a child.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace rknpu2 {

// Belongs to the process that made it. Thread safe; takes no lock, and may be asked right after a fork().
class OwnerProcess {
  public:
    bool is_this_one() const noexcept { return getpid() == pid_; }
    pid_t pid() const noexcept { return pid_; }

  private:
    const pid_t pid_ = getpid();
};

// The soft limit of open files (RLIMIT_NOFILE, `ulimit -n`); 0: unknown.
uint64_t descriptor_limit();

// Descriptors between the lowest free one and the limit, so at least as many as can still be opened; two
// system calls. UINT64_MAX: unknown.
uint64_t descriptors_left();

}  // namespace rknpu2
