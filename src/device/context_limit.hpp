// SPDX-License-Identifier: MIT
// How many contexts we keep (GGML_RKNPU2_CONTEXTS), and what follows when the runtime cannot have so many.
//
// Nobody knows how many a process may have. One author's runs failed from about 150 on; another has had 1,277
// alive under librknnrt 2.3.2, with 65,536 descriptors allowed (docs/hardware.csv). A limit of 1,024
// descriptors explains both, at some seven for each context, so that is what the number follows by itself.
// Where the guess is wrong, the first failure with more than kFewContexts alive is taken for the limit, once:
// from then on kFewContexts are kept, and what failed is done again. A number that the user has given is kept
// to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.hpp"
#include "config/config.hpp"
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

    // An attempt at `what` ended with `failure`. True if that may be the limit and fewer contexts are kept
    // now: then the attempt is worth another one, with all its contexts asked for anew, and one line has said
    // so. True at most once.
    bool lowered_after(const Status& failure, const std::string& what);

  private:
    ContextCache& contexts_;
    ContextCounters& counters_;
    bool may_lower_;
};

}  // namespace rknpu2
