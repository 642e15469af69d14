// SPDX-License-Identifier: MIT
#include "attention/refusals.hpp"

#include <algorithm>
#include <utility>

namespace rknpu2 {

bool AttentionRefusals::add(const AttentionProblem& problem, uint64_t given_back) {
    if (has(problem, given_back)) return false;
    const std::lock_guard lock(mutex_);
    if (std::exchange(given_back_, given_back) != given_back) refusals_.clear();
    refusals_.push_back({problem.kv_heads, problem.keys.width, problem.values.width, problem.positions});
    return true;
}

bool AttentionRefusals::has(const AttentionProblem& problem, uint64_t given_back) const {
    const std::lock_guard lock(mutex_);
    return given_back == given_back_ && std::ranges::any_of(refusals_, [&](const Refusal& refusal) {
               return refusal.kv_heads == problem.kv_heads && refusal.key_width == problem.keys.width &&
                      refusal.value_width == problem.values.width && refusal.positions <= problem.positions;
           });
}

}  // namespace rknpu2
