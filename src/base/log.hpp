// SPDX-License-Identifier: MIT
// The library's only way to speak: one callback, set by whoever hosts us.
//
// Nothing in src/ prints. The ggml adapter points the sink at the host's log; tools point it at stderr. A
// message is one line without its newline.
//
// Thread safe. The sink is called from any thread, from several at the same time, and without any lock of
// ours: it may wait for another thread that logs, and may log itself.
#pragma once

#include <functional>
#include <string>

namespace rknpu2 {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty function silences the log (the state at start). A thread that is logging may
// still call the former one. Each sink is kept for the rest of the process.
void set_log_sink(LogSink sink);

[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* pattern, ...);

}  // namespace rknpu2
