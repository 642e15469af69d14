// SPDX-License-Identifier: MIT
// A target with three mistakes, for test_replay.sh: replay.cpp must find them and say how to repeat them.
#include <cstdint>
#include <cstring>

#include "fuzz/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FUZZ_CHECK(size < 6 || std::memcmp(data, "abort", 5) != 0);
    if (size >= 5 && std::memcmp(data, "crash", 5) == 0) *static_cast<volatile int*>(nullptr) = 1;
    // One changed byte away from the corpus.
    FUZZ_CHECK(size == 0 || data[0] != 'm' || data[size - 1] == 'd');
    return 0;
}
