// SPDX-License-Identifier: MIT
#include "model_report.hpp"

#include <algorithm>
#include <cinttypes>

#include "base/format.hpp"
#include "calibration/weight_recipe.hpp"
#include "matmul/npu_flow.hpp"
#include "plan/attention_sizes.hpp"
#include "plan/rates_of_board.hpp"
#include "plan/support.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

// As src/ggml/node/describe.cpp describes it, for one row of float32 activations.
MatmulProblem problem_of(const GgufTensor& tensor, TensorRole role) {
    MatmulProblem problem;
    problem.M = 1;
    problem.K = static_cast<size_t>(tensor.ne[0]);
    problem.N = static_cast<size_t>(tensor.ne[1]);
    if (role == TensorRole::kExperts) problem.experts = static_cast<size_t>(tensor.ne[2]);
    problem.weight_is_stored = true;
    problem.weight_in_our_memory = true;
    problem.weight_is_matrix = (problem.experts > 0 || tensor.ne[2] == 1) && tensor.ne[3] == 1;
    problem.weight_is_contiguous = true;
    problem.weight_can_be_dequantised = tensor.type->to_float;
    problem.activations_are_float = true;
    problem.activations_are_contiguous = true;
    problem.shapes_agree = true;
    problem.operand_bytes = static_cast<size_t>(tensor.bytes);
    return problem;
}

// Says what is known of the tensor's activations, and what follows from it.
Recipe recipe_for(const GgufTensor& tensor, const Config& config, const FindStatistics& find_statistics,
                  TensorReport& report) {
    const bool rotates = recipe_of(config.precision).rotate;
    const auto found = rotates && find_statistics ? find_statistics(tensor) : std::nullopt;
    const Recipe recipe = recipe_of_weight(config.precision, found);
    report.with_stats = found.has_value();
    report.with_moments = found && found->entry.moments != nullptr;
    const bool compact = config.precision == Precision::kCompact;
    if (compact) report.why_planes = bit_reason_text(found ? found->bits.reason : BitReason::kWithoutMoments);
    if (config.precision == Precision::kBalanced)
        report.why_planes = plane_reason_text(found ? found->planes.reason : PlaneReason::kWithoutStats);
    return recipe;
}

std::string times(const char* what, const TargetChoice& placement) {
    if (placement.npu_us <= 0) return "";
    const bool npu = placement.target == Target::kNpu;
    return format("%s: %s, %.2f ms against %.2f", what, npu ? "NPU" : "CPU",
                  (npu ? placement.npu_us : placement.cpu_us) / 1000,
                  (npu ? placement.cpu_us : placement.npu_us) / 1000);
}

void show_times(TensorReport& report) {
    report.why_planes +=
        format("%s%s; %s", report.why_planes.empty() ? "" : "; ", times("one token", report.token).c_str(),
               times("prompt", report.prompt).c_str());
}

void put_on_npu(const MatmulProblem& problem, const Recipe& recipe, const Config& config,
                TensorReport& report) {
    report.on_npu = true;
    report.planes = recipe.planes;
    report.precision = dtype_name(operand_type(recipe.arithmetic));
    report.packed_bytes = std::max<size_t>(1, problem.experts) *
                          plan_weight(problem.N, problem.K, recipe, config.cores).packed_bytes();
}

// A stack goes to the NPU for some calls and not for others (experts_choice() in src/ggml); it
// counts as on the NPU when prompts do.
void place_stack(const GgufTensor& tensor, const MatmulProblem& problem, const ModelReport& model,
                 TensorReport& report) {
    ExpertsCall call{.K = problem.K, .N = problem.N, .experts = problem.experts, .tokens = 1};
    call.used = std::min<size_t>(std::max<size_t>(1, model.experts_used), problem.experts);
    call.raw_bytes = tensor.bytes / problem.experts;
    call.float_activations = wants_float_activations(tensor, model.traits);
    report.token = experts_target(call, model.config, model.rates);
    call.tokens = kPromptTokens;
    report.prompt = experts_target(call, model.config, model.rates);
    if (report.prompt.target == Target::kCpu && report.token.target == Target::kCpu) {
        report.reason = target_reason_text(report.prompt.reason);
        return;
    }
    put_on_npu(problem, recipe_of_expert(model.config.precision, call.float_activations), model.config,
               report);
    if (report.prompt.reason == TargetReason::kSettingNpu) {
        report.why_planes = target_reason_text(report.prompt.reason);
    } else {
        show_times(report);
    }
}

void place_plain(const GgufTensor& tensor, const MatmulProblem& problem, const ModelReport& model,
                 const FindStatistics& find_statistics, TensorReport& report) {
    const Recipe recipe = recipe_for(tensor, model.config, find_statistics, report);
    put_on_npu(problem, recipe, model.config, report);
    const auto target_of = [&](size_t rows) {
        MatrixCall call{.K = problem.K, .N = problem.N, .rows = rows, .raw_bytes = tensor.bytes};
        call.note(recipe.arithmetic, recipe.planes, problem.N);
        return matrix_target(call, model.config, model.rates);
    };
    report.token = target_of(1);
    report.prompt = target_of(kPromptTokens);
    if (report.token.reason != TargetReason::kPlainMatrix) show_times(report);
}

TensorReport report_on(const GgufTensor& tensor, const ModelReport& model,
                       const FindStatistics& find_statistics) {
    TensorReport report;
    report.tensor = &tensor;
    report.role = role_of(tensor, model.traits);
    if (report.role == TensorRole::kLookup) {
        report.reason = "not a matrix multiplication weight: its rows are looked up";
        return report;
    }
    if (!is_weight_matrix(report.role) && report.role != TensorRole::kExperts) {
        report.reason = "not a matrix multiplication weight";
        return report;
    }
    MatmulProblem problem = problem_of(tensor, report.role);
    problem.arithmetic =
        recipe_of(model.config.precision, wants_float_activations(tensor, model.traits)).arithmetic;
    const Reason reason = support(problem);
    if (!is_offloaded(tensor, report.role, model.traits, model.ngl)) {
        report.reason = format("-ngl %" PRId64 " leaves it on the CPU", model.ngl);
    } else if (reason != Reason::kSupported) {
        report.reason = reason_text(reason);
    } else if (model.config.precision == Precision::kReference) {
        const bool by_setting = problem.experts > 0 && model.config.experts == Experts::kCpu;
        report.reason = by_setting ? target_reason_text(TargetReason::kSettingCpu)
                                   : "precision reference computes on the CPU";
        if (!by_setting) report.precision = "reference";
    } else if (problem.experts > 0) {
        place_stack(tensor, problem, model, report);
    } else {
        place_plain(tensor, problem, model, find_statistics, report);
    }
    return report;
}

// What was measured of SmolLM2-135M-Instruct Q4_1 with statistics: docs/measurements/quality-files.csv, with which a test compares them.
// kFast is of 3 chunks of README.md, the others of 16 of the text of docs/quality.md.
constexpr std::pair<Precision, const char*> kCompared[] = {{Precision::kCompact, "0.120"},
                                                           {Precision::kFast, "0.0018"},
                                                           {Precision::kBalanced, "0.0013"},
                                                           {Precision::kExact, "0.000003"}};

std::vector<PrecisionRow> compare_precisions(const ModelReport& model,
                                             const FindStatistics& find_statistics) {
    std::vector<PrecisionRow> rows;
    for (const auto& [precision, divergence] : kCompared) {
        ModelReport other;
        other.traits = model.traits;
        other.ngl = model.ngl;
        other.config = model.config;
        other.config.precision = precision;
        other.rates = model.rates;
        PrecisionRow row{.precision = precision, .divergence = divergence};
        double weights = 0;
        bool moments = false;
        for (const TensorReport& known : model.tensors) {
            if (!is_weight_matrix(known.role)) continue;
            const TensorReport report = report_on(*known.tensor, other, find_statistics);
            if (!report.on_npu) continue;
            row.packed_bytes += report.packed_bytes;
            weights += static_cast<double>(report.tensor->ne[0]) * static_cast<double>(report.tensor->ne[1]);
            row.token_ms += report.token.npu_us / 1000;
            moments = moments || report.with_moments;
        }
        if (weights == 0) continue;
        if (precision == Precision::kCompact && !moments)
            row.why_not = "refused: there are no second moments of activations";
        row.bytes_a_weight = static_cast<double>(row.packed_bytes) / weights;
        row.memory = row.packed_bytes + model.tensor_bytes;
        rows.push_back(row);
    }
    return rows;
}

// Both operands and the result of one row, as int8 and int32.
PlaneCost cost_of_planes(const std::vector<TensorReport>& tensors) {
    struct Sums {
        double one = 0;
        double extra = 0;
        void add(double value, size_t planes) {
            one += value;
            extra += value * static_cast<double>(planes - 1);
        }
        double share() const { return one > 0 ? extra / one : 0; }
    };
    Sums layers;
    Sums all;
    Sums rows;
    double weights = 0;
    for (const TensorReport& report : tensors) {
        if (!report.on_npu || !is_weight_matrix(report.role)) continue;
        const auto K = static_cast<double>(report.tensor->ne[0]);
        const auto N = static_cast<double>(report.tensor->ne[1]);
        all.add(K * N, report.planes);
        if (report.role == TensorRole::kMatrix) layers.add(K * N, report.planes);
        rows.add(K + 4 * N, report.planes);
        weights += static_cast<double>(report.packed_bytes);
    }
    const double decode = rows.one > 0 ? rows.extra / (rows.one + weights) : 0;
    return {layers.share(), all.share(), decode};
}

AttentionReport attention_of(const GgufFile& file, const ModelTraits& traits, const Config& config) {
    constexpr uint64_t kMost = 1 << 16;  // of what a file may say
    const std::string of_model = traits.architecture + ".attention.";
    AttentionReport report;
    report.heads = file.number(of_model + "head_count");
    if (report.heads == 0 || report.heads > kMost) return {};
    const uint64_t width = file.number(traits.architecture + ".embedding_length") / report.heads;
    report.key_width = file.number(of_model + "key_length", width);
    report.value_width = file.number(of_model + "value_length", report.key_width);
    report.kv_heads = file.number(of_model + "head_count_kv", report.heads);
    for (const uint64_t number : {report.key_width, report.value_width, report.kv_heads})
        if (number == 0 || number > kMost) return {};
    if (report.heads % report.kv_heads != 0) return {};
    report.reason = attention_target(true, {kPromptTokens, 1, 4096}, config);
    const AttentionSizes sizes(report.kv_heads, report.key_width, report.value_width);
    const auto cores = static_cast<size_t>(config.cores);
    report.contexts = attention_contexts(cores);
    for (const size_t positions : {4096, 16384})
        report.memory[positions] =
            sizes.of_prompt(report.heads / report.kv_heads, kMaxFlowRows, positions, cores);
    return report;
}

std::vector<std::string> notes_on(const GgufFile& file, const ModelTraits& traits) {
    std::vector<std::string> notes;
    const uint64_t parts = file.number("split.count", 1);
    if (parts > 1) {
        notes.push_back(format("file %" PRIu64 " of %" PRIu64 " of a split model: the others are not counted",
                               file.number("split.no") + 1, parts));
    }
    if (file.tensors.empty()) notes.emplace_back("the file has no tensors (a vocabulary only?)");
    if (traits.tied_output) {
        notes.emplace_back(
            "no output.weight: token_embd.weight is looked up on the CPU and is the output head too");
    }
    if (traits.kind == ModelKind::kAdapter) {
        notes.emplace_back(
            "a LoRA adapter, for --lora with its model: its matrices run where those do that they change, "
            "and "
            "are multiplied beside them; -ngl counts the layers that the adapter names");
    }
    if (traits.all_on_device) notes.emplace_back("a multimodal projector: not a matter of -ngl");
    return notes;
}

}  // namespace

void Totals::add(const TensorReport& report) {
    ++matrices;
    raw_bytes += report.tensor->bytes;
    if (!report.on_npu) return;
    ++on_npu;
    raw_bytes_on_npu += report.tensor->bytes;
    packed_bytes += report.packed_bytes;
    two_planes += report.planes == 2 ? 1 : 0;
    with_stats += report.with_stats ? 1 : 0;
}

ModelReport analyse(const GgufFile& file, const std::string& path, const Config& config, int64_t ngl,
                    const FindStatistics& find_statistics, const RatesChoice& rates) {
    ModelReport model;
    model.path = path;
    model.rates = rates_of_board(rates.rates, config.cores);
    model.rates_from = rates.info;
    model.traits = traits_of(file);
    model.ngl = ngl;
    model.config = config;
    model.experts_used = file.number(model.traits.architecture + ".expert_used_count", 0);
    model.notes = notes_on(file, model.traits);
    for (const GgufTensor& tensor : file.tensors) {
        const TensorReport report = report_on(tensor, model, find_statistics);
        model.tensor_bytes += tensor.bytes;
        const bool matrix = is_weight_matrix(report.role);
        if (matrix) {
            model.totals.add(report);
            model.by_type[tensor.type->name].add(report);
        }
        if (report.role == TensorRole::kExperts) {
            ++model.expert_tensors;
            model.expert_packed_bytes += report.packed_bytes;
        }
        if ((matrix || report.role == TensorRole::kExperts) && !report.on_npu)
            ++model.refusals[report.reason];
        model.tensors.push_back(report);
    }
    model.plane_cost = cost_of_planes(model.tensors);
    model.attention = attention_of(file, model.traits, config);
    model.precisions = compare_precisions(model, find_statistics);
    return model;
}

}  // namespace rknpu2
