// SPDX-License-Identifier: MIT
#include "attention/refusals.hpp"

#include <algorithm>
#include <utility>

namespace rknpu2 {

bool AttentionRefusals::Refusal::has_heads_of(const AttentionProblem& problem) const {
    return kv_heads == problem.kv_heads && key_width == problem.keys.width &&
           value_width == problem.values.width;
}

bool AttentionRefusals::Refusal::covers(const AttentionProblem& problem) const {
    return has_heads_of(problem) && tokens <= problem.tokens && positions <= problem.positions;
}

bool AttentionRefusals::add(const AttentionProblem& problem, uint64_t given_back) {
    const std::lock_guard lock(mutex_);
    if (std::exchange(given_back_, given_back) != given_back) refusals_.clear();
    const bool is_known =
        std::ranges::any_of(refusals_, [&](const Refusal& refusal) { return refusal.has_heads_of(problem); });
    bool is_covered = false;
    for (Refusal& refusal : refusals_) {
        if (!refusal.covers(problem)) continue;
        is_covered = true;
        if (graphs_ < refusal.until) continue;  // another graph has tried, too
        refusal.graphs = std::clamp<uint64_t>(2 * refusal.graphs, 2, kMostGraphs);
        refusal.until = graphs_ + refusal.graphs;
    }
    if (is_covered) return false;
    const Refusal added{problem.kv_heads, problem.keys.width, problem.values.width,
                        problem.tokens,   problem.positions,  2,
                        graphs_ + 2};
    // Nobody needs those that say less.
    std::erase_if(refusals_, [&](const Refusal& refusal) {
        return refusal.has_heads_of(problem) && refusal.tokens >= added.tokens &&
               refusal.positions >= added.positions;
    });
    refusals_.push_back(added);
    return !is_known;
}

void AttentionRefusals::computed(const AttentionProblem& problem) {
    const std::lock_guard lock(mutex_);
    for (Refusal& refusal : refusals_)
        if (refusal.covers(problem)) refusal.graphs = refusal.until = 0;
}

bool AttentionRefusals::has(const AttentionProblem& problem, uint64_t given_back) const {
    const std::lock_guard lock(mutex_);
    return given_back == given_back_ && std::ranges::any_of(refusals_, [&](const Refusal& refusal) {
               return graphs_ < refusal.until && refusal.covers(problem);
           });
}

void AttentionRefusals::count_graph() {
    const std::lock_guard lock(mutex_);
    ++graphs_;
}

}  // namespace rknpu2
