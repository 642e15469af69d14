// SPDX-License-Identifier: MIT
#include "core/process.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace rknnsim {
namespace {

std::atomic<pid_t> current{0};
std::atomic<bool> called{false};

// Runs in the child, where other threads may have left locks taken: stores only.
void begin_child() {
    current.store(getpid(), std::memory_order_relaxed);
    called.store(false, std::memory_order_relaxed);
}

[[maybe_unused]] const bool registered = [] {
    current = getpid();
    return pthread_atfork(nullptr, nullptr, begin_child) == 0;
}();

}  // namespace

pid_t process_id() {
    return current.load(std::memory_order_relaxed);
}

void note_call() {
    if (!called.load(std::memory_order_relaxed)) called.store(true, std::memory_order_relaxed);
}

bool has_called() {
    return called.load(std::memory_order_relaxed);
}

}  // namespace rknnsim
