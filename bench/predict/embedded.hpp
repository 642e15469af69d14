// SPDX-License-Identifier: MIT
// Text files that are compiled in, so that the program can be copied to a board alone.
#pragma once

namespace rknpu2 {

const char* embedded_models();   // bench/models.csv
const char* embedded_board();    // bench/profiles/board.profile
const char* embedded_timings();  // docs/measurements/npu-timings.csv
const char* embedded_engines();  // bench/published/engines.csv

}  // namespace rknpu2
