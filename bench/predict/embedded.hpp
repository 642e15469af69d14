// SPDX-License-Identifier: MIT
// Text files that are compiled in, so that the program can be copied to a board alone.
#pragma once

#include <vector>

namespace rknpu2 {

struct EmbeddedFile {
    const char* name;  // without folders
    const char* text;
};

const std::vector<EmbeddedFile>& embedded_shapes();  // bench/shapes/*.txt
const char* embedded_board_profile();                // bench/profiles/board.profile
const char* embedded_timings();                      // docs/measurements/npu-timings.csv
const char* embedded_engines();                      // bench/published/engines.csv

}  // namespace rknpu2
