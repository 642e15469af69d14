// SPDX-License-Identifier: MIT
// Statistics of a test's activations, as a host that warms up first would leave them.
#pragma once

#include "calibration/calibration.hpp"
#include "calibration/second_moments.hpp"
#include "calibration/stats_library.hpp"
#include "matmul/matrices.hpp"

namespace rknpu2::testing {

inline ModelStats gathered_from(const Matrices& x) {
    Calibration calibration;
    calibration.add(x.source(), x.a.data(), 1);  // the warm-up, which does not count
    calibration.add(x.source(), x.a.data(), x.M);
    return calibration.statistics();
}

// Those that int4 needs, for each of several weights.
inline std::unique_ptr<StatsLibrary> with_moments(
    const std::vector<std::pair<WeightSource, const std::vector<float>*>>& weights) {
    ModelStats all;
    for (const auto& [source, rows] : weights) {
        const size_t M = rows->size() / source.K;
        Calibration calibration;
        calibration.add(source, rows->data(), 1);
        // As many rows as count.
        for (size_t seen = 0; seen < kFewestRows; seen += M)
            calibration.add(source, rows->data(), M);
        ActivationStats entry = calibration.statistics().at(source.name);
        MomentSums sums(source.K);
        sums.add(rows->data(), M);
        entry.moments = sums.moments();
        all.emplace(source.name, entry);
    }
    return std::make_unique<StatsLibrary>(std::move(all));
}

}  // namespace rknpu2::testing
