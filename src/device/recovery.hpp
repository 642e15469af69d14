// SPDX-License-Identifier: MIT
// What happens when the NPU fails: the remedies of GGML_RKNPU2_ON_ERROR, one after the other, until one of them
// helps. Each is counted and, unless there are very many, logged.
//
// One object for each multiplication that may have to be done again; used by one thread.
#pragma once

#include <string>

#include "base/rate_limit.hpp"
#include "base/status.hpp"
#include "config/config.hpp"
#include "counters/counters.hpp"

namespace rknpu2 {

// Is a failure of a kind that may pass? A call that breaks a rule breaks it again.
bool may_pass(const Status& status);

// What to call several weights: "blk.0.attn_q.weight and 2 more".
std::string name_and_others(const std::string& first, size_t count);

class Recovery {
  public:
    Recovery(const Config& config, FaultCounters& counters, RateLimit& lines)
        : config_(config), counters_(counters), lines_(lines) {}

    // An attempt at `what` ended with `status`, which is not ok: what to do next. With kFail `status` has
    // become what to report.
    OnError next(Status& status, const std::string& what);

  private:
    const Config& config_;
    FaultCounters& counters_;
    RateLimit& lines_;
    size_t attempt_ = 0;
    std::string tried_;
};

}  // namespace rknpu2
