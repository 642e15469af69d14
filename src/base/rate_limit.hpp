// SPDX-License-Identifier: MIT
// How many lines may be logged about something that can happen thousands of times a second.
//
// The first kBurst lines are logged, then one a second, which says how many were left out. Not thread safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace rknpu2 {

class RateLimit {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr uint64_t kBurst = 20;
    static constexpr std::chrono::seconds kPause{1};

    // Is this line to be logged? If so, left_out() is what to put at its end.
    bool allows(Time now = std::chrono::steady_clock::now());
    // Such as " (and 12 lines like this one before it)", or nothing.
    const std::string& left_out() const { return left_out_; }

  private:
    uint64_t logged_ = 0;
    uint64_t suppressed_ = 0;
    Time last_{};
    std::string left_out_;
};

}  // namespace rknpu2
