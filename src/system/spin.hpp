// SPDX-License-Identifier: MIT
// Waiting for another thread without sleeping, for a little while: waking up takes longer than what is waited
// for.
#pragma once

#include <chrono>

namespace rknpu2 {

// Looks at `condition` until it holds or the time for it is over; true if it holds. The condition is
// evaluated without any lock, so it may look at atomics only.
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
