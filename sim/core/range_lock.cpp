// SPDX-License-Identifier: MIT
#include "core/range_lock.hpp"

#include <algorithm>

namespace rknnsim {

void RangeLock::take(size_t begin, size_t end, bool shared) {
    std::unique_lock<std::mutex> lock(mutex_);
    given_back_.wait(lock, [&] {
        return std::none_of(parts_.begin(), parts_.end(), [&](const Part& part) {
            return part.begin < end && begin < part.end && !(shared && part.shared);
        });
    });
    parts_.push_back({begin, end, shared});
}

void RangeLock::give_back(size_t begin, size_t end, bool shared) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto part = std::find(parts_.begin(), parts_.end(), Part{begin, end, shared});
        *part = parts_.back();
        parts_.pop_back();
    }
    given_back_.notify_all();
}

}  // namespace rknnsim
