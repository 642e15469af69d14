// SPDX-License-Identifier: MIT
// Attentions for which the NPU had no room: no memory, no contexts, or operands that the runtime would not take.
//
// The next graph of the same heads would find out again, after work that is then lost. So it is noted, and the CPU
// computes attentions of these heads with as many tokens and positions or more. The want may pass: others give memory
// back. So the NPU is tried again after 2 refused graphs, then 4, 8 and so on, kMostGraphs at most; and as soon as
// memory of weights is given back.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "attention/problem.hpp"

namespace rknpu2 {

// Thread safe.
class AttentionRefusals {
  public:
    static constexpr uint64_t kMostGraphs = 64;

    // The NPU had no room for the problem. `given_back`: how often weights have given memory back by now. False: heads
    // like these were noted before.
    bool add(const AttentionProblem& problem, uint64_t given_back);
    // The NPU has computed it.
    void computed(const AttentionProblem& problem);
    // Is it the CPU's?
    bool has(const AttentionProblem& problem, uint64_t given_back) const;
    // A graph was refused: it has an attention that is the CPU's for this reason.
    void count_graph();

  private:
    struct Refusal {
        size_t kv_heads, key_width, value_width;
        size_t tokens, positions;
        uint64_t graphs = 0;  // that were, or are, refused before the next try
        uint64_t until = 0;   // number of the graph for which the NPU is tried

        bool has_heads_of(const AttentionProblem& problem) const;
        bool covers(const AttentionProblem& problem) const;  // which needs as much or more
    };

    mutable std::mutex mutex_;
    uint64_t given_back_ = 0;  // when these were noted
    uint64_t graphs_ = 0;      // that were refused
    std::vector<Refusal> refusals_;
};

}  // namespace rknpu2
