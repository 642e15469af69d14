// SPDX-License-Identifier: MIT
// What a fuzz target says when a property does not hold: one line, then the process ends. libFuzzer and
// replay.cpp keep the input.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace rknpu2::fuzz {

[[noreturn]] inline void fail(const char* file, int line, const char* what) {
    std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    std::abort();
}

// A message for a user: there is one, and it is one line without control characters.
inline bool is_one_line(const std::string& text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
    }
    return !text.empty();
}

}  // namespace rknpu2::fuzz

#define FUZZ_CHECK(condition)                                                   \
    do {                                                                        \
        if (!(condition)) ::rknpu2::fuzz::fail(__FILE__, __LINE__, #condition); \
    } while (false)
