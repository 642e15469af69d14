// SPDX-License-Identifier: MIT
#include "base/rate_limit.hpp"

#include "base/format.hpp"

namespace rknpu2 {

bool RateLimit::allows(Time now) {
    if (logged_ >= kBurst && now - last_ < kPause) {
        ++suppressed_;
        return false;
    }
    left_out_.clear();
    if (suppressed_ > 0) {
        left_out_ =
            format(" (and %llu lines like this one before it)", static_cast<unsigned long long>(suppressed_));
    }
    suppressed_ = 0;
    ++logged_;
    last_ = now;
    return true;
}

}  // namespace rknpu2
