// SPDX-License-Identifier: MIT
// What the simulator must not do to the process that it lives in: take the standard descriptors when a
// program has closed them, end it by a signal, or be ended itself in the middle of a call.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace rknnsim {

// The same open file under a number above those of standard input, output and error; `fd` is closed when it
// was one of them. -1 and errno as they are when `fd` is -1 or there is no number left.
//
// A program that was started without stderr would otherwise get memory as descriptor 2, and messages would be
// written into a tensor.
int above_standard(int fd);

// For as long as it lives, what exceeds the limit of file sizes (ulimit -f) fails with EFBIG on this thread
// and sends no signal.
class NoFileSizeSignal {
  public:
    NoFileSizeSignal();
    ~NoFileSizeSignal();
    NoFileSizeSignal(const NoFileSizeSignal&) = delete;
    NoFileSizeSignal& operator=(const NoFileSizeSignal&) = delete;

  private:
    sigset_t before_{};
    bool pending_before_ = false;
};

// For as long as it lives, pthread_cancel waits: the calls of a driver are no cancellation points, and a
// thread that is unwound in the middle would leave a context taken.
class NoCancellation {
  public:
    NoCancellation() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    ~NoCancellation() { pthread_setcancelstate(before_, nullptr); }
    NoCancellation(const NoCancellation&) = delete;
    NoCancellation& operator=(const NoCancellation&) = delete;

  private:
    int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace rknnsim
