// SPDX-License-Identifier: MIT
// Runs a program against the library, next to the model, up to the first difference.
#pragma once

#include <string>

#include "sim/random/messages.hpp"
#include "sim/random/model.hpp"
#include "sim/random/program.hpp"

namespace rknnsim_random {

struct Report {
    std::string problem;  // empty: none
    int step = -1;
    uint64_t calls = 0;
    uint64_t refused = 0;
    uint64_t compared = 0;  // results of runs
};

// Starts the library afresh with the program's settings, and expects nothing to be left alive. With
// `clean_up` off everything stays as the program left it.
Report execute(const Program& program, Messages& messages, Model::Sabotage sabotage, bool clean_up = true);

}  // namespace rknnsim_random
