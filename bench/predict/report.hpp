// SPDX-License-Identifier: MIT
// Predictions as text, CSV and JSON, with published figures of other engines beside them; and as a timeline.
#pragma once

#include <string>
#include <vector>

#include "predict/check.hpp"
#include "predict/prediction.hpp"

namespace rknpu2 {

std::string predictions_text(const std::vector<Prediction>& predictions,
                             const std::vector<PublishedEngine>& engines);
std::string predictions_csv(const std::vector<Prediction>& predictions);
std::string predictions_json(const std::vector<Prediction>& predictions,
                             const std::vector<PublishedEngine>& engines);

// The timeline of one layer of prefill in the form that Perfetto (https://ui.perfetto.dev) and Chrome's tracing
// read: a lane for each NPU core, one for the CPU's team and a curve of the memory's bandwidth. The layer is one
// in the middle, from its first operation's start to its last one's end, with whatever of its neighbours falls
// into that time.
std::string layer_trace_json(const Prediction& prediction);

}  // namespace rknpu2
