#include "predict/designs.hpp"

#include "plan/cost_model.hpp"

namespace rknpu2 {

const std::vector<Design>& designs() {
    static const std::vector<Design> all = [] {
        Design engine{.name = "engine",
                      .adds = "each multiplication alone, layouts converted by the runtime",
                      .is_step = false,
                      .native = false};
        const Design plugin{
            .name = "plugin",
            .adds =
                "what the plug-in does: prompts flow in chunks through all operations; tokens "
                "are grouped and gated; K cut by its own rule",
            .is_step = false,
            .grouped = true,
            .gated = true,
            .overlapped = true,
            .flows = true};
        std::vector<Design> steps = {engine, plugin};
        const auto add = [&steps](const char* name, const char* adds, bool Design::*what) {
            Design design = steps.back().is_step ? steps.back() : Design{};
            design.name = name;
            design.adds = adds;
            design.*what = true;
            steps.push_back(design);
        };
        add("plain", "native layouts, written and read by our kernels", &Design::native);
        add("grouped", "one quantisation and one run for Q, K, V and for gate, up", &Design::grouped);
        add("fused-ffn", "dequantise, SiLU, multiply, quantise in one pass", &Design::fused_ffn);
        add("fused", "residual, norm and rope in the passes over the results", &Design::fused_norms);
        add("overlap", "rows in chunks, CPU and NPU overlapped within a multiplication", &Design::overlapped);
        add("wave", "chunks flow through all operations of all layers, attention too", &Design::wave);
        add("staggered", "chunks some stages apart: one's attention beside another's multiplications",
            &Design::staggered);
        add("full", "K segments and tiles planned by cost", &Design::planned_segments);
        return steps;
    }();
    return all;
}

Design for_rows(const Design& design, int64_t rows) {
    Design now = design;
    if (design.flows && rows >= kFewestFlowRows) {
        now.gated = false;
        now.fused_ffn = now.fused_norms = now.wave = now.staggered = true;
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
