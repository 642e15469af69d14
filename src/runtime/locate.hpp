// SPDX-License-Identifier: MIT
// Which librknnrt.so to open: the setting GGML_RKNPU2_RUNTIME turned into a path.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

// Device nodes of the vendor's kernel driver (rknpu), such as /dev/dri/card1; empty on a PC.
std::vector<std::string> npu_device_nodes();
// May this process read and write one of them?
bool may_use_any(const std::vector<std::string>& nodes);

// Is there the mainline kernel driver (rocket, /dev/accel/accel*)? librknnrt does not work with it.
bool has_rocket_driver();

// Returns the path or soname to open, or kDeviceUnavailable with why and what to do.
//   auto   the vendor's librknnrt.so if a device node exists
//   sim    the simulator, in a build tree or as installed, seen from `own_directory`: that of the plug-in or
//          tool that asks
//   else   the path itself, which must exist
Result<std::string> locate_runtime(const std::string& setting, const std::string& own_directory);

}  // namespace rknpu2
