// SPDX-License-Identifier: MIT
// The designs that the model knows: what the plug-in does, and the plainest one, which it is held against.
//
// Two more describe other engines of which figures were published. Only --check uses them.
// docs/measurements/designs.csv says what further designs would be worth.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

struct Design {
    const char* name;
    bool native = true;       // A and C in the chip's layout; else the runtime converts
    bool grouped = false;     // one quantisation, and one run, for Q, K, V and for gate, up
    bool gated = false;       // gate, up: SiLU and product in the pass over the results
    bool fused = false;       // all up to the next multiplication in the pass over the results
    bool overlapped = false;  // row chunks: NPU and CPU at the same time, within a multiplication
    bool wave = false;        // and across the operations of all layers, attention among them
    // As the plug-in: K cut by its rule (src/plan/cost_model.hpp), prompts in chunks of its size, fused and in
    // a wave; single tokens without.
    bool flows = false;
};

inline constexpr Design kPlain{.name = "plain"};
inline constexpr Design kPlugin{
    .name = "plugin", .grouped = true, .gated = true, .overlapped = true, .flows = true};
inline constexpr Design kEngine{.name = "engine", .native = false};
inline constexpr Design kFused{.name = "fused", .grouped = true, .fused = true};

// What `design` does with so many rows at once.
Design for_rows(const Design& design, int64_t rows);

// Those that a user may name: plain and plugin.
const std::vector<Design>& designs();

Result<Design> find_design(const std::string& name);

enum class Planes { kFast, kBalancedWithStatistics, kBalanced };

const char* planes_name(Planes planes);
Result<Planes> find_planes(const std::string& name);

}  // namespace rknpu2
