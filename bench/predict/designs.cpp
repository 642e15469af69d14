// SPDX-License-Identifier: MIT
#include "predict/designs.hpp"

#include "plan/cost_model.hpp"

namespace rknpu2 {

const std::vector<Design>& designs() {
    static const std::vector<Design> all = {kPlain, kPlugin};
    return all;
}

Design for_rows(const Design& design, int64_t rows) {
    Design now = design;
    if (design.flows && rows >= kFewestFlowRows) {
        now.gated = false;
        now.fused = now.wave = true;
    }
    return now;
}

Result<Design> find_design(const std::string& name) {
    std::string names;
    for (const Design& design : designs()) {
        if (name == design.name) return design;
        names += (names.empty() ? "" : ", ") + std::string(design.name);
    }
    return Status(StatusCode::kInvalidArgument, "no design is called \"" + name + "\"; there are " + names);
}

const char* planes_name(Planes planes) {
    switch (planes) {
        case Planes::kFast:
            return "fast";
        case Planes::kBalancedWithStatistics:
            return "balanced+statistics";
        case Planes::kBalanced:
            return "balanced";
    }
    return "";
}

Result<Planes> find_planes(const std::string& name) {
    for (const Planes planes : {Planes::kFast, Planes::kBalancedWithStatistics, Planes::kBalanced}) {
        if (name == planes_name(planes)) return planes;
    }
    return Status(StatusCode::kInvalidArgument, "no precision is called \"" + name +
                                                    "\"; there are fast, balanced+statistics and balanced");
}

}  // namespace rknpu2
