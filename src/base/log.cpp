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

}  // namespace rknpu2
