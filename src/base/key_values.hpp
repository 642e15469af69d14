// SPDX-License-Identifier: MIT
// Text files of `name = value  # comment` lines: the form of all profiles.
//
// Only the form is checked here. What the names mean, and which there must be, is for whoever reads them.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

struct KeyValue {
    std::string name, value;  // neither is empty
    int line;
};

// Returns the lines in their order, each name once; else kInvalidArgument with "file:line: what is wrong".
// `file` is for messages only.
Result<std::vector<KeyValue>> parse_key_values(const std::string& text, const std::string& file);

// Returns kInvalidArgument with "file:line: what", made printable.
Status wrong_line(const std::string& file, int line, const std::string& what);

// The whole text as a finite number, with a point whatever the host's locale says.
std::optional<double> parse_number(const std::string& text);
// Such a number as text, to seven digits.
std::string number_text(double value);

// The whole text as an int: decimal digits, with a minus in front if need be, and nothing else; nullopt for any other text, and for a
// number that an int does not hold.
inline std::optional<int> parse_int(std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace rknpu2
