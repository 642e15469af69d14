// SPDX-License-Identifier: MIT
// Many graphs, several at once: each job is a process that judges group after group.
#pragma once

#include <cstdint>

#include "ggml/random/judge.hpp"

namespace rknpu2::test {

struct JobOptions {
    uint64_t seed = 1;
    uint64_t first = 0;
    uint64_t graphs = 2000;
    int jobs = 2;
    int failures = 5;  // no graph is begun after so many
    int attempts = 400;
    int seconds = 120;
    bool print = false;
};

// 0: all as expected. Failures and a summary go to stdout; every half minute a line on stderr says how far it
// is.
int run_jobs(const JobOptions& options);

}  // namespace rknpu2::test
