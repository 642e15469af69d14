// The library's only way to speak: one callback, set by whoever hosts us.
//
// Nothing in src/ prints. The ggml adapter points the sink at the host's log; tools point it at stderr. A
// message is one line without its newline. Thread safe; the sink may be called from any thread, one call at a
// time.
#pragma once

#include <functional>
#include <string>

namespace rknpu2 {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty function silences the log (the state at start).
void set_log_sink(LogSink sink);

[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* pattern, ...);

}  // namespace rknpu2
