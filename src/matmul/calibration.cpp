#include "matmul/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/quantise.hpp"

namespace rknpu2 {

void Calibration::add(const WeightSource& weight, const float* a, size_t M, bool output) {
    const std::lock_guard lock(mutex_);
    Sums& sums = sums_[weight.name];
    if (sums.sum.size() != weight.K || sums.N != weight.N) {
        // A second model in the process has a weight of that name: the last one counts.
        sums = {weight.N, weight_fingerprint(weight),    0,
                false,    std::vector<double>(weight.K), std::vector<double>(weight.K)};
    }
    sums.output = sums.output || output;
    for (size_t m = 0; m < M; ++m) {
        const float* const row = a + m * weight.K;
        if (std::isnan(row_absmax(row, weight.K))) continue;
        ++sums.rows;
        for (size_t k = 0; k < weight.K; ++k) {
            const double x = row[k];
            sums.sum[k] += x;
            sums.square[k] += x * x;
        }
    }
}

ModelStatistics Calibration::statistics() const {
    const std::lock_guard lock(mutex_);
    ModelStatistics statistics;
    for (const auto& [name, sums] : sums_) {
        if (sums.rows == 0 || name.empty()) continue;
        ChannelStatistics entry;
        entry.N = sums.N;
        entry.K = sums.sum.size();
        entry.fingerprint = sums.fingerprint;
        entry.rows = sums.rows;
        entry.output = sums.output;
        const auto rows = static_cast<double>(sums.rows);
        constexpr double kLargest = std::numeric_limits<float>::max();
        for (size_t k = 0; k < entry.K; ++k) {
            entry.mean.push_back(static_cast<float>(sums.sum[k] / rows));
            entry.mean_square.push_back(static_cast<float>(std::min(sums.square[k] / rows, kLargest)));
        }
        statistics.emplace(name.substr(0, 255), std::move(entry));
    }
    return statistics;
}

}  // namespace rknpu2
