// SPDX-License-Identifier: MIT
// NpuRuntime over a librknnrt.so that is opened at run time: the vendor's on a board, the simulator
// elsewhere.
#pragma once

#include <memory>
#include <string>

#include "base/status.hpp"
#include "runtime/npu_runtime.hpp"
#include "system/start_wait.hpp"

namespace rknpu2 {

// Opens the library, finds its functions and asks its version. Fails with one line that names the file and
// what is wrong with it: not there, not a library, a missing function, or a runtime that cannot make even the
// smallest context. The library stays loaded for the rest of the process: a vendor runtime is not known to
// survive being unloaded.
Result<std::unique_ptr<NpuRuntime>> open_rknn_runtime(const std::string& library);

// The same; while the NPU refuses the first context, that is asked for again as `wait` allows.
Result<std::unique_ptr<NpuRuntime>> wait_for_rknn_runtime(const std::string& library, StartWait& wait);

}  // namespace rknpu2
