#include "base/log.hpp"

#include <cstdarg>
#include <mutex>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

// Leaked on purpose: threads may log while the process ends.
struct SinkSlot {
    std::mutex mutex;
    LogSink sink;
};

SinkSlot& slot() {
    static auto* const the_slot = new SinkSlot;
    return *the_slot;
}

}  // namespace

void set_log_sink(LogSink sink) {
    const std::lock_guard lock(slot().mutex);
    slot().sink = std::move(sink);
}

void log(LogLevel level, const char* pattern, ...) {
    va_list arguments;
    va_start(arguments, pattern);
    const std::string text = format_v(pattern, arguments);
    va_end(arguments);
    const std::lock_guard lock(slot().mutex);
    if (slot().sink) slot().sink(level, text);
}

}  // namespace rknpu2
