// SPDX-License-Identifier: MIT
#include "base/log.hpp"

#include <atomic>
#include <cstdarg>
#include <list>
#include <mutex>
#include <utility>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

// Leaked on purpose: threads may log while the process ends. Sinks that were replaced stay, too, since
// somebody may be calling one. So logging takes no lock, which a forked child might find held for ever.
struct SinkSlot {
    std::mutex mutex;
    std::list<LogSink> sinks;
    std::atomic<const LogSink*> current{nullptr};
};

SinkSlot& slot() {
    static auto* const the_slot = new SinkSlot;
    return *the_slot;
}

}  // namespace

void set_log_sink(LogSink sink) {
    SinkSlot& here = slot();
    const std::lock_guard lock(here.mutex);
    here.current = sink ? &here.sinks.emplace_back(std::move(sink)) : nullptr;
}

void log(LogLevel level, const char* pattern, ...) {
    va_list arguments;
    va_start(arguments, pattern);
    const std::string text = format_v(pattern, arguments);
    va_end(arguments);
    const LogSink* const sink = slot().current;
    if (sink != nullptr) (*sink)(level, text);
}

bool RateLimit::allows(Time now) {
    if (logged_ >= kBurst && now - last_ < kPause) {
        ++suppressed_;
        return false;
    }
    left_out_.clear();
    if (suppressed_ > 0) {
        left_out_ =
            format(" (and %llu lines like this one before it)", static_cast<unsigned long long>(suppressed_));
    }
    suppressed_ = 0;
    ++logged_;
    last_ = now;
    return true;
}

}  // namespace rknpu2
