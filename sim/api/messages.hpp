// SPDX-License-Identifier: MIT
// Lines on stderr, for people.
#pragma once

#include <string>

namespace rknnsim {

// "rknnsim: <kind>: <function>: <text>", as one write.
void print_line(const char* kind, const char* function, const std::string& text);

// As print_line(), for lines that a program may cause in a loop, such as calls that are refused. Lines that
// differ in numbers only are of one kind: the first kLinesOfAKind of a kind are printed, the others counted.
// Thread safe.
inline constexpr unsigned kLinesOfAKind = 20;
void print_limited(const char* kind, const char* function, const std::string& text);

// One line for each kind that was counted and not printed, with how often it came.
void print_counted();
// Forgets what was counted.
void forget_counted();

}  // namespace rknnsim
