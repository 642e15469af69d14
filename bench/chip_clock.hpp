// SPDX-License-Identifier: MIT
// How long the simulator thinks that the NPU's cores have worked, for benchmarks over a runtime that may be
// the simulator.
//
// Wall times of a simulated multiplication are those of a PC. What it would take on the chip, by the model in
// docs/simulator.md, the simulator tells through functions of its own, which a vendor's library does not
// have.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "soc/rk3588.hpp"

namespace rknpu2 {

class ChipClock {
  public:
    // `library`: the runtime's path, which is loaded already. For the vendor's the
    // clock says nothing.
    explicit ChipClock(const std::string& library);

    using Busy = std::array<uint64_t, rk3588::kCores>;  // nanoseconds of each core, since the process began
    // The calling thread has waited for all that was done so far, as the simulator then knows: what it does
    // next does not overlap with that.
    std::optional<Busy> busy() const;

    // Nanoseconds of the core that has worked longest between two readings.
    static uint64_t longest(const Busy& before, const Busy& after);

  private:
    void* totals_ = nullptr;  // rknnsim_time_totals
    void* join_ = nullptr;    // rknnsim_time_join
};

}  // namespace rknpu2
