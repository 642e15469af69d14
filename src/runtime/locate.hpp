// SPDX-License-Identifier: MIT
// Which librknnrt.so to open: the setting GGML_RKNPU2_RUNTIME turned into a path.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

// Device nodes of the vendor's kernel driver (rknpu) found on this machine, such as /dev/dri/card1; empty on
// a PC.
std::vector<std::string> npu_device_nodes();
// May this process read and write one of them?
bool may_use_any(const std::vector<std::string>& nodes);

// True if the mainline kernel driver (rocket, /dev/accel/accel*) is there: librknnrt does not work with it.
bool has_rocket_driver();

// Returns the path or soname to open.
//   auto   the vendor's librknnrt.so if a device node exists, else the error kDeviceUnavailable, which says why
//          and how to simulate
//   sim    the simulator: ../sim/librknnrt.so from `own_directory`, or rknnsim/librknnrt.so beside it (as
//          installed)
//   else   the path itself, which must exist
// `own_directory` is the directory of the plug-in or tool that asks.
Result<std::string> locate_runtime(const std::string& setting, const std::string& own_directory);

}  // namespace rknpu2
