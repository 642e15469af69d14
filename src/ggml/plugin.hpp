// SPDX-License-Identifier: MIT
// What other files need of the process-wide part of the plug-in.
#pragma once

namespace rknpu2 {

// Writes the file of GGML_RKNPU2_STATS, if that is set and there is an NPU.
void write_files();

}  // namespace rknpu2
