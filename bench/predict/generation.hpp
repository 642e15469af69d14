// SPDX-License-Identifier: MIT
// How fast tokens are generated with all matrices on the NPU, by the CPU backend alone, and by the plug-in's own choice;
// and what several rows at once cost.
#pragma once

#include <algorithm>

#include "predict/prediction.hpp"

namespace rknpu2 {

// Times of passes of `rows` tokens, each after `context` others.
struct Generation {
    Setting setting;
    Goal goal;
    double npu_ms = 0, cpu_ms = 0, auto_ms = 0;  // for a pass
    double one_row_ms = 0;                       // by the plug-in's own choice, for one row
    // The time of the faster of NPU and CPU, as a share of what the choice takes.
    double share_of_best() const { return std::min(npu_ms, cpu_ms) / auto_ms; }
};

Generation generation_of(Setting setting, const Goal& goal);

std::string generations_text(const std::vector<Generation>& generations);
std::string generations_csv(const std::vector<Generation>& generations);
std::string generations_json(const std::vector<Generation>& generations);

}  // namespace rknpu2
