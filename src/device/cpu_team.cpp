// SPDX-License-Identifier: MIT
#include "device/cpu_team.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "system/thread_pool.hpp"

namespace rknpu2 {
namespace {

// Cortex-A76: part number 0xd0b in /proc/cpuinfo. The RK3588 has four of them beside four slower Cortex-A55.
std::vector<int> a76_cores() {
    std::vector<int> cores;
    std::ifstream file("/proc/cpuinfo");
    std::string line;
    int current = -1;
    while (std::getline(file, line)) {
        const size_t colon = line.find(':');
        if (colon == std::string::npos) continue;
        if (line.compare(0, 9, "processor") == 0) {
            std::istringstream(line.substr(colon + 1)) >> current;
        } else if (line.compare(0, 8, "CPU part") == 0 && line.find("0xd0b", colon) != std::string::npos) {
            cores.push_back(current);
        }
    }
    return cores;
}

}  // namespace

std::vector<int> cpu_affinity(const Config& config) {
    return config.affinity.empty() ? a76_cores() : config.affinity;
}

int team_size(const Config& config, bool simulated) {
    if (!simulated) return cpu_threads(config) + config.cores;
    return std::max(cpu_threads(config), std::min(config.cores, allowed_cpus()));
}

int cpu_threads(const Config& config) {
    if (config.threads > 0) return config.threads;
    const std::vector<int> cpus = cpu_affinity(config);
    return cpus.empty() ? allowed_cpus() : static_cast<int>(cpus.size());
}

}  // namespace rknpu2
