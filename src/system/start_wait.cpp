// SPDX-License-Identifier: MIT
#include "system/start_wait.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace rknpu2 {

bool StartWait::again_after(const Status& refusal) {
    const std::lock_guard lock(mutex_);
    if (over_ || waited_ >= in_all_) return false;
    if (waited_.count() == 0) {
        log(LogLevel::kWarning,
            "the NPU is not free: %s; trying again for %.1f seconds, since what a process that was killed "
            "holds is given back late (GGML_RKNPU2_START_WAIT)",
            refusal.to_string().c_str(), static_cast<double>(in_all_.count()) / 1000);
    }
    const std::chrono::milliseconds now = std::min(next_, in_all_ - waited_);
    sleep_(now);
    waited_ += now;
    next_ *= 2;
    return true;
}

void StartWait::over() {
    const std::lock_guard lock(mutex_);
    over_ = true;
}

}  // namespace rknpu2
