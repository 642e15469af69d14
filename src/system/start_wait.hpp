// SPDX-License-Identifier: MIT
// Patience with an NPU that is not free yet when the process starts (GGML_RKNPU2_START_WAIT).
//
// What a killed process holds of the NPU is given back seconds later, and whoever starts meanwhile was seen to
// be refused memory or the device itself (docs/hardware.csv). So the very first context and the very first
// buffer are asked for again, after waits that grow. Once something was given, a refusal means that the NPU
// is full, and nobody waits.
//
// Thread safe: others that are refused meanwhile wait as well.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include "base/status.hpp"

namespace rknpu2 {

class StartWait {
  public:
    using Sleep = std::function<void(std::chrono::milliseconds)>;

    // `in_all`: 0 for no patience at all. `sleep`: for tests; else the calling thread sleeps.
    explicit StartWait(
        std::chrono::milliseconds in_all,
        Sleep sleep = [](std::chrono::milliseconds time) { std::this_thread::sleep_for(time); })
        : in_all_(in_all), sleep_(std::move(sleep)) {}

    // The first attempt at something was refused. True after a while: try again. False: no more patience.
    // The first refusal is one line in the log.
    bool again_after(const Status& refusal);
    // Something was given: from now on nobody waits.
    void over();

  private:
    const std::chrono::milliseconds in_all_;
    const Sleep sleep_;
    std::mutex mutex_;  // guards what follows
    std::chrono::milliseconds waited_{0};
    std::chrono::milliseconds next_{100};
    bool over_ = false;
};

}  // namespace rknpu2
