// SPDX-License-Identifier: MIT
#include "ggml/host/guard.hpp"
#include "matmul/npu_device.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace rknpu2 {
namespace {

thread_local Host* current_host = nullptr;

ggml_log_level to_ggml(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return GGML_LOG_LEVEL_DEBUG;
        case LogLevel::kInfo:
            return GGML_LOG_LEVEL_INFO;
        case LogLevel::kWarning:
            return GGML_LOG_LEVEL_WARN;
        case LogLevel::kError:
            return GGML_LOG_LEVEL_ERROR;
    }
    return GGML_LOG_LEVEL_ERROR;
}

}  // namespace

LogTo::LogTo(Host& host) : previous_(current_host) {
    current_host = &host;
}
LogTo::~LogTo() {
    current_host = previous_;
}

bool inside_a_call() {
    return current_host != nullptr;
}

bool is_forked_child(const Host& host) {
    static std::atomic<pid_t> told{0};
    if (host.npu == nullptr) return false;
    const Status status = host.npu->check_process();
    if (status.ok()) return false;
    const pid_t here = getpid();
    if (told.exchange(here) != here)
        log(LogLevel::kError, "nothing is computed here: %s", status.message().c_str());
    return true;
}

void log_to_hosts(Host& first) {
    set_log_sink([first = &first](LogLevel level, const std::string& line) {
        const Host& host = current_host != nullptr ? *current_host : *first;
        if (host.ggml.ggml_log_internal == nullptr) {
            std::fprintf(stderr, "ggml-rknpu2: %s\n", line.c_str());
            return;
        }
        host.ggml.ggml_log_internal(to_ggml(level), "ggml-rknpu2: %s\n", line.c_str());
    });
}

}  // namespace rknpu2
