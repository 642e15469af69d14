// SPDX-License-Identifier: MIT
// The steps of one layer, in their order: what runs where and what it costs for some rows.
//
// A step that a design takes into another one is not there; the other one touches more bytes. Bytes are
// counted as they go through memory: a row of activations is 4 bytes an element as float32, 1 for each plane
// as the NPU's input, and 4 for each plane and K segment as its int32 results.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "plan/attention_sizes.hpp"
#include "plan/cost_model.hpp"
#include "predict/model_shapes.hpp"
#include "predict/runs.hpp"

namespace rknpu2 {

// What Sync::kLines costs the loops over `bytes` of either.
double line_ns(double bytes, const BoardProfile& board);

// A loop of the CPU's team over matrices in memory.
Operation cpu_pass(double bytes, const BoardProfile& board);

// Flash attention of the rows first .. first + rows - 1 over all positions up to each, or the last `window` of
// them (0: all).
Operation cpu_attention(int64_t first, int64_t rows, int64_t window, const ModelShape& model,
                        const BoardProfile& board);

// The same by the plug-in's own kernel for few tokens (src/attention/few_tokens.hpp).
Operation cpu_attention_of_few(int64_t first, int64_t rows, int64_t window, const ModelShape& model,
                               const BoardProfile& board);

// What the plug-in does, and what it is held against: every multiplication quantises its own activations, and
// nothing overlaps. docs/measurements/designs.csv says what other designs would be worth.
enum class Design { kPlain, kPlugin };
// compact: four bits but for the output head and what the budget leaves, as the plug-in chooses.
enum class Planes { kFast, kBalancedWithStatistics, kBalanced, kCompact };
// Where the plug-in computes attention (src/plan/attention_policy.hpp).
enum class AttentionOn { kAuto, kNpu, kCpu };
// Where matrices are multiplied: as GGML_RKNPU2_MATRICES says, or by the CPU backend alone (predict/matrices.hpp).
enum class MatricesOn { kNpu, kAuto, kCpu };
// Who computes a group; woken: the CPU's threads have slept before.
enum class Place { kNpu, kCpu, kWokenCpu };
using Places = std::vector<Place>;

// Their names, by number.
inline constexpr std::array kDesignNames = {"plain", "plugin"};
inline constexpr std::array kPlanesNames = {"fast", "balanced+statistics", "balanced", "compact"};
inline constexpr std::array kSyncNames = {"none", "owner", "lines"};
inline constexpr std::array kAttentionNames = {"auto", "npu", "cpu"};
inline constexpr std::array kMatricesNames = {"npu", "auto", "cpu"};
inline const char* name_of(Design design) {
    return kDesignNames[static_cast<size_t>(design)];
}
inline const char* name_of(Planes planes) {
    return kPlanesNames[static_cast<size_t>(planes)];
}

// How some rows go through the model.
//   kPlain     operation by operation
//   kTogether  the plug-in's few rows: weights with the same activations are multiplied together, SiLU is in
//              the pass over their results, and all nodes between two multiplications are one call
//   kFlow      the plug-in's prompts: all up to the next multiplication is in the pass over the results, and
//              chunks of rows flow through all layers
enum class Way { kPlain, kTogether, kFlow };
Way way_of(Design design, int64_t rows);

// The schedule of the plug-in's prompts, as numbers that can be tried out. Yes and no are 1 and 0.
struct EngineSchedule {
    int64_t chunk_rows = 0;  // 0: what flow_chunk_rows() says
    int64_t chunk_skew = 0;  // stages that a chunk is ahead of the next one; 0: what flow_skew() says
    int64_t jobs_in_lane = kFlowChunksInLane;  // of a flow
    int64_t slots = kFlowResultSlots;          // of results
    int64_t runs_between = 1;      // do attention's runs go between those of a flow's job on a core?
    int64_t attentions = kPlaces;  // in progress at a time
    // Passes of other chunks before an attention waits, with one at a time: 0 none, 1 those behind it, 2 all.
    int64_t passes_meanwhile = 1;
    int64_t attention_groups = kAttentionGroups;
    int64_t added_later = kAttentionGroups - 1;  // turns after they were weighed
    int64_t value_rows = kAttentionBlock;        // positions of a product by values, from the second block on
    int64_t position_step =
        kColumnStep;       // units end at the last position that a row sees, rounded up to this
    int64_t cell_mib = 0;  // of packed keys and values; 0: what kept_blocks() says
    int64_t npu_queries =
        0;  // of a KV head, from which attention of few tokens is the NPU's; 0: what faster_attention() says
};

struct ScheduleNumber {
    const char* name;
    int64_t EngineSchedule::*member;
};
inline constexpr ScheduleNumber kScheduleNumbers[] = {
    {"chunk_rows", &EngineSchedule::chunk_rows},
    {"chunk_skew", &EngineSchedule::chunk_skew},
    {"jobs_in_lane", &EngineSchedule::jobs_in_lane},
    {"slots", &EngineSchedule::slots},
    {"runs_between", &EngineSchedule::runs_between},
    {"attentions", &EngineSchedule::attentions},
    {"passes_meanwhile", &EngineSchedule::passes_meanwhile},
    {"attention_groups", &EngineSchedule::attention_groups},
    {"added_later", &EngineSchedule::added_later},
    {"value_rows", &EngineSchedule::value_rows},
    {"position_step", &EngineSchedule::position_step},
    {"cell_mib", &EngineSchedule::cell_mib},
    {"npu_queries", &EngineSchedule::npu_queries},
};

struct Setting {
    ModelShape model;
    Design design = Design::kPlugin;
    Planes planes = Planes::kFast;
    BoardProfile board;
    Sync sync = Sync::kOwner;
    AttentionOn attention = AttentionOn::kAuto;
    MatricesOn matrices = MatricesOn::kNpu;
    double stored_bits = 4.5;  // of a weight in the file; what the CPU reads
    double compact_bytes = Config().compact_bytes;
    int64_t ubatch = 512;  // rows of a graph, at most
    EngineSchedule engine;

    // For a graph of `rows` whose attention sees so many positions.
    int64_t chunk_rows(int64_t rows, int64_t positions) const;
    // For that graph.
    int64_t chunk_skew(int64_t rows, int64_t positions, size_t chunks) const;
    bool attends_on_npu(int64_t tokens, int64_t positions) const;
    // Where it is the CPU's: by our own kernel, not by ggml's?
    bool attends_by_own_kernel(int64_t tokens) const;
    // Rows of the NPU's input for each row of activations: 1 or 2.
    int planes_of(int64_t layer, Group group) const;
    // By weight of a layer's group.
    std::vector<NpuArithmetic> arithmetics_of(int64_t layer, Group group) const;
};

// What is multiplied at once: a weight, or a whole group of N columns together.
struct Product {
    int64_t N, K;
    int64_t width;  // columns of its widest weight
    CellGrid grid;
    size_t strips = 1;  // of columns (RunList), whose results are taken by themselves
    std::vector<ProductRun> runs;
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    int digits = 2;  // with int4: rows of the NPU's input for each row of activations
};
std::vector<Product> products_of(const Setting& setting, int64_t layer, Group group);

// Rows of a prompt, or one token: first .. first + count - 1 of the context.
struct Rows {
    int64_t first, count;
};

struct Stage {
    const char* phase;
    // They wait for earlier ones of the stage, by their indices in it; those that wait for none do so for the stage
    // before. Order and names that are missing come later.
    std::vector<Operation> operations;
    bool block_begins = false;   // where chunks wait for each other unless they flow
    bool causal = false;         // needs the chunks before it
    bool takes_results = false;  // of the stage before, on the NPU
};

// The stages of that layer; for -1 what comes once before the first layer, for the number of layers the output
// head. What follows the last layer's attention is computed for the rows that the head takes alone, and so it
// stands before the head. `attention`: of those rows, where it is not the CPU's. `places`: of all groups; empty: the
// NPU has all.
std::vector<Stage> stages_of(const Setting& setting, Way way, int64_t layer, const Rows& rows,
                             const Stage* attention = nullptr, const Places& places = {});

}  // namespace rknpu2
