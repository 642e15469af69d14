// SPDX-License-Identifier: MIT
#include "api/messages.hpp"

#include <unistd.h>

#include <cctype>
#include <map>
#include <mutex>

#include "base/format.hpp"
#include "core/process.hpp"
#include "core/system.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

constexpr size_t kKinds = 1000;  // names in messages are the caller's: there may be any number

// A line without its numbers.
std::string kind_of(const char* function, const std::string& text) {
    std::string kind = std::string(function) + ": ";
    for (size_t at = 0; at < text.size();) {
        const auto is_word = [&](size_t i) { return std::isalnum(static_cast<unsigned char>(text[i])) != 0; };
        if (!is_word(at)) {
            kind += text[at++];
            continue;
        }
        size_t end = at;
        while (end < text.size() && is_word(end))
            ++end;
        const bool number = std::isdigit(static_cast<unsigned char>(text[at])) != 0;
        kind += number ? "#" : text.substr(at, end - at);
        at = end;
    }
    return kind;
}

struct Counted {
    std::mutex mutex;
    pid_t process = 0;  // whose lines these are
    std::map<std::string, unsigned long long> kinds;
};

// Never destroyed: messages come at exit, too.
Counted& counted() {
    static auto* instance = new Counted;
    return *instance;
}

// How often the kind has come, this time included.
unsigned long long count(const std::string& kind) {
    Counted& shared = counted();
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.process != process_id()) {
        shared.process = process_id();
        shared.kinds.clear();
    }
    const bool full = shared.kinds.size() >= kKinds && !shared.kinds.contains(kind);
    return ++shared.kinds[full ? "lines of other kinds" : kind];
}

}  // namespace

void print_line(const char* kind, const char* function, const std::string& text) {
    const NoCancellation whole;
    const std::string line = format("rknnsim: %s: %s: %s\n", kind, function, text.c_str());
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

void print_limited(const char* kind, const char* function, const std::string& text) {
    const NoCancellation whole;
    note_call();
    const unsigned long long number = count(kind_of(function, text));
    if (number > kLinesOfAKind) return;
    const char* end = number == kLinesOfAKind ? " (more lines like this are counted, not printed)" : "";
    print_line(kind, function, text + end);
}

void print_counted() {
    Counted& shared = counted();
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.process != process_id()) return;
    for (const auto& [kind, times] : shared.kinds) {
        if (times > kLinesOfAKind) print_line("error", "exit", format("%llu times %s", times, kind.c_str()));
    }
}

void forget_counted() {
    Counted& shared = counted();
    const std::lock_guard<std::mutex> lock(shared.mutex);
    shared.kinds.clear();
}

}  // namespace rknnsim
