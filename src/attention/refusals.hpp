// SPDX-License-Identifier: MIT
// Attentions for which the NPU had no room: no memory, no contexts, or operands that the runtime would not take.
//
// The next graph of the same heads would find out again, after work that is then lost. So it is noted, and the CPU
// computes attentions of these heads with as many positions or more, until memory of weights is given back.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "attention/problem.hpp"

namespace rknpu2 {

// Thread safe.
class AttentionRefusals {
  public:
    // `given_back`: how often weights have given memory back by now. False: it was known.
    bool add(const AttentionProblem& problem, uint64_t given_back);
    bool has(const AttentionProblem& problem, uint64_t given_back) const;

  private:
    struct Refusal {
        size_t kv_heads, key_width, value_width;
        size_t positions;
    };

    mutable std::mutex mutex_;
    uint64_t given_back_ = 0;  // when these were noted
    std::vector<Refusal> refusals_;
};

}  // namespace rknpu2
