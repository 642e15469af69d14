#include "matmul/policy.hpp"

#include <algorithm>
#include <cmath>

#include "matmul/plan.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// A run call and binding its weight again: sim/profiles/rk3588.profile (submit_us, bind_us).
constexpr double kRunUs = 33 + 8;
// Three cores that stream weights, and one: bench/profiles/board.profile. Bytes in a microsecond.
constexpr double kStreamBytes[rk3588::kCores] = {11.1e3, 22.2e3, 29.5e3};
// Of a core: 1024 int8 or 512 fp16 multiply-adds a cycle at 1 GHz, of which 0.92 are reached (board.profile).
constexpr double kInt8Macs = 0.92 * 1024e3;
constexpr double kFp16Macs = 0.92 * 512e3;
// Activations of a run sit in 4 banks of 32 KiB; the weights are streamed once for each such tile (the
// simulator's rule, docs/simulator.md).
constexpr double kTileBytes = 4 * 32768.0;

// Four A76 reading, and reading and writing in kernels between which others run: board.profile.
constexpr double kCpuReadBytes = 24e3;
constexpr double kCpuCopyBytes = 20e3 * 0.5;
// Two dot products of 16 multiply-adds a cycle (Arm's optimisation guide for the Cortex-A76) on four cores at
// 2.26 GHz are 289 a nanosecond; unpacking four bits and scaling leave a third of it. The third is an
// estimate. Floats of 16 bits have no such instruction: half of that.
constexpr double kCpuMacs = 289e3 / 3;
// To start and end a loop on four threads: board.profile.
constexpr double kRegionUs = 3;

// One expert with `rows` rows, all its runs.
double npu_us(const WeightPlan& plan, size_t rows) {
    const bool int8 = plan.recipe.arithmetic == NpuArithmetic::kInt8;
    const double macs = int8 ? kInt8Macs : kFp16Macs;
    const size_t planes = plan.recipe.planes;
    const size_t chunk_rows = rows_per_chunk(planes);
    double total = 0;
    for (size_t m0 = 0; m0 < rows; m0 += chunk_rows) {
        const size_t bucket = row_buckets()[bucket_for(std::min(chunk_rows, rows - m0) * planes)];
        const auto m = static_cast<double>(bucket);
        for (const KSegment& segment : plan.segments) {
            const auto K = static_cast<double>(segment.K_padded);
            const double row_bytes = K * (int8 ? 1 : 2);
            const double passes = std::ceil(m / std::max(1.0, std::floor(kTileBytes / row_bytes)));
            // The tiles of a round run side by side; tiles are alike, or the last one is smaller.
            size_t cores = 0;
            for (const NTile& tile : plan.tiles)
                cores = std::max(cores, static_cast<size_t>(tile.core) + 1);
            const double rounds =
                std::ceil(static_cast<double>(plan.tiles.size()) / static_cast<double>(cores));
            const auto N = static_cast<double>(plan.tiles.front().N_padded);
            const double bytes =
                static_cast<double>(cores) * (passes * row_bytes * N + m * row_bytes + 4 * m * N);
            total += rounds * (kRunUs + std::max(m * K * N / macs, bytes / kStreamBytes[cores - 1]));
        }
    }
    return total;
}

// What the CPU does around the runs of one expert: gather and quantise rows, add results up, scatter them.
double around_us(const WeightPlan& plan, size_t rows) {
    const auto m = static_cast<double>(rows);
    const auto K = static_cast<double>(plan.K);
    const auto N = static_cast<double>(plan.N);
    const auto planes = static_cast<double>(plan.recipe.planes);
    const auto segments = static_cast<double>(plan.segments.size());
    const double gather = m * K * 8;
    const double quantise = m * K * (4 + planes);
    const double results = segments * m * N * (4 * planes + 8);
    const double scatter = m * N * 8;
    return 2 * kRegionUs + (gather + quantise + results + scatter) / kCpuCopyBytes;
}

double cpu_us(const ExpertsCall& call, double active) {
    const double bytes = active * static_cast<double>(call.raw_bytes);
    const double macs = static_cast<double>(call.rows()) * static_cast<double>(call.K * call.N);
    const bool floats = call.raw_bytes >= 2 * call.K * call.N;
    return kRegionUs + std::max(bytes / kCpuReadBytes, macs / (floats ? kCpuMacs / 2 : kCpuMacs));
}

}  // namespace

double ExpertsCall::active() const {
    const auto all = static_cast<double>(experts);
    const double unused = std::pow(1 - static_cast<double>(used) / all, static_cast<double>(tokens));
    return std::max(1.0, all * (1 - unused));
}

const char* place_reason_text(PlaceReason reason) {
    switch (reason) {
        case PlaceReason::kFasterOnNpu:
            return "experts: faster on the NPU by the cost model";
        case PlaceReason::kFasterOnCpu:
            return "experts: faster on the CPU by the cost model";
        case PlaceReason::kSettingNpu:
            return "experts: GGML_RKNPU2_EXPERTS=npu";
        case PlaceReason::kSettingCpu:
            return "experts: GGML_RKNPU2_EXPERTS=cpu";
        case PlaceReason::kReference:
            return "experts: precision reference";
        case PlaceReason::kNoMemory:
            return "experts: no memory to hold them packed";
    }
    return "unknown reason";
}

Placement place_experts(const ExpertsCall& call, const Config& config) {
    if (config.experts == Experts::kCpu) return {Place::kCpu, PlaceReason::kSettingCpu};
    if (config.precision == Precision::kReference) return {Place::kNpu, PlaceReason::kReference};
    if (config.experts == Experts::kNpu) return {Place::kNpu, PlaceReason::kSettingNpu};
    ExpertsCall asked = call;
    if (call.used == call.experts)
        asked.tokens = std::max(call.tokens, kPromptRowsPerExpert);  // each has a row of every token
    const double active = asked.active();
    const auto rows = static_cast<size_t>(std::ceil(static_cast<double>(asked.rows()) / active));
    const WeightPlan plan = plan_weight(call.N, call.K, recipe_of(config.precision), config.cores);
    Placement placement;
    placement.npu_us = active * (npu_us(plan, rows) + around_us(plan, rows));
    placement.cpu_us = cpu_us(asked, active);
    if (placement.npu_us < placement.cpu_us) {
        placement.place = Place::kNpu;
        placement.reason = PlaceReason::kFasterOnNpu;
    }
    return placement;
}

}  // namespace rknpu2
