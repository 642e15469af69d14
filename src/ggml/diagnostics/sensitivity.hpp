// SPDX-License-Identifier: MIT
// Measures what a second plane of activations is worth for each weight of a model: GGML_RKNPU2_SENSITIVITY.
//
// The first graph that ends in the logits of a few rows is computed once with two planes everywhere, then
// once more for every weight, with one plane for that weight alone. The divergence between the logits is what
// the weight's second plane is worth, in the unit that docs/quality.md measures. Before each time the graph's
// inputs and the memories that it writes to (the KV cache) are put back. The last result must equal the
// first, bit for bit.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "calibration/calibration.hpp"
#include "ggml/graph/graph_plan.hpp"

namespace rknpu2 {

class Sensitivity {
  public:
    static constexpr int64_t kFewestRows = 16;  // fewer rows of logits say little

    // Computes a graph; `one_plane` is the weight that is to have one plane, or null.
    using Compute = std::function<ggml_status(const ggml_tensor* one_plane)>;

    // Computes the graph, and measures if this is the first that can be. A graph that writes a weight cannot:
    // it could not be computed again. Thread safe; the results are those of compute(nullptr).
    ggml_status run(const Host& host, const GraphPlan& plan, const Compute& compute);

    // Returns the statistics with what was measured; those of other weights stay as they were. Empty: nothing
    // was measured.
    ModelStats merged_into(ModelStats statistics) const;

  private:
    struct Measured {
        float divergence;
        bool output;
    };

    mutable std::mutex mutex_;
    bool tried_ = false;
    std::map<std::string, Measured> weights_;
};

}  // namespace rknpu2
