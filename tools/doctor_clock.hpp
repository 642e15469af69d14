// SPDX-License-Identifier: MIT
// The clock that measurements go by: this machine's on a board, the simulator's virtual one on the simulator.
//
// The wall time of a simulated run is a PC's and means nothing. The simulator tells through functions of its
// own (sim/api/rknnsim_time.h), which a vendor's library does not have, what each call would take by its
// model. Every thread has a virtual time of its own; threads that begin together say so with start_at().
#pragma once

#include <cstdint>
#include <string>

namespace rknpu2 {

class DoctorClock {
  public:
    // `library`: the runtime's path, which is loaded already.
    explicit DoctorClock(const std::string& library);

    bool simulated() const { return now_ != nullptr; }
    const char* name() const { return simulated() ? "virtual" : "wall"; }

    // Nanoseconds, of the calling thread.
    uint64_t now() const;
    // The calling thread has waited for all that was done so far, and gets the time.
    uint64_t join() const;
    // The calling thread begins at that time; nothing on a real clock, which does so by itself.
    void start_at(uint64_t time) const;

  private:
    void* now_ = nullptr;
    void* join_ = nullptr;
    void* advance_to_ = nullptr;
};

}  // namespace rknpu2
