// SPDX-License-Identifier: MIT
// How many contexts we keep (GGML_RKNPU2_CONTEXTS), and what follows when the runtime cannot have so many.
//
// Nobody knows how many a process may have. One author's runs failed from about 150 on; another has had 1,277
// alive under librknnrt 2.3.2, with 65,536 descriptors allowed (docs/hardware.csv). A limit of 1,024
// descriptors explains both, at some seven for each context, so the number follows that limit. The first
// failure with more than kFewContexts alive is taken for the true limit, unless the user has given a number.
#pragma once

#include "counters/counters.hpp"
#include "device/context_cache.hpp"

namespace rknpu2 {

// Below where anybody's runs have failed.
inline constexpr size_t kFewContexts = 120;
inline constexpr size_t kManyContexts = 1000;
inline constexpr uint64_t kDescriptorsOfContext = 8;

// What the setting says, or by the limit of descriptors (system/descriptors.hpp) kFewContexts to
// kManyContexts.
size_t contexts_to_keep(const Config& config, uint64_t descriptors);

// One for each device; its lock guards it.
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
