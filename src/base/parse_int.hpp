// SPDX-License-Identifier: MIT
// A whole text as a number.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace rknpu2 {

// Decimal digits, with a minus in front if need be, and nothing else; nullopt for any other text, and for a
// number that an int does not hold.
inline std::optional<int> parse_int(std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace rknpu2
