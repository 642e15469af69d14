// SPDX-License-Identifier: MIT
// Calls that the runtime has to refuse.
//
// A wrong step is an earlier step with one argument changed, or a call on something that is not there. The
// model decides whether the change really made it wrong; those that are legal by chance are not used.
#pragma once

#include "sim/random/workshop.hpp"

namespace rknnsim_random {

// Appends a few wrong steps, and a look at whether they changed anything.
void do_wrong(Workshop& shop);

}  // namespace rknnsim_random
