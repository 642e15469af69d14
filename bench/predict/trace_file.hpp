// SPDX-License-Identifier: MIT
// The timeline of one layer of prefill in the form that Perfetto (https://ui.perfetto.dev) and Chrome's
// tracing read: a lane for each NPU core, one for the CPU's team and a curve of the memory's bandwidth.
#pragma once

#include <string>

#include "predict/prediction.hpp"

namespace rknpu2 {

// A layer in the middle of the model, from its first operation's start to its last one's end, with whatever
// of its neighbours falls into that time.
std::string layer_trace_json(const Prediction& prediction);

}  // namespace rknpu2
