// SPDX-License-Identifier: MIT
// What happens when the NPU fails: the remedies of GGML_RKNPU2_ON_ERROR, one after the other, until one of
// them helps. Each is counted and, unless there are very many, logged.
#pragma once

#include <string>

#include "base/log.hpp"
#include "device/context_cache.hpp"

namespace rknpu2 {

// Is a failure of a kind that may pass? A call that breaks a rule breaks it again.
bool may_pass(const Status& status);

// What to call several weights: "blk.0.attn_q.weight and 2 more".
std::string name_and_others(const std::string& first, size_t count);

// Calls attempt() until it succeeds or again_after(failure) says no; returns what the last one returned, or
// what again_after() has made of it.
template <typename Attempt, typename Again>
Status retry(const Attempt& attempt, const Again& again_after) {
    for (;;) {
        Status status = attempt();
        if (status.ok() || !again_after(status)) return status;
    }
}

// One object for each call that may have to be done again; used by one thread.
class Recovery {
  public:
    Recovery(const Config& config, FaultCounters& counters, RateLimit& lines)
        : config_(config), counters_(counters), lines_(lines) {}

    // An attempt at `what` ended with `failure`. True: another one is worth it; if it is to begin from
    // nothing, reset() was called. False: the CPU is to do it (wants_cpu), or `failure` has become what to
    // report.
    template <typename Reset>
    bool again_after(Status& failure, const std::string& what, const Reset& reset) {
        remedy_ = next(failure, what);
        if (remedy_ == OnError::kReset) reset();
        return remedy_ == OnError::kRetry || remedy_ == OnError::kReset;
    }
    bool wants_cpu() const { return remedy_ == OnError::kCpu; }

  private:
    OnError next(Status& failure, const std::string& what);

    const Config& config_;
    FaultCounters& counters_;
    RateLimit& lines_;
    size_t attempt_ = 0;
    OnError remedy_ = OnError::kFail;  // the last one
    std::string tried_;
};

// How many contexts we keep (GGML_RKNPU2_CONTEXTS). Nobody knows how many a process may have. One author's runs
// failed from about 150 on; another has had 1,277 alive under librknnrt 2.3.2, with 65,536 descriptors allowed
// (docs/hardware.csv). A limit of 1,024 descriptors explains both, at some seven for each context, so the number
// follows that limit.
inline constexpr size_t kFewContexts = 120;
inline constexpr size_t kManyContexts = 1000;
inline constexpr uint64_t kDescriptorsOfContext = 8;

// What the setting says, or by the limit of descriptors kFewContexts to kManyContexts.
size_t contexts_to_keep(const Config& config, uint64_t descriptors);

// The first failure with more than kFewContexts alive is taken for the true limit, unless the user has given a
// number. One object for each device; its lock guards it.
class ContextLimit {
  public:
    ContextLimit(const Config& config, ContextCache& contexts, ContextCounters& counters);

    // An attempt at `what` ended with `failure`. True, at most once: that may be the limit, fewer contexts
    // are kept now, and the attempt is worth another one, with all its contexts asked for anew.
    bool lowered_after(const Status& failure, const std::string& what);

  private:
    ContextCache& contexts_;
    ContextCounters& counters_;
    bool may_lower_;
};

}  // namespace rknpu2
