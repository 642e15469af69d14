// SPDX-License-Identifier: MIT
#include "calibration/plane_choice.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace rknpu2 {
namespace {

double work(const ActivationStats& entry) {
    return static_cast<double>(entry.N) * static_cast<double>(entry.K);
}

// By PlaneReason.
constexpr const char* kReasons[] = {"output head: one row of a prompt", "measured: worth a second plane",
                                    "measured: others gain more", "its sensitivity was not measured",
                                    "no statistics"};

double log_sum_exp(const float* logits, size_t N) {
    const double largest = *std::max_element(logits, logits + N);
    double sum = 0;
    for (size_t n = 0; n < N; ++n)
        sum += std::exp(logits[n] - largest);
    return largest + std::log(sum);
}

double row_divergence(const float* base, const float* other, size_t N) {
    const double base_norm = log_sum_exp(base, N);
    const double other_norm = log_sum_exp(other, N);
    double sum = 0;
    for (size_t n = 0; n < N; ++n) {
        const double log_p = base[n] - base_norm;
        sum += std::exp(log_p) * (log_p - (other[n] - other_norm));
    }
    return std::isnan(sum) ? sum : std::max(sum, 0.0);  // rounding can leave it a little below 0
}

}  // namespace

const char* plane_reason_text(PlaneReason reason) {
    return kReasons[static_cast<size_t>(reason)];
}

PlaneChoice choose_planes(const ModelStats& statistics, double budget) {
    PlaneChoice choice;
    std::vector<const ModelStats::value_type*> candidates;
    double left = 0;
    for (const auto& item : statistics) {
        const ActivationStats& entry = item.second;
        if (entry.output) {
            choice[item.first] = {2, PlaneReason::kOutput};
            continue;
        }
        left += budget * work(entry);
        if (entry.measured()) {
            candidates.push_back(&item);
        } else {
            choice[item.first] = {1, PlaneReason::kNotMeasured};
        }
    }
    // Ties, as between weights that were measured at 0, go by name: the choice is the same everywhere.
    std::stable_sort(candidates.begin(), candidates.end(), [](const auto* a, const auto* b) {
        return a->second.one_plane_divergence / work(a->second) >
               b->second.one_plane_divergence / work(b->second);
    });
    for (const auto* item : candidates) {
        const bool fits = work(item->second) <= left;
        if (fits) left -= work(item->second);
        choice[item->first] =
            fits ? PlaneDecision{2, PlaneReason::kWorthIt} : PlaneDecision{1, PlaneReason::kBudget};
    }
    return choice;
}

double mean_divergence(const float* base, const float* other, size_t rows, size_t N) {
    if (rows == 0) return 0;
    double sum = 0;
    for (size_t row = 0; row < rows; ++row)
        sum += row_divergence(base + row * N, other + row * N, N);
    return sum / static_cast<double>(rows);
}

}  // namespace rknpu2
