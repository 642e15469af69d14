// SPDX-License-Identifier: MIT
// Threads of a team that may get fewer of them than it wants.
//
// A process has a limit of threads (RLIMIT_NPROC, the pids limit of a container). What needs threads here
// works with what there is, down to none, and says so in one line for the whole process.
//
// Signals for the process are the host's: no handler of its runs on a thread of ours, where it would meet
// locks that only we know.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace rknpu2 {

// Owns the threads that have been started. The owner tells them to end, and then calls join() or destroys the
// team, which waits as well. Not thread safe.
class StartedThreads {
  public:
    StartedThreads() = default;
    ~StartedThreads() { join(); }
    StartedThreads(const StartedThreads&) = delete;
    StartedThreads& operator=(const StartedThreads&) = delete;

    // Starts up to `count` threads, which call body(0), body(1), ...; stops at the first that cannot be had.
    // Only before it has started any may it throw std::bad_alloc.
    void start(size_t count, const std::function<void(size_t)>& body);
    size_t size() const { return threads_.size(); }
    void join();

  private:
    std::vector<std::thread> threads_;
};

// Returns how many of `count` threads there could be now: it starts and ends them. For teams of others, who
// end the process when they get fewer than they ask for.
size_t startable_threads(size_t count);

// Logs the one line: `got` of `wanted` threads could be had.
void tell_of_few_threads(size_t got, size_t wanted);

// Waits for another thread without sleeping, for a little while: waking up takes longer than the wait. Returns
// true once `condition` holds, false when the time is over. The condition is evaluated without any
// lock, so it may look at atomics only.
template <typename Condition>
bool spin_until(const Condition& condition, std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    do {
        for (int i = 0; i < 64; ++i) {
            if (condition()) return true;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            asm volatile("yield");
#endif
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

}  // namespace rknpu2
