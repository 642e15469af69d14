// SPDX-License-Identifier: MIT
// Large blocks of malloc, kept out of the way of the vendor's library (GGML_RKNPU2_MALLOC_MMAP).
//
// glibc gives each large block (128 KiB and more) a mapping of its own. On a board librknnrt 2.3.2 was seen
// to unmap ranges in which such blocks lay: pages of the heap vanished, and the program crashed while it
// loaded its model, 6 times of 6. Without such mappings it loaded 3 times of 3 (docs/hardware.csv). So they
// are switched off before that library is opened: large blocks then come from the heap.
//
// The price: a freed large block that does not lie at the heap's end goes back to malloc and not to the
// system, and a block that grows may be copied. What the program has allocated before keeps its mapping.
#pragma once

#include <string>

#include "config/config.hpp"

namespace rknpu2 {

// Is the file this project's simulator, by a name that it exports? No for a bare name, which the system's
// loader looks for.
bool is_simulator(const std::string& library);

// Call it before the library is opened, from any thread; it holds for the process, and is one line at the level
// kInfo. Does nothing where the setting says so, for the simulator unless it says "off", and without glibc,
// whose habit this is. `simulated`: is_simulator() of the library.
void keep_malloc_from_mapping(bool simulated, MallocMmap setting);

}  // namespace rknpu2
