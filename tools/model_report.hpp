// SPDX-License-Identifier: MIT
// Where each tensor of a model will run under stock llama.cpp with our plug-in, and why.
//
// analyse() asks nobody else: it describes every weight as the MatmulProblem that the plug-in will see, asks
// the same support(), and takes sizes from the same plan_weight(). It needs no device and reads no tensor
// data. What it cannot know is the host's other options (-ot, --device, LoRA); it answers for `-ngl` alone.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "calibration/stats_library.hpp"
#include "config/config.hpp"
#include "plan/attention_policy.hpp"
#include "plan/policy.hpp"
#include "runtime/rates_choice.hpp"
#include "tensor_role.hpp"

namespace rknpu2 {

inline constexpr int64_t kDefaultNgl = 99;

struct TensorReport {
    const GgufTensor* tensor = nullptr;
    TensorRole role = TensorRole::kOther;
    bool on_npu = false;
    std::string precision;      // int8, fp16 or reference; empty for what is not multiplied by us
    uint64_t packed_bytes = 0;  // 0 unless on_npu
    size_t planes = 0;          // of its activations; 0 unless on_npu
    bool with_stats = false;
    bool with_moments = false;  // second moments among them
    std::string why_planes;     // empty unless the precision has weights of two planes
    std::string reason;         // why not on the NPU; empty if on_npu
    // Where a call with one token and one with kPromptTokens go, for what the NPU multiplies by: the cost
    // model, the setting or a rule decides. The model's times are there for both.
    TargetChoice token;
    TargetChoice prompt;
};

inline constexpr size_t kPromptTokens = 512;  // llama.cpp's -ub

struct Totals {
    uint64_t matrices = 0;
    uint64_t on_npu = 0;
    uint64_t raw_bytes = 0;         // of the matrices, as in the file
    uint64_t raw_bytes_on_npu = 0;  // of those on the NPU
    uint64_t packed_bytes = 0;      // of those on the NPU
    uint64_t two_planes = 0;        // matrices
    uint64_t with_stats = 0;        // matrices

    void add(const TensorReport& report);
};

// What second planes cost, as shares of the same with one plane everywhere.
struct PlaneCost {
    double prompt = 0;    // multiplications of the NPU for a prompt, of which one row goes through the head
    double all_rows = 0;  // the same when every row goes through the head
    double decode = 0;    // bytes that the NPU reads and writes for one row
};

// What the model would be with a precision: for the choice among them.
struct PrecisionRow {
    Precision precision;
    uint64_t packed_bytes = 0;  // of the weight matrices on the NPU
    double bytes_a_weight = 0;  // of these
    uint64_t memory = 0;        // packed, and the file's tensors beside
    double token_ms = 0;        // of the NPU's matrices for one token, by the cost model; others are beside
    const char* divergence;     // mean KLD that was measured (docs/quality.md), of another model
    std::string why_not;        // empty: it can be used
};

// Attention on the NPU, of layers whose heads are the model's usual ones.
struct AttentionReport {
    uint64_t heads = 0, kv_heads = 0, key_width = 0, value_width = 0;  // 0: the file does not say
    AttentionReason reason = AttentionReason::kOnNpu;                  // who computes that of a long prompt
    size_t contexts = 0;
    std::map<size_t, uint64_t>
        memory;  // by the prompt's positions: of the device, for chunks of kMaxFlowRows tokens
};

struct ModelReport {
    std::string path;
    ModelTraits traits;
    int64_t ngl = kDefaultNgl;
    Config config;     // the settings
    BoardRates rates;  // by which NPU or CPU is chosen, and times are given
    std::string rates_from;
    std::vector<TensorReport> tensors;         // in the order of the file
    Totals totals;                             // over all weight matrices
    std::map<std::string, Totals> by_type;     // the same by tensor type
    std::map<std::string, uint64_t> refusals;  // reason -> weight matrices and expert stacks not on the NPU
    uint64_t expert_tensors = 0;
    uint64_t expert_packed_bytes = 0;  // of those that go to the NPU for some calls
    uint64_t experts_used = 0;         // by each token, as the file says
    PlaneCost plane_cost;
    AttentionReport attention;
    std::vector<PrecisionRow> precisions;
    uint64_t tensor_bytes = 0;       // of all tensors
    std::vector<std::string> notes;  // what a reader should know besides
};

// `file` must outlive the report. A negative ngl means all layers, as in llama.cpp.
// `find_statistics` (empty: there are none) says what the plug-in finds for a tensor; `rates` are those of the board, if one is here.
using FindStatistics = std::function<std::optional<StatsLibrary::Found>(const GgufTensor&)>;
ModelReport analyse(const GgufFile& file, const std::string& path, const Config& config, int64_t ngl,
                    const FindStatistics& find_statistics = {},
                    const RatesChoice& rates = {{}, "the model's", {}});

std::string to_json(const ModelReport& report);
std::string to_text(const ModelReport& report);

}  // namespace rknpu2
