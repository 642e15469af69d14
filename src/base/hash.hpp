// SPDX-License-Identifier: MIT
// Numbers that tell data apart: two hashes for two needs.
//
// hash_step() folds one word into a state. It is a bijection of the state for each word and of the word for each
// state, so a change of one word alone always shows. Fingerprints in files are chains of it: its arithmetic
// must stay as it is.
//
// hash128() looks at every byte, at about the speed of memory. It has eight lanes of eight bytes, and each word
// is in two of them, so two lanes must agree by chance before different data do (one time in 2^128).
//
// Both guard against accident, not against somebody who looks for data that agree.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace rknpu2 {

inline uint64_t hash_step(uint64_t state, uint64_t word) {
    state = (state ^ word) * 0x9e3779b97f4a7c15U;
    return state ^ (state >> 29);
}

// The words of some bytes, the last filled with zeros, folded into their number.
inline uint64_t hash_words(const char* data, size_t bytes) {
    uint64_t state = bytes;
    for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, data + at, std::min(sizeof word, bytes - at));
        state = hash_step(state, word);
    }
    return state;
}

struct Digest {
    uint64_t high = 0;
    uint64_t low = 0;

    std::string hex() const;  // 32 digits
    auto operator<=>(const Digest&) const =
        default;  // NOLINT(modernize-use-nullptr): the check trips over <=>
};

Digest hash128(const void* data, size_t bytes);

}  // namespace rknpu2
