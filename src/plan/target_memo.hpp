// SPDX-License-Identifier: MIT
// What the policy said before: a graph asks about a node several times, and each answer takes a plan.
//
// Thread safe. All calls must have one configuration.
#pragma once

#include <map>
#include <mutex>

#include "plan/policy.hpp"

namespace rknpu2 {

class TargetMemo {
  public:
    TargetChoice of(const MatrixCall& call, const Config& config) const {
        return ask(matrices_, call, [&] { return matrix_target(call, config); });
    }
    TargetChoice of(const ExpertsCall& call, const Config& config) const {
        return ask(experts_, call, [&] { return experts_target(call, config); });
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
