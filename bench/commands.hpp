// SPDX-License-Identifier: MIT
// The subcommands of rknpu2-bench. Each has its file: a function that adds it to the program, with a callback
// that runs it. What a callback throws ends the program: CLI::RuntimeError with the exit status, and anything
// else with 1 and one line on stderr.
#pragma once

#include <CLI/CLI.hpp>
#include <stdexcept>

#include "base/status.hpp"

namespace rknpu2 {

void add_kernels(CLI::App& app);
void add_matmul(CLI::App& app);
void add_predict(CLI::App& app);

// What they share.
void add_format(CLI::App& command, std::string& format);  // --format: text, csv or json
void show(const std::string& text);                       // on stdout

[[noreturn]] inline void fail(const std::string& message) {
    throw std::runtime_error(message);
}

// `context`: before the message of a failure; empty: nothing.
inline void check(const Status& status, const std::string& context = "") {
    if (!status.ok()) fail((context.empty() ? "" : context + ": ") + status.message());
}

template <typename Value>
Value value_of(Result<Value> result, const std::string& context = "") {
    check(result.status(), context);
    return result.take();
}

}  // namespace rknpu2
