// SPDX-License-Identifier: MIT
// A flow's turn among processes: it goes on while no other process waits for the device.
//
// To end a turn lets the lane run empty, so it is done for somebody only. Who comes later waits for `length` more. From
// one thread at a time.
#pragma once

#include <chrono>

#include "config/device_lock.hpp"

namespace rknpu2 {

class TurnOfFlow {
  public:
    explicit TurnOfFlow(std::chrono::milliseconds length) : length_(length) {}

    // Waits for the device, unless it is ours already. Null: there is no lock.
    Status take(DeviceLock* lock) {
        if (turn_.held()) return {};
        turn_ = RKNPU2_TAKE(DeviceLock::Turn::take(lock));
        since_ = Clock::now();
        return {};
    }
    // Must it end as soon as nothing of ours runs?
    bool is_over() {
        if (!turn_.held() || is_over_) return is_over_;
        const Clock::time_point now = Clock::now();
        if (now - since_ < length_) return false;
        since_ = now;
        is_over_ = turn_.is_waited_for();
        return is_over_;
    }
    // While nothing of ours runs: gives the device to who waits for it, if the turn is over.
    void end_if_over() {
        if (!is_over()) return;
        turn_.end();
        is_over_ = false;
    }

  private:
    using Clock = std::chrono::steady_clock;

    const std::chrono::milliseconds length_;
    DeviceLock::Turn turn_;
    Clock::time_point since_{};  // it was taken, or nobody waited
    bool is_over_ = false;
};

}  // namespace rknpu2
