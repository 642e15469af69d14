// SPDX-License-Identifier: MIT
// Maintenance of the CPU's data cache line by line, from user space.
//
// Linux lets AArch64 programs clean lines to memory (`dc cvac`), and clean and invalidate them (`dc civac`), by
// address; a `dsb` waits until that is done. Others measured 1.7 us for 256 lines of an RK3588's device memory,
// and right results 20 times of 20 after `dc cvac` (rk-llama.cpp, RKNPU2-decode-research.md, section 1o);
// `dc civac` is documented there and not measured. A simulator has a cache of its own: a library that exports
// `rknnsim_cache_lines` is asked instead. Other machines have no such instructions.
//
// A line that both a range and something else touch is maintained as a whole. Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.hpp"

namespace rknpu2 {

class CacheLines {
  public:
    // The numbers are those of the simulator's function.
    enum class Operation : int {
        kClean = 1,               // what the CPU has written is in memory afterwards
        kCleanAndInvalidate = 2,  // and the CPU reads memory anew
    };

    CacheLines() = default;
    // `library`: from dlopen.
    explicit CacheLines(void* library);

    // Without: apply() fails with kUnsupported.
    bool available() const;
    // Maintains `bytes` from `address` on.
    Status apply(Operation operation, const void* address, size_t bytes) const;

  private:
    int (*simulated_)(const void*, uint64_t, int) = nullptr;
};

}  // namespace rknpu2
