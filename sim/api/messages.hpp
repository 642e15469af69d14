// Lines on stderr, for people.
#pragma once

#include <string>

namespace rknnsim {

// "rknnsim: <kind>: <function>: <text>", as one write.
void print_line(const char* kind, const char* function, const std::string& text);

// The same for what a program may do in a loop, such as calls that are refused: of lines that differ in
// numbers only, the first kLinesOfAKind are printed and the others counted. Thread safe.
inline constexpr unsigned kLinesOfAKind = 20;
void print_limited(const char* kind, const char* function, const std::string& text);

// One line for each kind that was counted and not printed, with how often it came.
void print_counted();
// Forgets what was counted.
void forget_counted();

}  // namespace rknnsim
