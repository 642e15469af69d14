// SPDX-License-Identifier: MIT
// Programs in a process of their own, so that a crash, a hang or a sanitizer's report ends the program and
// not the test, and has a seed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/random/execute.hpp"

namespace rknnsim_random {

struct Verdict {
    bool failed = false;
    uint64_t seed = 0;    // of the program that failed
    std::string problem;  // one line
    std::string said;     // the end of what it wrote to stderr
    uint64_t calls = 0, refused = 0, compared = 0;
};

struct Isolation {
    unsigned seconds = 30;  // for one program, before it counts as hanging
    Model::Sabotage sabotage = Model::Sabotage::kOff;
    bool leave_last_alive = false;  // the last program exits without destroying anything
};

// Runs the programs one after the other in one child process, up to the first that fails.
Verdict run_isolated(size_t count, const std::function<Program(size_t)>& program, const Isolation& isolation);

// Leaves out steps as long as the program still fails; `attempts` runs at most.
Program shrink(const Program& program, const Isolation& isolation, int attempts);

}  // namespace rknnsim_random
