// SPDX-License-Identifier: MIT
// What all tables of modelled figures have in common.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text_table.hpp"

namespace rknpu2 {

inline constexpr const char* kModelledNote =
    "Modelled, not measured: no board was at hand. docs/performance.md says how far off that may be.\n\n";

// The note, and `table`, which has its header, with a line for the values of each row.
std::string modelled_text(TextTable table, const std::vector<nlohmann::ordered_json>& rows);
// A document of schema 1 that has them under `name`.
std::string modelled_json(const char* name, const std::vector<nlohmann::ordered_json>& rows);

}  // namespace rknpu2
