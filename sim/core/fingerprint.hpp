// SPDX-License-Identifier: MIT
// A number that changes when data change, nearly always.
//
// Ranges of up to kFingerprintWhole bytes are hashed whole. From a larger one only kFingerprintSamples words
// are taken, spread over the range, first and last included. That shows that a buffer was filled anew, misses
// single elements, and is cheap beside the multiplication that reads all of it. `whole` asks for every byte
// whatever the size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknnsim {

inline constexpr size_t kFingerprintWhole = 4096;
inline constexpr size_t kFingerprintSamples = 32;

uint64_t fingerprint(const std::byte* data, size_t bytes, bool whole);

}  // namespace rknnsim
