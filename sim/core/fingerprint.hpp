// A number that changes when data change, nearly always.
//
// Small ranges (up to kWhole bytes) are hashed whole. Of larger ones only kSamples words are looked at,
// spread over the range, first and last included: enough to see that a buffer was filled anew, blind to
// single elements, and cheap beside the multiplication that reads all of it. `whole` asks for every byte
// whatever the size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknnsim {

inline constexpr size_t kFingerprintWhole = 4096;
inline constexpr size_t kFingerprintSamples = 32;

uint64_t fingerprint(const std::byte* data, size_t bytes, bool whole);

}  // namespace rknnsim
