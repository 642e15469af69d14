// SPDX-License-Identifier: MIT
// Which librknnrt.so to open: the setting GGML_RKNPU2_RUNTIME turned into a path; and what must be done before.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"

namespace rknpu2 {

// Device nodes of the vendor's kernel driver (rknpu), such as /dev/dri/card1; empty on a PC.
std::vector<std::string> npu_device_nodes();

// The kernel driver behind a folder of /sys/class/drm, in lower case; empty: unknown.
std::string driver_of(const std::string& node);
// May this user read and write one of the nodes? The runtime opens cards: render nodes count only where there is nothing else.
bool may_use_any(const std::vector<std::string>& nodes);
// Fine if so, or if there are none; else kDeviceUnavailable, with what to do.
Status check_access(const std::vector<std::string>& nodes);

// Is there the mainline kernel driver (rocket, /dev/accel/accel*)? librknnrt does not work with it.
bool has_rocket_driver();

// Returns the path or soname to open, or kDeviceUnavailable with why and what to do.
//   auto   the vendor's librknnrt.so if a device node exists
//   sim    the simulator, in a build tree or as installed, seen from `own_directory`: that of the plug-in or
//          tool that asks
//   else   the path itself, which must exist
Result<std::string> locate_runtime(const std::string& setting, const std::string& own_directory);

// Is the file this project's simulator, by a name that it exports? No for a bare name, which the system's
// loader looks for.
bool is_simulator(const std::string& library);

// Keeps large blocks of malloc out of the way of the vendor's library (GGML_RKNPU2_MALLOC_MMAP). glibc gives each
// (128 KiB and more) a mapping of its own. On a board librknnrt 2.3.2 was seen to unmap ranges in which such
// blocks lay: pages of the heap vanished, and the program crashed while it loaded its model, 6 times of 6. Without
// such mappings it loaded 3 times of 3 (docs/hardware.csv). The price: a freed large block that does not lie at
// the heap's end goes back to malloc and not to the system, and a block that grows may be copied. What the program
// has allocated before keeps its mapping.
//
// Call it before the library is opened, from any thread; it holds for the process, and is one line at the level
// kInfo. Does nothing where the setting says so, for the simulator unless it says "off", and without glibc,
// whose habit this is. `simulated`: is_simulator() of the library.
void keep_malloc_from_mapping(bool simulated, MallocMmap setting);

}  // namespace rknpu2
