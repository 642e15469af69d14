// SPDX-License-Identifier: MIT
#include "device/recovery.hpp"

#include <algorithm>
#include <utility>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

static_assert(kFewContexts < rk3588::kContextsOfFailure && kManyContexts < rk3588::kContextsSeen);

// By OnError; nothing follows kFail.
constexpr const char* kWhatFollows[] = {"trying again in new contexts",
                                        "trying again after dropping all contexts and work areas",
                                        "computing it on the CPU"};

}  // namespace

bool may_pass(const Status& status) {
    const StatusCode code = status.code();
    return code == StatusCode::kOutOfMemory || code == StatusCode::kDeviceUnavailable ||
           code == StatusCode::kDeviceError || code == StatusCode::kTimeout;
}

std::string name_and_others(const std::string& first, size_t count) {
    return count == 1 ? first : format("%s and %zu more", first.c_str(), count - 1);
}

OnError Recovery::next(Status& failure, const std::string& what) {
    ++counters_.failed;
    const bool more = attempt_ < config_.on_error.size() && may_pass(failure);
    const OnError remedy = more ? config_.on_error[attempt_++] : OnError::kFail;
    if (remedy == OnError::kFail) {
        ++counters_.given_up;
        if (!tried_.empty()) failure = std::move(failure).with_context(tried_);
        return remedy;
    }
    if (lines_.allows()) {
        log(LogLevel::kWarning, "%s: %s; %s%s", what.c_str(), failure.to_string().c_str(),
            kWhatFollows[static_cast<size_t>(remedy)], lines_.left_out().c_str());
    }
    if (remedy == OnError::kCpu) return remedy;
    ++(remedy == OnError::kRetry ? counters_.retried : counters_.reset);
    tried_ += tried_.empty() ? "after " : " and ";
    tried_ += on_error_name(remedy);
    return remedy;
}

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
