// SPDX-License-Identifier: MIT
// How long some work takes: repeats of it, until they will do.
#pragma once

#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

// Times in us of work(), after before(), 5 to 15 of them in a tenth of a second; up to 45 until enough(times). The first two are left out.
// The least of them is free of what others compute now and then; what slows all repeats down alike stays in it. `now_us`: the clock.
template <typename Now, typename Before, typename Work, typename Enough>
Result<std::vector<double>> repeat(const Now& now_us, const Before& before, const Work& work,
                                   const Enough& enough) {
    constexpr size_t kLeftOut = 2, kLeast = 5, kMany = 15, kMost = 45;
    constexpr double kLongUs = 1e5;
    std::vector<double> times;
    const double begun = now_us();
    const auto many = [&] {
        return times.size() >= kMany || (times.size() >= kLeast && now_us() - begun >= kLongUs);
    };
    for (size_t i = 0; times.size() < kMost && !(many() && enough(times)); ++i) {
        before();
        const double start = now_us();
        RKNPU2_RETURN_IF_ERROR(work());
        if (i >= kLeftOut) times.push_back(now_us() - start);
    }
    return times;
}

}  // namespace rknpu2
