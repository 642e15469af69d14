// SPDX-License-Identifier: MIT
// The numbers that the time model runs on, and the text file that they come from.
//
// A profile is a list of `name = value  # source` lines; profiles/rk3588.profile says what each name means.
// It is complete or it is refused: a name that is unknown, missing, given twice or out of range is one line
// that names the file and the line. The profile of the RK3588 is compiled in from that file.
#pragma once

#include <string>
#include <vector>

#include "core/outcome.hpp"
#include "core/types.hpp"

namespace rknnsim {

inline constexpr int kCores = 3;
// Memory clock at which a profile's bandwidths hold; at another `ddr_mhz` they are scaled.
inline constexpr double kDdrReferenceMhz = 2400;

struct Profile {
    double clock_mhz = 0;
    double ddr_mhz = 0;
    double macs_per_cycle[3] = {};  // by Precision, like all arrays of three but the bandwidths
    double mac_efficiency = 0;
    double buffer_banks = 0;
    double bank_bytes = 0;
    double native_banks[3] = {};
    double least_banks = 0;  // of a native tile, where two groups of kernels leave less
    double normal_banks[3] = {};
    double normal_results = 0;  // of a tile in normal layout
    double tile_rows[3] = {};
    double k_segment = 0;
    double n_task = 0;                // columns of one task
    double row_task_us = 0;           // in normal layout, the least time of one row of a tile
    double stream_gbps[kCores] = {};  // by the number of busy cores, less one; GB = 1e9 bytes
    double mixed_gbps[kCores] = {};
    double submit_us = 0;
    double bind_us = 0;
    double sync_us = 0;         // of one call
    double sync_gbps = 0;       // of the CPU's cache, by the runtime's call
    double line_ns = 0;         // of one line of it, by the program's instructions
    double convert_gbps = 0;    // of A, C and transposed B, which move in pieces of 16 bytes and more
    double convert_b_gbps = 0;  // of B in [K, N] order, which has to be transposed
    double error_typical = 0;
    double error_left_out = 0;
    double error_worst = 0;
};

enum Precision { kInt4 = 0, kInt8 = 1, kFp16 = 2 };

constexpr Precision precision_of(MatmulType type) {
    switch (input_type(type)) {
        case DType::kInt4:
            return kInt4;
        case DType::kFloat16:
            return kFp16;
        default:
            return kInt8;
    }
}

struct ProfileParameter {
    const char* name;
    double low, high;
    bool whole;  // integers only
    double& (*value)(Profile& profile);
};

// Every name that a profile has, in the order of the file.
const std::vector<ProfileParameter>& profile_parameters();

// Sets one value by its name; an error for an unknown name or a value out of range.
Outcome set_parameter(const std::string& name, double value, Profile* profile);

Outcome get_parameter(const std::string& name, Profile profile, double* value);

// `file` is for messages only.
Outcome parse_profile(const std::string& text, const std::string& file, Profile* profile);

// The profile in that file; the compiled-in one when `path` is empty.
Outcome load_profile(const std::string& path, Profile* profile);

}  // namespace rknnsim
