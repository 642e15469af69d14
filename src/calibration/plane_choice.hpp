// SPDX-License-Identifier: MIT
// Which weights of a model get their activations in two planes.
//
// A second plane takes away the rounding of the activations and doubles the NPU's work on the weight's rows:
// next to nothing at decode, where the weights are streamed once for both, but time for a prompt. So it goes
// where it brings most for its work. For each weight the divergence was measured that one plane alone costs
// (ggml/diagnostics/sensitivity.hpp); the largest for each multiplication come first, until the budget is spent.
//
// The output head always has two planes: of a prompt, only the last row goes through it. The number of planes
// does not depend on the number of rows, so a row's result in a prompt is its result alone.
#pragma once

#include <cstddef>
#include <string>

#include "calibration/activation_stats.hpp"

namespace rknpu2 {

// The NPU's additional work for a prompt, as a share of what it is with one plane everywhere.
inline constexpr double kPlaneBudget = 0.25;

enum class PlaneReason {
    kOutput,        // two planes: the output head
    kWorthIt,       // two planes: measured, and within the budget
    kBudget,        // one plane: others bring more for their work
    kNotMeasured,   // one plane: nobody knows what it would bring
    kWithoutStats,  // two planes: there are no statistics of its activations
};
const char* plane_reason_text(PlaneReason reason);

struct PlaneDecision {
    size_t planes;  // 1 or 2
    PlaneReason reason;
};

// By tensor name, for every entry. `budget`: 0 or more.
using PlaneChoice = std::map<std::string, PlaneDecision>;
PlaneChoice choose_planes(const ModelStats& statistics, double budget = kPlaneBudget);

// The Kullback-Leibler divergence of softmax(other) from softmax(base), in nats, averaged over `rows` rows of
// N logits; 0 when they are equal, never negative. NaN when a logit is NaN. Sums are float64.
double mean_divergence(const float* base, const float* other, size_t rows, size_t N);

}  // namespace rknpu2
