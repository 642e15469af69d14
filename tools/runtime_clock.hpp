// SPDX-License-Identifier: MIT
// The clock that measurements of a runtime go by: this machine's on a board, the simulator's virtual one on
// the simulator, since the wall time of a simulated run is a PC's and means nothing. The simulator tells by
// functions of its own (sim/api/rknnsim_time.h) what each call would take. Every thread has a virtual time of
// its own.
#pragma once

#include <dlfcn.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "api/rknnsim_time.h"
#include "soc/rk3588.hpp"

namespace rknpu2 {

class RuntimeClock {
  public:
    // `library`: the runtime's path, which is loaded already.
    explicit RuntimeClock(const std::string& library) {
        void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
        if (handle == nullptr) return;
        find(handle, "rknnsim_time_now", now_);
        find(handle, "rknnsim_time_join", join_);
        find(handle, "rknnsim_time_advance_to", advance_to_);
        find(handle, "rknnsim_time_totals", totals_);
        dlclose(handle);  // it stays loaded: the runtime has it
    }

    bool simulated() const {
        return now_ != nullptr && join_ != nullptr && advance_to_ != nullptr && totals_ != nullptr;
    }

    // Returns nanoseconds, of the calling thread.
    uint64_t now() const {
        if (simulated()) return now_();
        const auto time = std::chrono::steady_clock::now().time_since_epoch();
        return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
    }
    // The calling thread has waited for all that was done so far. Returns the time.
    uint64_t join() const {
        if (simulated()) static_cast<void>(join_());
        return now();
    }
    // The calling thread begins at that time; nothing on a real clock, which does so by itself.
    void start_at(uint64_t time) const {
        if (simulated()) static_cast<void>(advance_to_(time));
    }

    // Returns how long each NPU core has worked since the process began, by the simulator's model; nothing for
    // a vendor's library. What the calling thread does next does not overlap with what was done so far.
    using Busy = std::array<uint64_t, rk3588::kCores>;
    std::optional<Busy> busy() const {
        rknnsim_time_sums sums{};
        if (!simulated() || join_() != 0 || totals_(&sums) != 0) return std::nullopt;
        Busy busy{};
        for (size_t core = 0; core < busy.size(); ++core)
            busy[core] = sums.core[core].busy_ns;
        return busy;
    }

  private:
    template <typename Function>
    static void find(void* handle, const char* name, Function*& function) {
        function = reinterpret_cast<Function*>(dlsym(handle, name));
    }

    decltype(rknnsim_time_now)* now_ = nullptr;
    decltype(rknnsim_time_join)* join_ = nullptr;
    decltype(rknnsim_time_advance_to)* advance_to_ = nullptr;
    decltype(rknnsim_time_totals)* totals_ = nullptr;
};

}  // namespace rknpu2
