// SPDX-License-Identifier: MIT
// NpuRuntime over a librknnrt.so that is opened at run time: the vendor's on a board, the simulator
// elsewhere.
#pragma once

#include <memory>
#include <string>

#include "runtime/npu_runtime.hpp"
#include "system/start_wait.hpp"

namespace rknpu2 {

// Opens the library, finds its functions and asks its version. Fails with one line that names the file and
// what is wrong: no file, no library, a missing function, or a runtime that cannot make the smallest context.
// While the NPU refuses that context, it is asked for again as `wait` allows, if there is one. The library
// stays loaded: a vendor's runtime is not known to survive being unloaded.
Result<std::unique_ptr<NpuRuntime>> open_rknn_runtime(const std::string& library, StartWait* wait = nullptr);

}  // namespace rknpu2
