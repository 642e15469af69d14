// SPDX-License-Identifier: MIT
// A board in numbers: the simulator's profile of the NPU, with what this file departs from, and beside it the
// memory and the four fast CPU cores, which the simulator does not know.
//
// The text is bench/profiles/board.profile (compiled in) or a file in the same form; it is complete or it is
// refused. It may also be a profile of the simulator (sim/profiles/rk3588.profile, or what rknpu2-doctor has
// measured), told by its name clock_mhz: then the NPU is that file's, and the rest the compiled-in profile's.
// A matmul's work and duration come from the simulator's rule (sim/timing/work.hpp): there is one.
#pragma once

#include <string>

#include "base/status.hpp"
#include "timing/profile.hpp"

namespace rknpu2 {

struct BoardProfile {
    rknnsim::Profile npu;
    double npu_columns = 0;  // largest N of a run
    double dram_gbps = 0;
    double cpu_threads = 0;
    double cpu_copy_gbps = 0, cpu_read_gbps = 0;
    double cpu_in_place = 0;
    double cpu_beside_npu = 0;
    double results_gbps_narrow = 0, results_gbps_wide = 0;
    double attention_gflops = 0;  // ggml's
    double few_tokens_ns = 0;     // a vector instruction of our own
    double block_pass_ns = 0;
    double region_us = 0;
    double wake_us = 0;
    double hand_over_us = 0;

    // Operations a second of `cores` cores in int8, two for each multiply-add: 6.14e12 for three.
    double int8_peak(int cores) const {
        return 2 * cores * npu.macs_per_cycle[rknnsim::kInt8] * npu.clock_mhz * 1e6;
    }
};

// Rates of memory and CPU hold at rknnsim::kDdrReferenceMhz and are scaled for a profile with another
// ddr_mhz.
Result<BoardProfile> parse_board_profile(const std::string& text, const std::string& file);

// The one compiled in when `path` is empty.
Result<BoardProfile> load_board_profile(const std::string& path = "");

}  // namespace rknpu2
