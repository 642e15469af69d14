// SPDX-License-Identifier: MIT
// The end of a process while threads of it compute, as when the handler of a signal calls exit().
//
// exit() destroys what the host's libraries and the vendor's own have, and threads that still use it crash.
// So the first thing that happens then is that computing stops: graphs that run end with GGML_STATUS_ABORTED
// between two steps, others are not begun, and exit() goes on when all have ended, or after two seconds.
// Where the exiting thread itself is inside a call of ours, which will not come back, what others have begun
// for it has a tenth of a second to end.
#pragma once

namespace rknpu2 {

// Is exit() under way? From any thread.
bool process_is_ending();

// What the process has made up to here is destroyed only after computing has stopped.
void watch_the_end();

// While it lives, a graph is computed. Whoever makes a backend has called watch_the_end(); the first graph does so when it is done.
class Computing {
  public:
    Computing();
    ~Computing();
    Computing(const Computing&) = delete;
    Computing& operator=(const Computing&) = delete;
};

}  // namespace rknpu2
