// SPDX-License-Identifier: MIT
#include "ggml/host/process_end.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "ggml/host/guard.hpp"

namespace rknpu2 {
namespace {

constexpr std::chrono::milliseconds kLook{1};
constexpr int kLooks = 2000;

std::atomic<bool> ending{false};
std::atomic<int> computing{0};
// What the team and the NPU may take to end what they have begun.
constexpr std::chrono::milliseconds kBegun{100};

std::atomic<pid_t> watched{0};  // the process

void stop_computing() {
    if (getpid() != watched) return;  // a forked child has none of the threads
    if (ending.exchange(true)) return;
    if (inside_a_call()) return std::this_thread::sleep_for(kBegun);
    for (int i = 0; i < kLooks && computing > 0; ++i)
        std::this_thread::sleep_for(kLook);
}

}  // namespace

bool process_is_ending() {
    return ending;
}

// Handlers run in the order opposite to that in which they came. More than a few are of no use.
void watch_the_end() {
    constexpr int kHandlers = 4;
    static std::atomic<int> handlers{0};
    pid_t none = 0;
    watched.compare_exchange_strong(none, getpid());
    if (handlers.fetch_add(1) < kHandlers) static_cast<void>(std::atexit(stop_computing));
}

Computing::Computing() {
    ++computing;
}

Computing::~Computing() {
    if (static std::atomic<bool> is_first{true}; is_first.exchange(false)) watch_the_end();
    --computing;
}

}  // namespace rknpu2
