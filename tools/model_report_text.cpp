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

std::vector<uint64_t> shape_of(const GgufTensor& tensor) {
    return {tensor.ne.begin(), tensor.ne.begin() + std::max<uint32_t>(1, tensor.dimensions)};
}

const char* target_name(bool npu) {
    return npu ? "npu" : "cpu";
}

ordered_json json_of(const TargetChoice& choice) {
    return {{"runs_on", target_name(choice.target == Target::kNpu)},
            {"reason", target_reason_text(choice.reason)},
            {"npu_us", choice.npu_us},
            {"cpu_us", choice.cpu_us}};
}

std::string shape_text(const GgufTensor& tensor) {
    std::vector<std::string> sizes;
    for (const uint64_t size : shape_of(tensor))
        sizes.push_back(std::to_string(size));
    return joined(sizes, " x ");
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

std::string precision_table(const ModelReport& model) {
    if (model.precisions.empty()) return "";
    TextTable table("lrrrrrl");
    table.add(
        {"PRECISION", "PACKED", "BYTES A WEIGHT", "AND THE FILE", "ms A TOKEN (1)", "MEAN KLD (2)", ""});
    for (const PrecisionRow& row : model.precisions) {
        const bool usable = row.why_not.empty();
        table.add({precision_name(row.precision), usable ? human_bytes(row.packed_bytes) : "-",
                   usable ? format("%.3f", row.bytes_a_weight) : "-", usable ? human_bytes(row.memory) : "-",
                   usable ? format("%.1f", row.token_ms) : "-", row.divergence, row.why_not});
    }
    return table.to_string() + "(1) of the matrices on the NPU, each alone, by the cost model; rates: " +
           printable(model.rates_from) +
           "\n"
           "(2) measured with SmolLM2-135M-Instruct Q4_1 and statistics, whose CPU backend has 0.0029: "
           "docs/quality.md\n"
           "    fast on README.md, the others on a text of Debian's package anarchism\n";
}

std::string attention_text(const AttentionReport& attention) {
    if (attention.heads == 0) return "";
    if (attention.reason != AttentionReason::kOnNpu)
        return format("attention on the CPU: %s\n", attention_reason_text(attention.reason));
    std::vector<std::string> memory;
    for (const auto& [positions, bytes] : attention.memory)
        memory.push_back(format("%s at %zu positions", human_bytes(bytes).c_str(), positions));
    return format("attention of long prompts on the NPU: %zu contexts and at most %s\n", attention.contexts,
                  joined(memory, ", ").c_str());
}

}  // namespace

static void to_json(ordered_json& to, const PrecisionRow& row) {
    to = {{"precision", precision_name(row.precision)},
          {"packed_bytes", row.packed_bytes},
          {"bytes_a_weight", row.bytes_a_weight},
          {"memory_bytes", row.memory},
          {"token_ms", row.token_ms},
          {"why_not", text_or_null(row.why_not)}};
}

static void to_json(ordered_json& to, const TensorReport& report) {
    const GgufTensor& tensor = *report.tensor;
    const bool experts = report.role == TensorRole::kExperts;
    const bool plain = report.on_npu && is_weight_matrix(report.role);
    const ordered_json placements = {{"token", json_of(report.token)}, {"prompt", json_of(report.prompt)}};
    to = {
        {"name", tensor.name},
        {"type", tensor.type->name},
        {"shape", shape_of(tensor)},
        {"K", tensor.ne[0]},
        {"N", tensor.ne[1]},
        {"role", role_name(report.role)},
        {"runs_on", target_name(report.on_npu)},
        {"precision", text_or_null(report.precision)},
        {"raw_bytes", tensor.bytes},
        {"packed_bytes", report.packed_bytes},
        {"planes", report.planes},
        {"activation_statistics", report.with_stats},
        {"planes_reason", text_or_null(experts ? "" : report.why_planes)},
        {"experts", experts ? placements : nullptr},
        {"placement", plain ? placements : nullptr},
        {"reason", text_or_null(report.reason)},
    };
}

static ordered_json json_of(const AttentionReport& attention) {
    if (attention.heads == 0) return nullptr;
    ordered_json memory;
    for (const auto& [positions, bytes] : attention.memory)
        memory[std::to_string(positions)] = bytes;
    return {{"heads", attention.heads},
            {"kv_heads", attention.kv_heads},
            {"key_width", attention.key_width},
            {"value_width", attention.value_width},
            {"runs_on", target_name(attention.reason == AttentionReason::kOnNpu)},
            {"reason", attention_reason_text(attention.reason)},
            {"contexts", attention.contexts},
            {"memory_bytes", memory}};
}

static void to_json(ordered_json& to, const Totals& totals) {
    to = {{"weight_matrices", totals.matrices},
          {"weight_matrices_on_npu", totals.on_npu},
          {"raw_bytes", totals.raw_bytes},
          {"packed_bytes", totals.packed_bytes}};
}

std::string to_json(const ModelReport& model) {
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
        {"precision", precision_name(model.config.precision)},
        {"cores", model.config.cores},
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
        {"attention", json_of(model.attention)},
        {"raw_bytes", model.totals.raw_bytes},
        {"raw_bytes_on_npu", model.totals.raw_bytes_on_npu},
        {"packed_bytes", model.totals.packed_bytes},
        {"tensor_bytes", model.tensor_bytes},
        {"by_type", model.by_type},
        {"rates", model.rates_from},
        {"precisions", model.precisions},
        {"refused", model.refusals},
        {"notes", model.notes},
        {"tensors", model.tensors},
    };
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const ModelReport& model) {
    std::string text = tensor_table(model) + "\n" + totals_table(model) + "\n";
    if (const std::string precisions = precision_table(model); !precisions.empty()) text += precisions + "\n";
    text += format("%s: %s, %" PRIu64 " layers, %zu tensors, %s\n", printable(model.path).c_str(),
                   model.traits.architecture.empty() ? "no architecture named"
                                                     : printable(model.traits.architecture).c_str(),
                   model.traits.layers, model.tensors.size(), human_bytes(model.tensor_bytes).c_str());
    text +=
        format("-ngl %" PRId64 ", precision %s: %" PRIu64 " of %" PRIu64 " weight matrices on the NPU\n",
               model.ngl, precision_name(model.config.precision), model.totals.on_npu, model.totals.matrices);
    if (model.config.precision == Precision::kBalanced && model.totals.on_npu > 0) {
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
    if (model.expert_packed_bytes > 0) {
        text += format("experts: %" PRIu64 " stacks, %s when packed, as far as there is memory for them\n",
                       model.expert_tensors, human_bytes(model.expert_packed_bytes).c_str());
    }
    text += attention_text(model.attention);
    for (const auto& [reason, count] : model.refusals)
        text += format("not on the NPU: %" PRIu64 " x %s\n", count, reason.c_str());
    for (const std::string& note : model.notes)
        text += "note: " + note + "\n";
    return text;
}

}  // namespace rknpu2
