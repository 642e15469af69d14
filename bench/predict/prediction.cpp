// SPDX-License-Identifier: MIT
#include "predict/prediction.hpp"

#include <algorithm>

#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

void add(PhaseTimes* times, const std::string& phase, double ns) {
    for (auto& [name, sum] : *times) {
        if (name == phase) {
            sum += ns;
            return;
        }
    }
    times->emplace_back(phase, ns);
}

PassResult run_pass(const Setting& setting, const Pass& pass) {
    PassResult result;
    const Machine machine{setting.board.dram_gbps, setting.board.cpu_threads, setting.board.cpu_beside_npu};
    result.graph = build_graph(setting, pass);
    const std::vector<Operation>& operations = result.graph.operations;
    result.schedule = make_schedule(operations, machine);
    const double elapsed = result.schedule.elapsed_ns;
    result.seconds = elapsed * 1e-9;
    result.tokens_per_second = static_cast<double>(pass.rows) / result.seconds;
    const auto account = [&](size_t i, PhaseTimes* times) {
        const Span& span = result.schedule.spans[i];
        if (operations[i].server == Server::kNpu) add(times, "run calls", span.body_ns - span.start_ns);
        const double from = operations[i].server == Server::kNpu ? span.body_ns : span.start_ns;
        add(times, operations[i].phase, span.end_ns - from);
    };
    for (size_t i = 0; i < operations.size(); ++i)
        account(i, &result.busy_ns);
    for (const size_t i : critical_path(result.schedule))
        account(i, &result.critical_ns);
    result.whole = utilisation(operations, result.schedule, machine, 0, elapsed);
    result.steady = utilisation(operations, result.schedule, machine, elapsed / 4, elapsed * 3 / 4);
    return result;
}

// What the plug-in makes of weights that it multiplies together.
Grid plugin_grid(const ModelShape& model, Group group) {
    size_t N = 0, K = 0;
    for (const WeightShape& weight : weights_of(model, group)) {
        N += static_cast<size_t>(weight.N);
        K = static_cast<size_t>(weight.K);
    }
    const size_t segments = best_segments(kBoardRates, NpuArithmetic::kInt8, K);
    return {static_cast<int64_t>(segments), static_cast<int64_t>(tile_count(N, segments, rknnsim::kCores))};
}

Plan plan_of(const Setting& setting) {
    Plan plan;
    // A token's last multiplication is soonest with K dealt to the cores: one round, short sums.
    if (setting.design.fused) plan.grids[Group::kDown] = {rknnsim::kCores, 1};
    if (!setting.design.flows) return plan;
    plan.chunk = kFlowChunkRows;
    plan.skew = kFlowSkew;
    for (const Group group : kLayerGroups)
        plan.grids[group] = plugin_grid(setting.model, group);
    return plan;
}

}  // namespace

Prediction predict(const Setting& setting, const Goal& goal) {
    Prediction prediction{.setting = setting, .goal = goal};
    Setting& s = prediction.setting;
    s.plan = plan_of(setting);
    const ModelShape& model = s.model;
    prediction.prefill = run_pass(s, {.first_row = 0, .rows = goal.prompt, .layers = model.layers});
    prediction.decode = run_pass(s, {.first_row = goal.context, .rows = 1, .layers = model.layers});

    const double operations = 2.0 * static_cast<double>(model.layers * model.layer_weights());
    prediction.peak_share = operations * prediction.prefill.tokens_per_second / s.board.int8_peak(3);
    const auto weights = static_cast<double>(model.token_weights());  // a byte each
    const double cache = 4.0 * static_cast<double>(model.layers * goal.context * model.kv_size());
    const double reference = kDecodeReferenceGbps * 1e9 * prediction.decode.seconds;
    prediction.weights_share = weights / reference;
    prediction.needed_share = (weights + cache) / reference;
    return prediction;
}

}  // namespace rknpu2
