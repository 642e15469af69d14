// SPDX-License-Identifier: MIT
#include "core/fingerprint.hpp"

#include <cstring>

#include "base/hash.hpp"

namespace rknnsim {
namespace {

using rknpu2::hash_step;

uint64_t word_at(const std::byte* data) {
    uint64_t word = 0;
    std::memcpy(&word, data, sizeof word);
    return word;
}

// Four chains, so that the multiplications overlap.
uint64_t hash_all(const std::byte* data, size_t bytes) {
    constexpr size_t kWord = sizeof(uint64_t);
    uint64_t chains[4] = {1, 2, 3, 4};
    size_t at = 0;
    for (; at + 4 * kWord <= bytes; at += 4 * kWord) {
        for (size_t i = 0; i < 4; ++i)
            chains[i] = hash_step(chains[i], word_at(data + at + i * kWord));
    }
    for (; at < bytes; ++at)
        chains[0] = hash_step(chains[0], static_cast<uint64_t>(data[at]));
    return hash_step(hash_step(hash_step(hash_step(bytes, chains[0]), chains[1]), chains[2]), chains[3]);
}

}  // namespace

uint64_t fingerprint(const std::byte* data, size_t bytes, bool whole) {
    if (whole || bytes <= kFingerprintWhole) return hash_all(data, bytes);
    const size_t last = bytes - sizeof(uint64_t);
    uint64_t state = bytes;
    for (size_t i = 0; i < kFingerprintSamples; ++i)
        state = hash_step(state, word_at(data + last / (kFingerprintSamples - 1) * i));
    return hash_step(state, word_at(data + last));
}

}  // namespace rknnsim
