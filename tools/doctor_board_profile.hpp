// SPDX-License-Identifier: MIT
// The board profile (src/runtime/board_profile.hpp) that comes of the readings.
#pragma once

#include "config/config.hpp"
#include "doctor_report.hpp"

namespace rknpu2 {

// Where it goes and whose it is.
struct BoardProfilePlace {
    std::string path;  // empty: nowhere
    std::string why;   // it goes nowhere
};

// `option`: a path, "none", or empty for the user's folder, which only answers of a board get, and only when
// all trials were made: a simulator's and those of --quick go where somebody says.
BoardProfilePlace board_profile_place(const std::string& option, const Config& config,
                                      const DoctorReport& report, const std::string& root = "");

// Writes it there, says so in report.board_profile, and what it replaced. A warning there, and the status,
// when it cannot be written. `root`: where the device tree is.
Status write_board_profile(const BoardProfilePlace& place, DoctorReport& report,
                           const std::string& root = "");

}  // namespace rknpu2
