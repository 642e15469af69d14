// SPDX-License-Identifier: MIT
// The line between ggml's C interface and our code: nothing throws across it, and log lines go to the right
// host.
//
// Our code reports with Status; what the standard library throws (no memory, mostly) is caught here, logged
// once, and becomes the slot's failure value. In a forked child everything fails, and one line says why: what
// is not called cannot wait for threads that are not there, nor give back what is the parent's.
#pragma once

#include <exception>
#include <utility>

#include "base/log.hpp"
#include "ggml/host/host.hpp"

namespace rknpu2 {

// While it lives, this thread's log lines go to `host`.
class LogTo {
  public:
    explicit LogTo(Host& host);
    ~LogTo();
    LogTo(const LogTo&) = delete;
    LogTo& operator=(const LogTo&) = delete;

  private:
    Host* previous_;
};

// Is this thread inside of a call that the host has made? Then whatever it locks may be locked by itself, in
// what a signal has interrupted.
bool inside_a_call();

// Points the library's log at the hosts; the first host also gets what threads of ours say.
void log_to_hosts(Host& first);

// Is this a forked child of the process that has the NPU? Says so once in each process.
bool is_forked_child(const Host& host);

template <typename Value, typename Body>
Value guard(Host& host, const char* operation, Value on_failure, Body&& body) noexcept {
    const LogTo scope(host);
    try {
        if (is_forked_child(host)) return on_failure;
        return std::forward<Body>(body)();
    } catch (const std::exception& error) {
        log(LogLevel::kError, "%s: %s", operation, error.what());
    } catch (...) {
        log(LogLevel::kError, "%s: unknown exception", operation);
    }
    return on_failure;
}

}  // namespace rknpu2
