// The designs that are compared: what open engines do, what the plug-in does, and the steps from the simplest
// plug-in to the whole plan, of which each adds one thing to the one before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

struct Design {
    const char* name;
    const char* adds;
    bool is_step = true;
    bool native = true;        // A and C in the chip's layout; else the runtime converts
    bool grouped = false;      // one quantisation, and one run, for Q, K, V and for gate, up
    bool gated = false;        // gate, up: SiLU and product in the pass over the results
    bool fused_ffn = false;    // gate, up: from int32 over SiLU and product to the input of down in one pass
    bool fused_norms = false;  // residual, norm and rope in the pass over the results
    bool overlapped = false;   // row chunks: NPU and CPU at the same time, within a multiplication
    bool wave = false;         // and across the operations of all layers, attention among them
    bool staggered = false;    // a chunk runs some stages ahead of the next, so that unlike stages meet
    // As the plug-in: K cut by its rule (src/plan/cost_model.hpp), prompts in chunks of its size, with the
    // five above; single tokens without them.
    bool flows = false;
    bool planned_segments = false;  // K cut where reading the weights less often is worth it
};

// What `design` does with so many rows at once.
Design for_rows(const Design& design, int64_t rows);

// Those that are no steps first; then the steps in their order, the last of which is "full".
const std::vector<Design>& designs();

Result<Design> find_design(const std::string& name);

enum class Planes { kFast, kBalancedWithStatistics, kBalanced };

const char* planes_name(Planes planes);
Result<Planes> find_planes(const std::string& name);

}  // namespace rknpu2
