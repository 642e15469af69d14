// SPDX-License-Identifier: MIT
#include "plan/policy.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace rknpu2 {
namespace {

constexpr double kNsPerUs = 1e3;

// One matrix with `rows` rows, all its runs.
double npu_us(const WeightPlan& plan, size_t rows, const BoardRates& rates) {
    const NpuArithmetic arithmetic = plan.recipe.arithmetic;
    const size_t planes = plan.recipe.planes;
    const size_t chunk_rows = kMaxRows / planes;
    const size_t cells = plan.segments.size() * plan.tiles.size();
    const size_t cores = std::min(cells, static_cast<size_t>(plan.cores));
    const auto rounds = static_cast<double>(ceil_div(cells, cores));
    const auto chunk_ns = [&](size_t count) {
        return rounds * run_ns(rates, arithmetic, bucket_rows(count * planes), plan.longest_segment(),
                               plan.tiles.front().N_padded, cores);
    };
    double total = 0;
    if (const size_t whole = rows / chunk_rows; whole > 0)
        total += static_cast<double>(whole) * chunk_ns(chunk_rows);
    if (const size_t rest = rows % chunk_rows; rest > 0) total += chunk_ns(rest);
    return total / kNsPerUs;
}

// What the CPU does around the runs of one matrix, or of several with `widest` columns: quantise rows, add results up.
// Results of a strip of columns are taken while the next one goes on (RunList), when all segments are there.
double around_us(const WeightPlan& plan, size_t rows, size_t widest, const BoardRates& rates) {
    const NpuArithmetic arithmetic = plan.recipe.arithmetic;
    const auto strips = static_cast<double>(plan.strips());
    const auto m = static_cast<double>(rows);
    const auto planes = static_cast<double>(plan.recipe.planes);
    const double sums = m * planes * static_cast<double>(plan.segments.size() * plan.N) *
                        (dtype_bits(result_type(arithmetic)) / 8.0);
    const double floats = m * static_cast<double>(plan.N) * sizeof(float);
    const double gbps =
        results_gbps(rates.results_gbps, rates.wide_results_gbps, rows, std::min(widest, plan.N));
    const double results = (sums / gbps + floats / std::min(gbps, rates.cpu_gbps)) / strips;
    const double in = m * static_cast<double>(plan.K) *
                      (sizeof(float) + planes * dtype_bits(operand_type(arithmetic)) / 8.0);
    return (rates.hand_over_ns + in / rates.cpu_gbps + results) / kNsPerUs;
}

// `matrices` of K x N, and `rows` rows in all.
double cpu_us(double matrices, size_t raw_bytes, size_t rows, size_t K, size_t N, size_t loops,
              const BoardRates& rates) {
    constexpr double kMostOfFourBits = 6, kFloatBits = 16;
    const double bytes = matrices * static_cast<double>(raw_bytes);
    const double macs = static_cast<double>(rows) * static_cast<double>(K * N);
    const double bits = 8.0 * static_cast<double>(raw_bytes) / static_cast<double>(K * N);
    const CpuProducts& products = bits <= kMostOfFourBits ? rates.cpu_four_bits : rates.cpu_eight_bits;
    // Floats of 16 bits have no dot product: half of the rate.
    const double rate = bits >= kFloatBits ? products.macs_per_ns / 2 : products.macs_per_ns;
    return (static_cast<double>(loops) * rates.region_ns +
            std::max(bytes / products.read_gbps, macs / rate)) /
           kNsPerUs;
}

// By TargetReason.
constexpr std::array<const char*, kTargetReasons> kTargetReasonTexts = {
    "experts: faster on the NPU by the cost model",
    "experts: faster on the CPU by the cost model",
    "experts: GGML_RKNPU2_EXPERTS=npu",
    "experts: GGML_RKNPU2_EXPERTS=cpu",
    "experts: precision reference",
    "plain matrices: the NPU, so that a row's result does not depend on other rows",
    "plain matrices: the NPU, whose arithmetic this precision asks for",
    "plain matrices: the NPU, where a prompt's rows flow through whole layers",
    "plain matrices: faster on the NPU by the cost model",
    "plain matrices: faster on the CPU by the cost model",
    "experts: no memory to hold them packed",
};

}  // namespace

void MatrixCall::note(NpuArithmetic arithmetic, size_t planes, size_t columns) {
    if (arithmetic == NpuArithmetic::kInt8) (planes == 1 ? one_plane : two_planes) += columns;
}

double ExpertsCall::active() const {
    const auto all = static_cast<double>(experts);
    const double unused = std::pow(1 - static_cast<double>(used) / all, static_cast<double>(tokens));
    return std::max(1.0, all * (1 - unused));
}

const char* target_reason_text(TargetReason reason) {
    return kTargetReasonTexts[static_cast<size_t>(reason)];
}

TargetChoice matrix_target(const MatrixCall& call, const Config& config, const BoardRates& rates) {
    if (config.precision == Precision::kReference) return {Target::kNpu, TargetReason::kMatrixPrecision};
    const auto us_of = [&](size_t N, Precision precision) {
        if (N == 0) return 0.0;
        const WeightPlan plan = plan_weight(N, call.K, recipe_of(precision, call.float_activations),
                                            config.cores, static_cast<size_t>(config.columns));
        return npu_us(plan, call.rows, rates) +
               around_us(plan, call.rows, call.widest == 0 ? call.N : call.widest, rates);
    };
    TargetChoice choice{Target::kNpu, TargetReason::kPlainMatrix,
                        us_of(call.N - call.one_plane - call.two_planes, config.precision) +
                            us_of(call.one_plane, Precision::kFast) +
                            us_of(call.two_planes, Precision::kBalanced),
                        cpu_us(1, call.raw_bytes, call.rows, call.K, call.N, call.weights, rates)};
    if (config.matrices == Matrices::kNpu) return choice;
    const bool arithmetic_is_asked_for = call.float_activations || config.precision == Precision::kExact ||
                                         config.precision == Precision::kNaive;
    if (arithmetic_is_asked_for) {
        choice.reason = TargetReason::kMatrixPrecision;
    } else if (call.rows >= static_cast<size_t>(kFewestFlowRows)) {
        // One small matrix on the CPU would cut a layer in two.
        choice.reason = TargetReason::kMatrixFlows;
    } else if (choice.npu_us < choice.cpu_us) {
        choice.reason = TargetReason::kMatrixFasterOnNpu;
    } else {
        choice.target = Target::kCpu;
        choice.reason = TargetReason::kMatrixFasterOnCpu;
    }
    return choice;
}

TargetChoice experts_target(const ExpertsCall& call, const Config& config, const BoardRates& rates) {
    if (config.experts == Experts::kCpu) return {Target::kCpu, TargetReason::kSettingCpu};
    if (config.precision == Precision::kReference) return {Target::kNpu, TargetReason::kReference};
    if (config.experts == Experts::kNpu) return {Target::kNpu, TargetReason::kSettingNpu};
    ExpertsCall asked = call;
    if (call.used == call.experts && !call.is_packed)
        asked.tokens = std::max(call.tokens, kPromptRowsPerExpert);  // each has a row of every token
    const double active = asked.active();
    const auto rows = static_cast<size_t>(std::ceil(static_cast<double>(asked.rows()) / active));
    const WeightPlan plan =
        plan_weight(call.N, call.K, recipe_of_expert(config.precision, call.float_activations), config.cores,
                    static_cast<size_t>(config.columns));
    TargetChoice choice;
    choice.packed_bytes = call.experts * plan.packed_bytes();
    // Gathering the rows of one expert, and scattering its results.
    const double scatter = static_cast<double>(rows * (plan.K + plan.N) * 8) / rates.cpu_gbps / kNsPerUs;
    choice.npu_us = active * (npu_us(plan, rows, rates) + around_us(plan, rows, call.N, rates) + scatter);
    choice.cpu_us = cpu_us(active, call.raw_bytes, asked.rows(), call.K, call.N, 1, rates);
    if (choice.npu_us < choice.cpu_us) {
        choice.target = Target::kNpu;
        choice.reason = TargetReason::kFasterOnNpu;
    }
    return choice;
}

}  // namespace rknpu2
