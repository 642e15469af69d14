// SPDX-License-Identifier: MIT
// Waiting for another thread without sleeping, for a little while: waking up takes longer than the wait.
#pragma once

#include <chrono>

namespace rknpu2 {

// Returns true once `condition` holds, false when the time is over. The condition is evaluated without any
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
