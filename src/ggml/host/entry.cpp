// SPDX-License-Identifier: MIT
#include "ggml/host/entry.hpp"

#include <sys/auxv.h>

namespace rknpu2 {

void (*at_process_end)() = nullptr;

}  // namespace rknpu2

// The plug-in is never unloaded (-z nodelete), so this runs when the process ends; the host's log may be gone
// by then.
__attribute__((destructor)) static void at_exit() {
    if (rknpu2::at_process_end != nullptr) rknpu2::at_process_end();
}

#if defined(__aarch64__)
// ggml asks on Arm: 0 says that this build needs what the CPU lacks.
extern "C" __attribute__((visibility("default"))) int ggml_backend_score() {
    return (getauxval(AT_HWCAP) & rknpu2::kNeededHwcaps) == rknpu2::kNeededHwcaps ? 1 : 0;
}
#endif
