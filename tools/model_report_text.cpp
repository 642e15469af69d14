// SPDX-License-Identifier: MIT
// How a ModelReport is shown: JSON for programs, aligned text for people.
#include <algorithm>
#include <cinttypes>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "model_report.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

using nlohmann::ordered_json;

ordered_json text_or_null(const std::string& text) {
    return text.empty() ? ordered_json(nullptr) : ordered_json(text);
}

size_t shown_dimensions(const GgufTensor& tensor) {
    return std::max<size_t>(1, tensor.dimensions);
}

ordered_json json_of_placements(const TensorReport& report) {
    ordered_json document = ordered_json::object();
    for (const auto& [name, placement] : {std::pair{"token", &report.token}, {"prompt", &report.prompt}}) {
        document[name] = {{"runs_on", placement->target == Target::kNpu ? "npu" : "cpu"},
                          {"reason", target_reason_text(placement->reason)},
                          {"npu_us", placement->npu_us},
                          {"cpu_us", placement->cpu_us}};
    }
    return document;
}

ordered_json json_of(const TensorReport& report) {
    const GgufTensor& tensor = *report.tensor;
    const bool plain = report.on_npu && is_weight_matrix(report.role);
    ordered_json shape = ordered_json::array();
    for (size_t d = 0; d < shown_dimensions(tensor); ++d)
        shape.push_back(tensor.ne[d]);
    return {
        {"name", tensor.name},
        {"type", tensor.type->name},
        {"shape", shape},
        {"K", tensor.ne[0]},
        {"N", tensor.ne[1]},
        {"role", role_name(report.role)},
        {"runs_on", report.on_npu ? "npu" : "cpu"},
        {"precision", text_or_null(report.precision)},
        {"raw_bytes", tensor.bytes},
        {"packed_bytes", report.packed_bytes},
        {"planes", report.planes},
        {"activation_statistics", report.with_stats},
        {"planes_reason", text_or_null(report.role == TensorRole::kExperts ? "" : report.why_planes)},
        {"experts", report.role == TensorRole::kExperts ? json_of_placements(report) : nullptr},
        {"placement", plain ? json_of_placements(report) : nullptr},
        {"reason", text_or_null(report.reason)},
    };
}

std::string shape_text(const GgufTensor& tensor) {
    std::string text;
    for (size_t d = 0; d < shown_dimensions(tensor); ++d)
        text += (d > 0 ? " x " : "") + std::to_string(tensor.ne[d]);
    return text;
}

std::string tensor_table(const ModelReport& model) {
    TextTable table("lllllrrl");
    table.add({"TENSOR", "TYPE", "SHAPE", "RUNS ON", "AS", "PLANES", "PACKED", "WHY"});
    for (const TensorReport& report : model.tensors) {
        table.add({printable(report.tensor->name), report.tensor->type->name, shape_text(*report.tensor),
                   report.on_npu ? "NPU" : "CPU", report.precision.empty() ? "-" : report.precision,
                   report.on_npu ? std::to_string(report.planes) : "-",
                   report.on_npu ? human_bytes(report.packed_bytes) : "-",
                   report.on_npu ? report.why_planes : report.reason});
    }
    return table.to_string();
}

std::vector<std::string> totals_row(const std::string& name, const Totals& totals) {
    return {name, format("%" PRIu64 " of %" PRIu64, totals.on_npu, totals.matrices),
            human_bytes(totals.raw_bytes), human_bytes(totals.raw_bytes_on_npu),
            human_bytes(totals.packed_bytes)};
}

std::string totals_table(const ModelReport& model) {
    TextTable table("lrrrr");
    table.add({"WEIGHT MATRICES", "ON THE NPU", "IN THE FILE", "OF THOSE ON THE NPU", "PACKED"});
    for (const auto& [type, totals] : model.by_type)
        table.add(totals_row(type, totals));
    table.add(totals_row("all", model.totals));
    return table.to_string();
}

}  // namespace

std::string to_json(const ModelReport& model) {
    ordered_json by_type = ordered_json::object();
    for (const auto& [type, totals] : model.by_type) {
        by_type[type] = {{"weight_matrices", totals.matrices},
                         {"weight_matrices_on_npu", totals.on_npu},
                         {"raw_bytes", totals.raw_bytes},
                         {"packed_bytes", totals.packed_bytes}};
    }
    ordered_json refusals = ordered_json::object();
    for (const auto& [reason, count] : model.refusals)
        refusals[reason] = count;
    ordered_json tensors = ordered_json::array();
    for (const TensorReport& report : model.tensors)
        tensors.push_back(json_of(report));
    const ordered_json document = {
        {"schema", 1},
        {"version", RKNPU2_VERSION},
        {"model", model.path},
        {"architecture", model.traits.architecture},
        {"kind", kind_name(model.traits.kind)},
        {"causal", model.traits.causal},
        {"context", model.traits.context},
        {"layers", model.traits.layers},
        {"ngl", model.ngl},
        {"precision", precision_name(model.precision)},
        {"cores", model.cores},
        {"weight_matrices", model.totals.matrices},
        {"weight_matrices_on_npu", model.totals.on_npu},
        {"expert_tensors", model.expert_tensors},
        {"experts_used", model.experts_used},
        {"expert_packed_bytes", model.expert_packed_bytes},
        {"weight_matrices_with_statistics", model.totals.with_stats},
        {"weight_matrices_with_two_planes", model.totals.two_planes},
        {"extra_work_prompt", model.plane_cost.prompt},
        {"extra_work_all_rows", model.plane_cost.all_rows},
        {"extra_bytes_decode", model.plane_cost.decode},
        {"modelled_ms",
         {{"token", {{"npu", model.modelled.token_npu}, {"cpu", model.modelled.token_cpu}}},
          {"prompt", {{"npu", model.modelled.prompt_npu}, {"cpu", model.modelled.prompt_cpu}}}}},
        {"raw_bytes", model.totals.raw_bytes},
        {"raw_bytes_on_npu", model.totals.raw_bytes_on_npu},
        {"packed_bytes", model.totals.packed_bytes},
        {"tensor_bytes", model.tensor_bytes},
        {"by_type", by_type},
        {"refused", refusals},
        {"notes", model.notes},
        {"tensors", tensors},
    };
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const ModelReport& model) {
    std::string text = tensor_table(model) + "\n" + totals_table(model) + "\n";
    text += format("%s: %s, %" PRIu64 " layers, %zu tensors, %s\n", printable(model.path).c_str(),
                   model.traits.architecture.empty() ? "no architecture named"
                                                     : printable(model.traits.architecture).c_str(),
                   model.traits.layers, model.tensors.size(), human_bytes(model.tensor_bytes).c_str());
    text += format("-ngl %" PRId64 ", precision %s: %" PRIu64 " of %" PRIu64 " weight matrices on the NPU\n",
                   model.ngl, precision_name(model.precision), model.totals.on_npu, model.totals.matrices);
    if (model.precision == Precision::kBalanced && model.totals.on_npu > 0) {
        text +=
            format("activations: %" PRIu64 " weights have statistics, %" PRIu64
                   " a second plane: %.1f %% more work for the NPU when a prompt is processed (%.1f %% with "
                   "logits for all of it), %.1f %% more bytes for each generated token\n",
                   model.totals.with_stats, model.totals.two_planes, 100 * model.plane_cost.prompt,
                   100 * model.plane_cost.all_rows, 100 * model.plane_cost.decode);
        // Only for such models was that measured to be worth it (docs/quality.md).
        const bool helps = model.traits.kind == ModelKind::kModel && model.traits.causal;
        if (model.totals.with_stats == 0 && helps)
            text += "note: scripts/calibrate.sh MODEL makes statistics, which save most of that\n";
    }
    if (model.modelled.token_npu > 0) {
        const ModelledTimes& ms = model.modelled;
        text += format(
            "%s; modelled, nobody has timed it on a board, each by itself: one token's %.1f ms on "
            "the NPU, %.1f on the CPU; a prompt's of %zu tokens %.0f and %.0f\n",
            model.matrices == Matrices::kNpu ? target_reason_text(TargetReason::kPlainMatrix)
                                             : "plain matrices: by the cost model",
            ms.token_npu, ms.token_cpu, kPromptTokens, ms.prompt_npu, ms.prompt_cpu);
    }
    if (model.expert_packed_bytes > 0) {
        text += format("experts: %" PRIu64 " stacks, %s when packed, as far as there is memory for them\n",
                       model.expert_tensors, human_bytes(model.expert_packed_bytes).c_str());
    }
    for (const auto& [reason, count] : model.refusals)
        text += format("not on the NPU: %" PRIu64 " x %s\n", count, reason.c_str());
    for (const std::string& note : model.notes)
        text += "note: " + note + "\n";
    return text;
}

}  // namespace rknpu2
