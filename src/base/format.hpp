// SPDX-License-Identifier: MIT
// printf-style formatting into std::string, checked by the compiler. (g++ 12 has no <format>.)
#pragma once

#include <cstdarg>
#include <string>
#include <vector>

namespace rknpu2 {

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);
std::string format_v(const char* pattern, va_list arguments);

// "a, b, c"
std::string joined(const std::vector<std::string>& texts, const char* between = ", ");

// Names and values that somebody else wrote, for a message of one line: control characters (a newline, an
// escape sequence) become '?'.
std::string printable(const std::string& text);

}  // namespace rknpu2
