// SPDX-License-Identifier: MIT
#include "core/system.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace rknnsim {
namespace {

sigset_t file_size_signal() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    return set;
}

bool is_pending() {
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
}

}  // namespace

int above_standard(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    const int raised = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    const int error = errno;
    close(fd);
    errno = error;
    return raised;
}

NoFileSizeSignal::NoFileSizeSignal() : pending_before_(is_pending()) {
    const sigset_t set = file_size_signal();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
}

NoFileSizeSignal::~NoFileSizeSignal() {
    const int error = errno;
    const sigset_t set = file_size_signal();
    const timespec at_once{};
    if (!pending_before_ && is_pending()) sigtimedwait(&set, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
}

}  // namespace rknnsim
