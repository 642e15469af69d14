// SPDX-License-Identifier: MIT
// The library's only way to speak: one callback, set by whoever hosts us.
//
// Nothing in src/ prints. The ggml adapter points the sink at the host's log; tools point it at stderr. A
// message is one line without its newline.
//
// Thread safe. The sink is called from any thread, from several at the same time, and without any lock of
// ours: it may wait for another thread that logs, and may log itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace rknpu2 {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty function silences the log (the state at start). A thread that is logging may
// still call the former one. Each sink is kept for the rest of the process.
void set_log_sink(LogSink sink);

[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* pattern, ...);

// How many lines may be logged about something that can happen thousands of times a second: the first kBurst,
// then one a second, which says how many were left out. Not thread safe.
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
