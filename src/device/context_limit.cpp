// SPDX-License-Identifier: MIT
#include "device/context_limit.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "device/recovery.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {

static_assert(kFewContexts < rk3588::kContextsOfFailure && kManyContexts < rk3588::kContextsSeen);

size_t contexts_to_keep(const Config& config, uint64_t descriptors) {
    if (config.contexts != 0) return static_cast<size_t>(config.contexts);
    return static_cast<size_t>(
        std::clamp<uint64_t>(descriptors / kDescriptorsOfContext, kFewContexts, kManyContexts));
}

ContextLimit::ContextLimit(const Config& config, ContextCache& contexts, ContextCounters& counters)
    : contexts_(contexts), counters_(counters), may_lower_(config.contexts == 0) {
    counters_.kept = contexts.capacity();
}

bool ContextLimit::lowered_after(const Status& failure, const std::string& what) {
    const size_t alive = contexts_.size();
    if (!may_lower_ || alive <= kFewContexts || !may_pass(failure)) return false;
    may_lower_ = false;
    contexts_.keep_at_most(kFewContexts);
    counters_.kept = kFewContexts;
    ++counters_.lowered;
    log(LogLevel::kWarning,
        "%s: %s; with %zu contexts alive that may be for their number: trying again, and keeping %zu from "
        "now on (GGML_RKNPU2_CONTEXTS)",
        what.c_str(), failure.to_string().c_str(), alive, kFewContexts);
    return true;
}

}  // namespace rknpu2
