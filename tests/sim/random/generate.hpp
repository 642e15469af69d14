// SPDX-License-Identifier: MIT
// Random programs from seeds.
//
// A legal program makes contexts, memories and bindings as programs for the real library do, and runs. Some
// of its steps are legal but wrong: inputs are stored to and not synchronised or bound again, so that the
// right answer is the one for the old data. A hostile program is the same with calls in between that the
// runtime has to refuse, made by changing one argument of a call, or by calling what is not there any more;
// nothing of what follows may change by them.
#pragma once

#include "sim/random/program.hpp"

namespace rknnsim_random {

// What the CPU's cache does: nothing of its own, one reading alone, all of them, or any.
enum class Board { kDefault, kBind, kImportSync, kResults, kDirty, kWorst, kAny };

struct Options {
    Board board = Board::kDefault;
    bool illegal = false;
    Settings::Shadow shadow = Settings::Shadow::kAuto;
    int threads = 3;                    // lanes of a section, at most; 1: no sections
    uint64_t macs = uint64_t{4} << 20;  // of all runs of a program, about
};

Program generate(uint64_t seed, const Options& options);

}  // namespace rknnsim_random
