// SPDX-License-Identifier: MIT
#include "system/threads.hpp"

#include <pthread.h>

#include <csignal>
#include <exception>

#include "base/log.hpp"

namespace rknpu2 {

namespace {

// While it lives, the calling thread and those that it starts get no signal that another thread could get.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t set;
        sigfillset(&set);
        // What a thread causes by itself, and what profilers send to whom they measure.
        for (const int signal :
             {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPIPE, SIGXFSZ, SIGPROF})
            sigdelset(&set, signal);
        pthread_sigmask(SIG_BLOCK, &set, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_{};
};

}  // namespace

void StartedThreads::start(size_t count, const std::function<void(size_t)>& body) {
    const size_t before = threads_.size();
    threads_.reserve(before + count);
    const SignalsBlocked blocked;
    try {
        for (size_t i = 0; i < count; ++i)
            threads_.emplace_back([body, i] { body(i); });
    } catch (const std::exception&) {  // std::system_error, or no memory for a thread
        tell_of_few_threads(threads_.size() - before, count);
    }
}

void StartedThreads::join() {
    for (std::thread& thread : threads_)
        thread.join();
    threads_.clear();
}

size_t startable_threads(size_t count) {
    std::atomic<bool> end{false};
    StartedThreads team;
    // All of them at the same time: threads that have ended do not count towards a limit.
    team.start(count, [&](size_t) { end.wait(false); });
    end = true;
    end.notify_all();
    const size_t started = team.size();
    team.join();
    return started;
}

void tell_of_few_threads(size_t got, size_t wanted) {
    static std::atomic<bool> told{false};
    if (told.exchange(true)) return;
    log(LogLevel::kWarning,
        "only %zu of %zu threads could be started: fewer do the work, which is slower; ulimit -u, or a limit "
        "of the container (pids), says how many there may be",
        got, wanted);
}

}  // namespace rknpu2
