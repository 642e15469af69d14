// SPDX-License-Identifier: MIT
// Which weights of a model get their activations in two planes.
//
// A second plane (Recipe::planes) takes away the rounding of the activations and doubles the NPU's work on
// the weight's rows. At decode that costs next to nothing (the weights are streamed once for both), when a
// prompt is processed it costs time. So it goes where it brings most for its work, by measurement: each
// weight has a divergence that was measured when it alone had one plane (ggml/diagnostics/sensitivity.hpp),
// and the weights with the largest divergence for each multiplication come first, until the budget is spent.
//
// The output head is a case of its own: of a prompt, only the last row goes through it, so it costs nothing
// there and always has two planes. The number of planes does not depend on the number of rows: a row's result
// is the same in a prompt and alone.
#pragma once

#include <string>

#include "calibration/activation_stats.hpp"

namespace rknpu2 {

// More work for the NPU than with one plane everywhere, as a share of it, when a prompt is processed.
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

}  // namespace rknpu2
