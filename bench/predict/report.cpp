// SPDX-License-Identifier: MIT
#include "predict/prediction.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "predict/csv.hpp"
#include "predict/modelled.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

std::string percent(double share) {
    return format("%.1f %%", share * 100);
}

// "QKV 2x3": K segments times tiles of columns, for every group.
std::string plan_text(const Prediction& p) {
    const Setting& setting = p.setting;
    const int64_t rows = std::min(setting.ubatch, p.goal.prompt);
    std::string text = format("rows %lld", static_cast<long long>(setting.chunk_rows(rows, rows)));
    for (const Group group : kLayerGroups) {
        const CellGrid grid = products_of(setting, 0, group).front().grid;
        text += format(", %s %zux%zu", group_name(group), grid.segments, grid.tiles);
    }
    return text + " (K segments x tiles)";
}

std::string phases_text(const PassResult& pass) {
    TextTable table("lrrrr");
    table.add({"phase", "busy ms", "share", "on the critical path, ms", "share"});
    const double all = pass.seconds * 1e9;
    for (const auto& [phase, busy, critical] : pass.phases)
        table.add({phase, format("%.2f", busy * 1e-6), percent(busy / all), format("%.2f", critical * 1e-6),
                   percent(critical / all)});
    return table.to_string(4);
}

std::string busy_text(const char* what, const Utilisation& u) {
    return format("    %s: NPU %s (run calls %s; cores %s, %s, %s), CPU %s, memory %s\n", what,
                  percent(u.npu).c_str(), percent(u.npu_launch).c_str(), percent(u.npu_core[0]).c_str(),
                  percent(u.npu_core[1]).c_str(), percent(u.npu_core[2]).c_str(), percent(u.cpu).c_str(),
                  percent(u.dram).c_str());
}

std::string one_text(const Prediction& p) {
    const Setting& s = p.setting;
    std::string text = format("%s, design %s, %s\n  plan: %s\n", s.model.name.c_str(), name_of(s.design),
                              name_of(s.planes), plan_text(p).c_str());
    text += format("  pp%lld  %.1f tokens/s modelled, %s of the int8 peak of three cores\n",
                   static_cast<long long>(p.goal.prompt), p.prefill.tokens_per_second,
                   percent(p.peak_share).c_str());
    text += phases_text(p.prefill) + busy_text("busy", p.prefill.whole) +
            busy_text("busy in the middle half", p.prefill.steady);
    text +=
        format("  tg  %.2f tokens/s modelled at context %lld, %s of %.1f GB/s by weights, %s with KV cache\n",
               p.decode.tokens_per_second, static_cast<long long>(p.goal.context),
               percent(p.weights_share).c_str(), kDecodeReferenceGbps, percent(p.needed_share).c_str());
    return text + phases_text(p.decode) + busy_text("busy", p.decode.whole);
}

Json json_of(const Utilisation& u) {
    return {{"npu", u.npu},
            {"npu_run_calls", u.npu_launch},
            {"npu_cores", {u.npu_core[0], u.npu_core[1], u.npu_core[2]}},
            {"cpu", u.cpu},
            {"memory", u.dram}};
}

// By the names of GGML_RKNPU2_STATS.
Json json_of(const Counts& counts) {
    return {{"runs", counts.runs},
            {"flows", counts.flows},
            {"flow_chunks", counts.flow_chunks},
            {"attention",
             {{"nodes", counts.attentions},
              {"few_tokens", counts.few_tokens},
              {"runs", counts.attention_runs},
              {"scores", counts.scores},
              {"packed_bytes", counts.packed_bytes}}},
            {"bytes",
             {{"weights", counts.weight_bytes},
              {"activations", counts.activation_bytes},
              {"results", counts.result_bytes}}}};
}

Json json_of(const PassResult& pass) {
    Json busy = Json::object(), critical = Json::object();
    for (const PhaseTime& time : pass.phases) {
        busy[time.phase] = time.busy_ns * 1e-6;
        if (time.critical_ns > 0) critical[time.phase] = time.critical_ns * 1e-6;
    }
    return {{"tokens_per_second", pass.tokens_per_second},
            {"seconds", pass.seconds},
            {"busy_ms", busy},
            {"critical_path_ms", critical},
            {"utilisation", json_of(pass.whole)},
            {"utilisation_middle_half", json_of(pass.steady)},
            {"counts", json_of(pass.counts)}};
}

// What a table has of it.
Json row_of(const Prediction& p) {
    const Setting& s = p.setting;
    const Utilisation& u = p.prefill.steady;
    const int64_t rows = std::min(s.ubatch, p.goal.prompt);
    const int64_t chunk_rows = s.chunk_rows(rows, rows);
    const auto chunks = static_cast<size_t>((rows + chunk_rows - 1) / chunk_rows);
    return {{"model", s.model.name},
            {"design", name_of(s.design)},
            {"precision", name_of(s.planes)},
            {"prompt", p.goal.prompt},
            {"context", p.goal.context},
            {"chunk_rows", chunk_rows},
            {"chunk_skew", s.chunk_skew(rows, p.goal.prompt, chunks)},
            {"pp_tps", p.prefill.tokens_per_second},
            {"share_of_int8_peak", p.peak_share},
            {"tg_tps", p.decode.tokens_per_second},
            {"share_of_memory_by_weights", p.weights_share},
            {"share_of_memory_with_kv_cache", p.needed_share},
            {"npu", u.npu},
            {"cpu", u.cpu},
            {"memory", u.dram},
            {"busiest", busiest(u).resource},
            {"busiest_share", busiest(u).share}};
}

Json json_of(const Prediction& p) {
    Json all = row_of(p);
    for (const Group group : kLayerGroups) {
        const CellGrid grid = products_of(p.setting, 0, group).front().grid;
        all["grids"][group_name(group)] = {{"k_segments", grid.segments}, {"n_tiles", grid.tiles}};
    }
    all["prefill"] = json_of(p.prefill);
    all["decode"] = json_of(p.decode);
    return all;
}

}  // namespace

std::string predictions_text(const std::vector<Prediction>& predictions) {
    std::string text = kModelledNote;
    TextTable table("lllrrrrrlrrr");
    table.add({"model", "design", "precision", "pp/s", "of peak", "NPU", "CPU", "memory", "busiest", "tg/s",
               "weights", "+ KV"});
    for (const Prediction& p : predictions) {
        const Utilisation& u = p.prefill.steady;
        table.add({p.setting.model.name, name_of(p.setting.design), name_of(p.setting.planes),
                   format("%.1f", p.prefill.tokens_per_second), percent(p.peak_share), percent(u.npu),
                   percent(u.cpu), percent(u.dram), busiest(u).resource,
                   format("%.2f", p.decode.tokens_per_second), percent(p.weights_share),
                   percent(p.needed_share)});
    }
    text += table.to_string();
    for (const Prediction& prediction : predictions) {
        text += '\n';
        text += one_text(prediction);
    }
    return text;
}

std::string predictions_csv(const std::vector<Prediction>& predictions) {
    std::vector<Json> rows;
    std::transform(predictions.begin(), predictions.end(), std::back_inserter(rows), row_of);
    return csv_text(
        "model,design,precision,prompt,context,chunk_rows,chunk_skew,pp_tps,share_of_int8_peak,tg_tps,"
        "share_of_memory_by_weights,share_of_memory_with_kv_cache,npu,cpu,memory,busiest,busiest_share",
        rows);
}

std::string predictions_json(const std::vector<Prediction>& predictions) {
    std::vector<Json> all;
    std::transform(predictions.begin(), predictions.end(), std::back_inserter(all),
                   [](const Prediction& prediction) { return json_of(prediction); });
    return modelled_json("predictions", all);
}

}  // namespace rknpu2
