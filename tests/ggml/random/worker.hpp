// SPDX-License-Identifier: MIT
// Processes that compute: each has one environment, for the plug-in reads its settings once, and may crash or
// hang without harm to who asks.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "ggml/random/execute.hpp"

namespace rknpu2::test {

class Worker {
  public:
    // Forks. Only while this process has one thread.
    explicit Worker(Environment environment);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // How the worker died, or hung for `seconds`, is the outcome's problem; it is of no use then.
    Outcome compute(const Recipe& recipe, Way way, int seconds);
    bool alive() const { return child_ > 0; }

    // Ends it in peace. Empty, or what went wrong: a leak, a finding of the simulator's checker.
    std::string end();

    // The end of what it wrote to stderr.
    std::string said() const;

  private:
    std::string death(int status) const;
    void close_ends();

    pid_t child_ = -1;
    int to_ = -1, from_ = -1;
    std::string log_;
};

}  // namespace rknpu2::test
