// SPDX-License-Identifier: MIT
// Tells a process from the copies of itself that fork() makes.
//
// A forked child has its parent's memory and only the thread that called fork(). Our threads are not there,
// locks may be held by threads that are gone, and a descriptor of the NPU is the parent's. So whoever owns
// such things remembers the process, and touches nothing in a child.
#pragma once

#include <unistd.h>

namespace rknpu2 {

// Belongs to the process that made it. Thread safe; takes no lock, and may be asked right after a fork().
class OwnerProcess {
  public:
    bool is_this_one() const noexcept { return getpid() == pid_; }
    pid_t pid() const noexcept { return pid_; }

  private:
    const pid_t pid_ = getpid();
};

}  // namespace rknpu2
