// SPDX-License-Identifier: MIT
// The steps of one layer under a design, in their order: what runs where and what it costs for some rows.
//
// A step that the design fuses into another is not there; the one that takes it in touches more bytes. Bytes
// are counted as they go through memory: a row of activations is 4 bytes an element as float32, 1 for each
// plane as the NPU's input, and 4 for each plane and K segment as its int32 results.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "predict/costs.hpp"
#include "predict/designs.hpp"
#include "predict/model_shapes.hpp"

namespace rknpu2 {

// How the design spreads the work.
struct Plan {
    int64_t chunk = 256;          // rows
    int64_t skew = 0;             // stages that a chunk may run ahead of the next one before it yields to it
    std::map<Group, Grid> grids;  // a group that is not here has its smallest grid
};

struct Setting {
    ModelShape model;
    Design design;
    Planes planes = Planes::kFast;
    BoardProfile board;
    Sync sync = Sync::kOwner;
    Plan plan;

    // Rows of the NPU's input for each row of activations: 1 or 2.
    int planes_of(int64_t layer, Group group) const;
    // Under statistics, the share of the layers in which that group has two planes.
    double share_with_two_planes(Group group) const;
};

struct Stage {
    const char* phase;
    std::string what;
    // Operations that follow each other; dependencies, order and names are filled in later.
    std::function<std::vector<Operation>(int64_t first_row, int64_t rows)> cost;
    bool block_begins = false;  // where chunks wait for each other unless the design lets them flow
    bool causal = false;        // needs the chunks before it
};

std::vector<Stage> layer_stages(const Setting& setting, int64_t layer);

// What comes once before the first layer, and the output head (of one row).
std::vector<Stage> first_stages(const Setting& setting);
std::vector<Stage> head_stages(const Setting& setting);

}  // namespace rknpu2
