// SPDX-License-Identifier: MIT
#include "predict/prediction.hpp"

namespace rknpu2 {
namespace {

void add(PhaseTimes* times, const std::string& phase, double ns) {
    for (auto& [name, sum] : *times) {
        if (name != phase) continue;
        sum += ns;
        return;
    }
    times->emplace_back(phase, ns);
}

PassResult run_pass(const Setting& setting, const Rows& rows) {
    PassResult result;
    const Machine machine{setting.board.dram_gbps, setting.board.cpu_threads, setting.board.cpu_beside_npu};
    result.graph = build_graph(setting, rows);
    const std::vector<Operation>& operations = result.graph.operations;
    result.schedule = make_schedule(operations, machine);
    const double elapsed = result.schedule.elapsed_ns;
    result.seconds = elapsed * 1e-9;
    result.tokens_per_second = static_cast<double>(rows.count) / result.seconds;
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

}  // namespace

Prediction predict(const Setting& setting, const Goal& goal) {
    Prediction prediction{.setting = setting, .goal = goal};
    const ModelShape& model = setting.model;
    prediction.prefill = run_pass(setting, {.first = 0, .count = goal.prompt});
    prediction.decode = run_pass(setting, {.first = goal.context, .count = 1});

    const double operations = 2.0 * static_cast<double>(model.layers * model.layer_weights());
    prediction.peak_share = operations * prediction.prefill.tokens_per_second / setting.board.int8_peak(3);
    const auto weights = static_cast<double>(model.token_weights());  // a byte each
    const double cache = 4.0 * static_cast<double>(model.layers * goal.context * model.kv_size());
    const double reference = kDecodeReferenceGbps * 1e9 * prediction.decode.seconds;
    prediction.weights_share = weights / reference;
    prediction.needed_share = (weights + cache) / reference;
    return prediction;
}

}  // namespace rknpu2
