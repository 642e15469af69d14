// SPDX-License-Identifier: MIT
// How many CPU threads work beside the NPU, and on which cores.
#pragma once

#include <vector>

#include "config/config.hpp"

namespace rknpu2 {

// CPU threads that a configuration asks for: its own number, or the machine's fast cores.
int cpu_threads(const Config& config);

// Threads of the device's own team: those, and one for each NPU core, since a run blocks its thread. A
// simulator's runs take CPU time instead, so there the team has at least one thread for each core that has a
// CPU.
int team_size(const Config& config, bool simulated);

// CPUs for our threads: the configured ones, else the Cortex-A76 cores of an RK3588, else any (empty).
std::vector<int> cpu_affinity(const Config& config);

}  // namespace rknpu2
