// SPDX-License-Identifier: MIT
// Which process this is, and whether it has called the simulator: a forked child has everything of its
// parent's, and answers for nothing that it did not make.
#pragma once

#include <sys/types.h>

namespace rknnsim {

// As getpid(), without a system call. A child made by fork() gets its own; one made by clone() alone does
// not.
pid_t process_id();

// This process makes a call of the interface.
void note_call();
// Has it made one? Its parent's do not count.
bool has_called();

}  // namespace rknnsim
