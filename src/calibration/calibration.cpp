// SPDX-License-Identifier: MIT
#include "calibration/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/format.hpp"
#include "kernels/quantise.hpp"

namespace rknpu2 {

void Calibration::add(const WeightSource& weight, const float* a, size_t M, bool output) {
    const std::lock_guard lock(mutex_);
    Sums& sums = sums_[weight.name];
    ActivationStats& entry = sums.entry;
    if (entry.K != weight.K || entry.N != weight.N) {
        // A second model in the process has a weight of that name: the last one counts.
        sums = {.entry = {.N = weight.N, .K = weight.K, .fingerprint = weight_fingerprint(weight)},
                .sum = std::vector<double>(weight.K),
                .square = std::vector<double>(weight.K)};
    }
    entry.output = entry.output || output;
    const bool warm_up = !sums.begun && M <= kMostWarmUpRows;
    sums.begun = true;
    if (warm_up) return;
    add_moments(sums, a, M);
    for (size_t m = 0; m < M; ++m) {
        const float* const row = a + m * weight.K;
        if (std::isnan(row_absmax(row, weight.K))) continue;
        ++entry.rows;
        for (size_t k = 0; k < weight.K; ++k) {
            const double x = row[k];
            sums.sum[k] += x;
            sums.square[k] += x * x;
        }
    }
}

// Weights that have seen the same have the same sums, and the first of them adds to these for all.
void Calibration::add_moments(Sums& sums, const float* a, size_t M) {
    const size_t K = sums.entry.K;
    const Digest links[] = {sums.seen, hash128(a, M * K * sizeof(float)), {M, K}};
    sums.seen = hash128(links, sizeof links);
    std::weak_ptr<MomentSums>& known = moments_[sums.seen];
    if (std::shared_ptr<MomentSums> others = known.lock()) {
        sums.moments = std::move(others);
        return;
    }
    std::erase_if(moments_,
                  [&](const auto& item) { return &item.second != &known && item.second.expired(); });
    if (sums.moments == nullptr) {
        sums.moments = std::make_shared<MomentSums>(K);
    } else if (sums.moments.use_count() > 1) {
        sums.moments = std::make_shared<MomentSums>(*sums.moments);
    }
    sums.moments->add(a, M);
    known = sums.moments;
}

ModelStats Calibration::statistics() const {
    const std::lock_guard lock(mutex_);
    ModelStats statistics;
    std::map<const MomentSums*, std::shared_ptr<const SecondMoments>> moments;
    for (const auto& [name, sums] : sums_) {
        if (sums.entry.rows == 0 || name.empty()) continue;
        ActivationStats entry = sums.entry;
        const auto rows = static_cast<double>(entry.rows);
        constexpr double kLargest = std::numeric_limits<float>::max();
        for (size_t k = 0; k < entry.K; ++k) {
            entry.mean.push_back(static_cast<float>(sums.sum[k] / rows));
            entry.mean_square.push_back(static_cast<float>(std::min(sums.square[k] / rows, kLargest)));
        }
        const auto [at, is_new] = moments.emplace(sums.moments.get(), nullptr);
        if (is_new) at->second = sums.moments->moments();
        entry.moments = at->second;
        statistics.emplace(name.substr(0, 255), std::move(entry));
    }
    return statistics;
}

Status enough_rows(const ModelStats& gathered) {
    if (gathered.empty()) {
        return {StatusCode::kInvalidArgument,
                "nothing is written, since no text was read (a warm-up does not count)"};
    }
    const auto few = [](const auto& entry) { return entry.second.rows < kFewestRows; };
    const auto thin = static_cast<size_t>(std::count_if(gathered.begin(), gathered.end(), few));
    if (thin == 0) return {};
    return {StatusCode::kInvalidArgument,
            format("%zu of %zu weights saw fewer than %llu rows of activations, and statistics of so few are "
                   "not used: let the model read a longer text",
                   thin, gathered.size(), static_cast<unsigned long long>(kFewestRows))};
}

}  // namespace rknpu2
