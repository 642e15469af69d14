// SPDX-License-Identifier: MIT
#include "base/hash.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

// Digests of the same data must be the same on every machine that shares a file.
static_assert(std::endian::native == std::endian::little);

constexpr size_t kLanes = 8;
constexpr size_t kStripe = kLanes * sizeof(uint64_t);

using Lanes = std::array<uint64_t, kLanes>;

inline void absorb(Lanes& lanes, const std::byte* stripe) {
    Lanes words;
    std::memcpy(words.data(), stripe, kStripe);
    for (size_t i = 0; i < kLanes; ++i)
        lanes[i] = hash_step(lanes[i], words[i]) + std::rotl(words[i ^ 1], 32);
}

uint64_t spread(uint64_t x) {
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93U;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93U;
    return x ^ (x >> 32);
}

}  // namespace

std::string Digest::hex() const {
    return format("%016llx%016llx", static_cast<unsigned long long>(high),
                  static_cast<unsigned long long>(low));
}

Digest hash128(const void* data, size_t bytes) {
    const auto* at = static_cast<const std::byte*>(data);
    Lanes lanes;
    for (size_t i = 0; i < kLanes; ++i)
        lanes[i] = spread(bytes + i + 1);
    size_t left = bytes;
    for (; left >= kStripe; left -= kStripe, at += kStripe)
        absorb(lanes, at);
    if (left > 0) {
        // Zeros behind the data; their number follows from the size, which is in the lanes from the start.
        std::array<std::byte, kStripe> last{};
        std::memcpy(last.data(), at, left);
        absorb(lanes, last.data());
    }
    Digest digest{bytes, ~uint64_t{bytes}};
    for (size_t i = 0; i < kLanes; ++i) {
        digest.high = spread(hash_step(digest.high, lanes[i]));
        digest.low = spread(hash_step(digest.low, lanes[kLanes - 1 - i]));
    }
    return digest;
}

}  // namespace rknpu2
