// SPDX-License-Identifier: MIT
// A line in the log now and then while many weights are packed or loaded, so that a long first token is no
// mystery.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>

namespace rknpu2 {

// Thread safe.
class PackingProgress {
  public:
    // `doing`: what the line begins with; a literal.
    explicit PackingProgress(const char* doing) : doing_(doing) {}

    // A weight is done. Logs at most once in two seconds of work; a pause of that length starts a new count.
    void add(size_t packed_bytes);

  private:
    using Clock = std::chrono::steady_clock;
    const char* const doing_;
    std::mutex mutex_;
    Clock::time_point last_done_{};
    Clock::time_point last_line_{};
    size_t weights_ = 0;
    size_t bytes_ = 0;
};

}  // namespace rknpu2
