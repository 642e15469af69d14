// A line in the log now and then while many weights are packed, so that a long first token is no mystery.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>

namespace rknpu2 {

// Thread safe.
class PackingProgress {
  public:
    // A weight was packed. Logs at most once in two seconds of packing; a pause of that length starts a new
    // count.
    void add(size_t packed_bytes);

  private:
    using Clock = std::chrono::steady_clock;
    std::mutex mutex_;
    Clock::time_point last_packed_{};
    Clock::time_point last_line_{};
    size_t weights_ = 0;
    size_t bytes_ = 0;
};

}  // namespace rknpu2
