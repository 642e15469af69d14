// SPDX-License-Identifier: MIT
// Where multiplications are computed: on the NPU or by the CPU backend.
//
// support() says what the NPU can do; this is about what is worth it. With GGML_RKNPU2_MATRICES=npu plain matrices
// are the NPU's whatever it takes (docs/adr/0007-plain-matrices.md). Experts are different: a token uses few of
// them, so each gets a run of its own for a row or two, and int8 is twice the bytes of four bits. So a prompt's
// rows, dozens for each expert, go to the NPU, and a single token's mostly do not. What is best for a
// multiplication by itself need not be best for its graph: plan/cheapest_way.hpp.
//
// The model is that of docs/performance.md for one call. NPU time is run calls, bytes and multiply-adds of the
// cells, and what the CPU does before and after; CPU time is the larger of bytes and multiply-adds. Pure
// arithmetic over the rates of cost_model.hpp; nobody has measured it on a board.
#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <mutex>

#include "plan/cost_model.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {

// One multiplication by a plain matrix, or several by the same activations, which the NPU does together.
struct MatrixCall {
    size_t K = 0;
    size_t N = 0;                    // of all
    size_t rows = 0;                 // of activations
    size_t raw_bytes = 0;            // of the weights as stored
    bool float_activations = false;  // as in WeightSource
    // Of N: what is known to have eight bits, and one or two planes; all else has what the precision says.
    size_t one_plane = 0, two_planes = 0;
    size_t weights = 1;  // that N is of: the CPU has a loop for each
    size_t widest = 0;   // of their N; 0: there is one

    // Notes how `columns` of N are packed.
    void note(NpuArithmetic arithmetic, size_t planes, size_t columns);

    auto operator<=>(const MatrixCall&) const = default;
};

// One call of GGML_OP_MUL_MAT_ID.
struct ExpertsCall {
    size_t K = 0;  // of one expert
    size_t N = 0;
    size_t experts = 0;    // in the stack
    size_t used = 0;       // by each token
    size_t tokens = 0;     // hence tokens * used rows
    size_t raw_bytes = 0;  // of one expert as stored
    bool float_activations = false;
    bool is_packed = false;  // already

    size_t rows() const { return tokens * used; }
    // How many experts have a row at all, when tokens choose independently. 1 or more.
    double active() const;
    auto operator<=>(const ExpertsCall&) const = default;
};

enum class Target {
    kNone,  // it moves no data: there is nothing to compute
    kCpu,   // the host's CPU backend
    kNpu,   // a multiplication by a stored matrix, or by experts
};

enum class TargetReason {
    kFasterOnNpu,
    kFasterOnCpu,
    kSettingNpu,
    kSettingCpu,
    kReference,        // of precision: computed by neither, but by us
    kPlainMatrix,      // the setting for them: not a matter of cost
    kMatrixPrecision,  // one that is asked for because of its arithmetic
    kMatrixFlows,      // with all others of its layer (ggml/flow/flow_plan.hpp), whatever it takes by itself
    kMatrixFasterOnNpu,
    kMatrixFasterOnCpu,
    kNoMemory,  // the caller's finding: packed experts would not fit
};
inline constexpr int kTargetReasons = static_cast<int>(TargetReason::kNoMemory) + 1;

// One short phrase, for logs, statistics and rknpu2-info.
const char* target_reason_text(TargetReason reason);

struct TargetChoice {
    Target target = Target::kCpu;
    TargetReason reason = TargetReason::kFasterOnCpu;
    double npu_us = 0;  // by the model; 0 where nobody asked it
    double cpu_us = 0;
    size_t packed_bytes = 0;  // of all experts; 0 where the model was not asked
};

// llama.cpp's warm-up computes one token with *all* experts. Such a call, of a stack that is not packed, stands for the prompts to come:
// it goes where this many rows for each expert would, so that packing is over when the first prompt arrives.
inline constexpr size_t kPromptRowsPerExpert = 32;

TargetChoice matrix_target(const MatrixCall& call, const Config& config,
                           const BoardRates& rates = kBoardRates);
TargetChoice experts_target(const ExpertsCall& call, const Config& config,
                            const BoardRates& rates = kBoardRates);

// What the policy said before: a graph asks about a node several times, and each answer takes a plan. Thread
// safe. All calls must have one configuration and the same rates.
class TargetMemo {
  public:
    TargetChoice of(const MatrixCall& call, const Config& config,
                    const BoardRates& rates = kBoardRates) const {
        return ask(matrices_, call, [&] { return matrix_target(call, config, rates); });
    }
    TargetChoice of(const ExpertsCall& call, const Config& config,
                    const BoardRates& rates = kBoardRates) const {
        return ask(experts_, call, [&] { return experts_target(call, config, rates); });
    }

  private:
    template <typename Call, typename Ask>
    TargetChoice ask(std::map<Call, TargetChoice>& known, const Call& call, const Ask& ask_policy) const {
        const std::lock_guard lock(mutex_);
        const auto found = known.find(call);
        return found != known.end() ? found->second : known.emplace(call, ask_policy()).first->second;
    }

    mutable std::mutex mutex_;
    mutable std::map<MatrixCall, TargetChoice> matrices_;
    mutable std::map<ExpertsCall, TargetChoice> experts_;
};

}  // namespace rknpu2
