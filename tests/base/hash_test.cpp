// SPDX-License-Identifier: MIT
#include "base/hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <set>
#include <vector>

namespace rknpu2 {
namespace {

std::vector<std::byte> random_bytes(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes(count);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random());
    return bytes;
}

// Every length around the width of a stripe, and data that differ in nothing but their length.
TEST(Hash, EveryLengthIsAnotherDigest) {
    const std::vector<std::byte> zeros(300);
    const std::vector<std::byte> noise = random_bytes(300, 1);
    std::set<Digest> seen;
    for (size_t length = 0; length <= 300; ++length) {
        EXPECT_TRUE(seen.insert(hash128(zeros.data(), length)).second) << length;
        if (length > 0) {
            EXPECT_TRUE(seen.insert(hash128(noise.data(), length)).second) << length;
        }
    }
}

// Each bit of the data turns about half of both halves of the digest.
TEST(Hash, EveryBitCounts) {
    for (const size_t length : {1U, 63U, 64U, 65U, 200U}) {
        std::vector<std::byte> data = random_bytes(length, 2);
        const Digest before = hash128(data.data(), length);
        for (size_t bit = 0; bit < 8 * length; ++bit) {
            data[bit / 8] ^= std::byte{1} << (bit % 8);
            const Digest now = hash128(data.data(), length);
            data[bit / 8] ^= std::byte{1} << (bit % 8);
            for (const uint64_t turned : {before.high ^ now.high, before.low ^ now.low}) {
                EXPECT_GT(std::popcount(turned), 10) << "bit " << bit << " of " << length << " bytes";
                EXPECT_LT(std::popcount(turned), 54) << "bit " << bit << " of " << length << " bytes";
            }
        }
    }
}

// What simple sums miss: words that changed places, within a stripe and between stripes, and repeats.
TEST(Hash, OrderCounts) {
    const std::vector<std::byte> data = random_bytes(256, 3);
    std::set<Digest> seen{hash128(data.data(), data.size())};
    for (size_t i = 0; i < 32; ++i) {
        for (size_t j = i + 1; j < 32; ++j) {
            std::vector<std::byte> swapped = data;
            std::swap_ranges(swapped.begin() + static_cast<std::ptrdiff_t>(8 * i),
                             swapped.begin() + static_cast<std::ptrdiff_t>(8 * i + 8),
                             swapped.begin() + static_cast<std::ptrdiff_t>(8 * j));
            EXPECT_TRUE(seen.insert(hash128(swapped.data(), swapped.size())).second) << i << " and " << j;
        }
    }
}

// Names of files depend on these digests, and fingerprints in files on the steps.
TEST(Hash, StaysAsItIs) {
    EXPECT_EQ(hash_step(1, 2), 0xdaa66d2aa8ec1d5cU);
    EXPECT_EQ(hash128("The tower clock has three trains", 32).hex(), "a2db2674cbd650461a526d1df85b05a8");
    EXPECT_EQ((Digest{1, 0xabc}.hex()), "00000000000000010000000000000abc");
}

}  // namespace
}  // namespace rknpu2
