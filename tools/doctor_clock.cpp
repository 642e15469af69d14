// SPDX-License-Identifier: MIT
#include "doctor_clock.hpp"

#include <dlfcn.h>

#include <chrono>

#include "api/rknnsim_time.h"

namespace rknpu2 {

DoctorClock::DoctorClock(const std::string& library) {
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) return;
    void* const now = dlsym(handle, "rknnsim_time_now");
    join_ = dlsym(handle, "rknnsim_time_join");
    advance_to_ = dlsym(handle, "rknnsim_time_advance_to");
    if (join_ != nullptr && advance_to_ != nullptr) now_ = now;
    dlclose(handle);  // it stays loaded: the runtime has it
}

uint64_t DoctorClock::now() const {
    if (simulated()) return reinterpret_cast<decltype(&rknnsim_time_now)>(now_)();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

uint64_t DoctorClock::join() const {
    if (simulated()) static_cast<void>(reinterpret_cast<decltype(&rknnsim_time_join)>(join_)());
    return now();
}

void DoctorClock::start_at(uint64_t time) const {
    if (simulated())
        static_cast<void>(reinterpret_cast<decltype(&rknnsim_time_advance_to)>(advance_to_)(time));
}

}  // namespace rknpu2
