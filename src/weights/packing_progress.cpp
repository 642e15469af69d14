// SPDX-License-Identifier: MIT
#include "weights/packing_progress.hpp"

#include "base/log.hpp"

namespace rknpu2 {
namespace {

constexpr std::chrono::seconds kInterval{2};

}  // namespace

void PackingProgress::add(size_t packed_bytes) {
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    if (now - last_done_ > kInterval) {
        weights_ = 0;
        bytes_ = 0;
        last_line_ = now;
    }
    last_done_ = now;
    ++weights_;
    bytes_ += packed_bytes;
    if (now - last_line_ < kInterval) return;
    last_line_ = now;
    log(LogLevel::kInfo, "%s: %zu so far, %zu MiB", doing_, weights_, bytes_ >> 20);
}

}  // namespace rknpu2
