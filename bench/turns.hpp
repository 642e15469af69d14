// SPDX-License-Identifier: MIT
// Times of things that are compared: they take turns in one process, round after round, so that what disturbs
// the machine disturbs all alike.
#pragma once

#include <time.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace rknpu2 {

// The value that the share `q` of at least one value lies below.
inline double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

inline double median(const std::vector<double>& values) {
    return quantile(values, 0.5);
}

// The quotients of each round.
inline std::vector<double> ratios(std::vector<double> a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i)
        a[i] /= b[i];
    return a;
}

// Seconds that each body took in each round, by body. CLOCK_THREAD_CPUTIME_ID does not count what else runs
// on the machine, but knows the calling thread only. A round before the first one warms up.
inline std::vector<std::vector<double>> take_turns(const std::vector<std::function<void()>>& bodies,
                                                   size_t rounds, clockid_t clock) {
    const auto now = [clock] {
        timespec time{};
        clock_gettime(clock, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    };
    std::vector<std::vector<double>> seconds(bodies.size());
    for (size_t round = 0; round <= rounds; ++round) {
        for (size_t i = 0; i < bodies.size(); ++i) {
            const size_t body = (i + round) % bodies.size();  // whoever follows another one does not always
            const double start = now();
            bodies[body]();
            if (round > 0) seconds[body].push_back(now() - start);
        }
    }
    return seconds;
}

}  // namespace rknpu2
