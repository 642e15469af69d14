// SPDX-License-Identifier: MIT
// Measures what a second plane of activations is worth for each weight of a model: GGML_RKNPU2_SENSITIVITY.
//
// The first graph that ends in the logits of a few rows is computed once with two planes everywhere, then
// once more for every weight, with one plane for that weight alone. The divergence between the logits is what
// the weight's second plane is worth, in the unit that docs/quality.md measures: the weight's own rounding
// times what the rest of the model makes of it, both measured at once. A graph may be computed again because
// its inputs and the memories it writes to (the KV cache) are put back before each time; that the last result
// equals the first, bit for bit, is checked.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "ggml/graph/graph_plan.hpp"
#include "ggml/host/host.hpp"

namespace rknpu2 {

class Sensitivity {
  public:
    // Fewer rows of logits say little.
    static constexpr size_t kFewestRows = 16;

    // Computes a graph; `one_plane` is the weight that is to have one plane, or null.
    using Compute = std::function<ggml_status(const ggml_tensor* one_plane)>;

    // Computes the graph, and measures when this is the one to be measured. A graph that writes a weight is
    // none: it could not be computed again. Thread safe; the results are those of compute(nullptr).
    ggml_status run(const Host& host, const GraphPlan& plan, const Compute& compute);

    // The statistics with what was measured; those of weights that were not stay as they were.
    ModelStats merged_into(ModelStats statistics) const;

    bool measured() const;

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
