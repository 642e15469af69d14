// SPDX-License-Identifier: MIT
// Tells a process from the copies of itself that fork() makes.
//
// A forked child has the memory of its parent and only the thread that called fork(): threads of ours are not
// there to do anything, locks may be held by threads that are gone, and a descriptor of the NPU is the
// parent's. So whoever owns such things remembers whose they are, and touches nothing in a child.
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
