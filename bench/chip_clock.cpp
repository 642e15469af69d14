// SPDX-License-Identifier: MIT
#include "chip_clock.hpp"

#include <dlfcn.h>

#include <algorithm>

#include "api/rknnsim_time.h"

namespace rknpu2 {

ChipClock::ChipClock(const std::string& library) {
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) return;
    totals_ = dlsym(handle, "rknnsim_time_totals");
    join_ = dlsym(handle, "rknnsim_time_join");
    dlclose(handle);  // it stays loaded: the runtime has it
}

std::optional<ChipClock::Busy> ChipClock::busy() const {
    if (totals_ == nullptr || join_ == nullptr) return std::nullopt;
    if (reinterpret_cast<decltype(&rknnsim_time_join)>(join_)() != 0) return std::nullopt;
    rknnsim_time_sums sums{};
    if (reinterpret_cast<decltype(&rknnsim_time_totals)>(totals_)(&sums) != 0) return std::nullopt;
    Busy busy{};
    for (size_t core = 0; core < busy.size(); ++core)
        busy[core] = sums.core[core].busy_ns;
    return busy;
}

uint64_t ChipClock::longest(const Busy& before, const Busy& after) {
    uint64_t longest = 0;
    for (size_t core = 0; core < before.size(); ++core)
        longest = std::max(longest, after[core] - before[core]);
    return longest;
}

}  // namespace rknpu2
