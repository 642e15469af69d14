// SPDX-License-Identifier: MIT
// The subcommands of rknpu2-bench. Each has its file: a function that adds it to the program, with a callback
// that runs it. What a callback throws ends the program: CLI::RuntimeError with the exit status, after a line
// on stderr.
#pragma once

#include <CLI/CLI.hpp>

namespace rknpu2 {

void add_kernels(CLI::App& app);
void add_matmul(CLI::App& app);
void add_predict(CLI::App& app);

}  // namespace rknpu2
