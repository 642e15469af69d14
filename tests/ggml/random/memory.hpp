// SPDX-License-Identifier: MIT
// Memory for the inputs and results of a graph, given as a host would, and the graph computed in it.
#pragma once

#include <memory>
#include <vector>

#include "ggml/random/build.hpp"
#include "ggml/random/execute.hpp"

namespace rknpu2::test {

class GraphMemory {
  public:
    virtual ~GraphMemory() = default;
    // Fills what has memory and is no leaf of the host's.
    virtual void spoil(uint8_t byte) = 0;
    virtual ggml_status compute() = 0;
    // What the scheduler's callback saw during the last computation, by steps.
    virtual std::vector<Observation> take_watched() { return {}; }
};

// What is passed must outlive the result. Throws BuildError if there is no memory.
std::unique_ptr<GraphMemory> give_memory(BuiltGraph& built, const Recipe& recipe, Allocation allocation,
                                         ggml_backend_t backend, ggml_backend_dev_t device);

}  // namespace rknpu2::test
