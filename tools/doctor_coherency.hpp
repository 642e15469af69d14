// SPDX-License-Identifier: MIT
// Which strategy keeps the CPU's cache in step with the NPU on this board, by what was tried.
//
// The plug-in has two (docs/design.md): `owner` syncs whole buffers on the handles that rknn_create_mem gave,
// `lines` cleans and invalidates exact ranges from user space. A strategy is right when each of its steps was
// right in every trial; among the right ones the cheaper one is chosen, and `owner`, which the plug-in does
// without a profile, where lines do not gain a tenth and where trials could not tell.
#pragma once

#include "doctor_reading.hpp"

namespace rknpu2 {

struct Strategy {
    bool right = false;     // all of its steps
    bool failed = false;    // one of its steps
    std::string wrong;      // what was not right, or not tried; empty when it is right
    double lost_share = 0;  // of the time of a run, by sync_share(); 0: not measured
};

struct CoherencyVerdict {
    Strategy owner, lines;
    bool told = false;   // some trial showed an old value where nothing was done
    std::string chosen;  // "owner" or "lines"; empty: neither is right
    std::string why;     // for people, and for the profile's comment
};

CoherencyVerdict choose_coherency(const std::vector<Reading>& readings);

// Microseconds that a strategy's step took for a buffer of 4 KiB, 64 KiB or 1 MiB; 0: not measured.
double sync_cost_us(const std::vector<Reading>& readings, const char* strategy, bool to_device, size_t bytes);

// kProblem when no strategy is right. `readings` must have been taken.
Check check_of(const CoherencyVerdict& choice);

}  // namespace rknpu2
