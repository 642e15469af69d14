// SPDX-License-Identifier: MIT
// Computes a recipe's graph once, one way, and tells what can be seen of it.
//
// What a host may look at afterwards: outputs; results that no other node reads, whose memory ggml never
// gives to others; states and weights; without a table of uses all results. Before the first computation the
// memory of results is filled with a pattern that is another one for each way, so that what was not computed
// differs.
//
// A request to stop comes first, if the recipe has one: it must end with GGML_STATUS_ABORTED and nothing that
// counts as a failure. Then everything is filled anew and computed without.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ggml/random/recipe.hpp"

namespace rknpu2::test {

class GgmlHost;

enum class Way {
    kOn,         // by the plug-in as it is
    kOff,        // by the plug-in in a process with GGML_RKNPU2_FUSE=0
    kReference,  // by the host's CPU backend
    kShaken,     // likewise, with errors in activations as float16 operands give them; the numbers from here
                 // on are other draws of them
};

inline bool is_by_cpu(Way way) {
    return way >= Way::kReference;
}

struct Observation {
    std::string label;  // the step, and what of it
    uint64_t step = 0;
    bool floats = false;
    std::vector<uint8_t> bytes;
};

// What one computation added to the plug-in's counters.
struct Counters {
    uint64_t failures = 0;
    uint64_t flows = 0, flow_nodes = 0, fused_nodes = 0, matmuls = 0, attentions = 0, failed_runs = 0;
};

struct Outcome {
    std::string problem;  // empty: computed; "invalid: ..." if the recipe makes no graph for this way
    std::vector<Observation> observations;
    Counters counters;
    uint64_t aborted = 0;  // requests to stop that were met
    uint64_t failed = 0;   // computations that failed, as the environment asked for
};

// In a process whose environment is the recipe's.
Outcome execute(GgmlHost& host, const Recipe& recipe, Way way);

// GGML_RKNPU2_STATS of such a process.
std::string counters_path();

// Whether all products are the NPU's in float16; else some have operands of 8 bits, there or on the CPU.
bool multiplies_exactly(const Environment& environment);

// Whether the environment makes computations fail, so that one may be tried again.
bool may_fail(const Environment& environment);

}  // namespace rknpu2::test
