// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <vector>

#include "kernels/attention.hpp"
#include "kernels/kernel_cases.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;

// Rows of a cache as pack_keys() and pack_values() take them.
struct Cache {
    size_t width, stride, count, first;
    bool keys;
    bool deep;  // values of a whole block
    GuardedBuffer<std::byte> rows;
    GuardedBuffer<uint8_t> seen;
    size_t width_padded;
    bool all_seen = true;

    Cache(Random& random, bool for_keys)
        : width(kWidths[random.size(0, std::size(kWidths) - 1)]),
          stride(2 * (width + random.size(0, 9))),
          count(random.one_in(2) ? 32 * random.size(1, 6) : random.size(1, 200)),
          first(random.one_in(2) ? 32 * random.size(0, 4) : random.size(0, 300)),
          keys(for_keys),
          deep(random.one_in(2)),
          rows((count - 1) * stride + 2 * width, random.one_in(2) ? Edge::kEnd : Edge::kBegin),
          seen(count, Edge::kEnd, 1),
          width_padded(round_up(width, keys ? size_t{32} : size_t{16}) + (random.one_in(4) ? 32U : 0U)) {
        for (size_t i = 0; i < count; ++i)
            for (size_t k = 0; k < width; ++k)
                put(i, k, float_to_float16(100.0F * random.normal()));
        if (random.one_in(2)) {
            all_seen = false;
            for (uint8_t& s : seen)
                s = random.one_in(4) ? 0 : 1;
        }
    }
    static constexpr size_t kWidths[] = {1, 15, 32, 40, 64, 80, 128, 200, 256, 576};

    void put(size_t i, size_t k, uint16_t value) const {
        std::memcpy(rows.data() + i * stride + 2 * k, &value, 2);
    }
    uint16_t at(size_t i, size_t k) const {
        uint16_t value;
        std::memcpy(&value, rows.data() + i * stride + 2 * k, 2);
        return value;
    }
    size_t positions() const { return keys || deep ? kAttentionBlock : kValueBlock; }
    // Returns the block with 0xA5A5 where nothing was written, or nothing if an element is not finite.
    std::optional<std::vector<uint16_t>> packed(TestTier tier) const {
        const GuardedBuffer<uint16_t> block(positions() * width_padded);
        const HalvesToBlock from{
            rows.data(),  stride,     width, width_padded, first, count, all_seen ? nullptr : seen.data(),
            block.data(), positions()};
        if (!(keys ? pack_keys(from, tier) : pack_values(from, tier))) return std::nullopt;
        return std::vector<uint16_t>(block.begin(), block.end());
    }
    size_t index(size_t position, size_t k) const {
        return keys ? b_index_native(k, position, width_padded, positions(), DType::kFloat16)
                    : b_index_native(position, k, positions(), width_padded, DType::kFloat16);
    }
};

class PackHalves : public testing::TestWithParam<bool> {};

TEST_P(PackHalves, EveryTierWritesItsPositionsAndNoOthers) {
    Random random;
    for (int round = 0; round < 150; ++round) {
        const Cache cache(random, GetParam());
        for (size_t i = 0; i < cache.count; ++i)  // hidden positions hold anything
            if (cache.seen[i] == 0) cache.put(i, std::min(random.size(0, 575), cache.width - 1), 0x7E01);
        std::vector<uint16_t> expected(cache.positions() * cache.width_padded, 0xA5A5);
        for (size_t i = 0; i < cache.count; ++i)
            for (size_t k = 0; k < cache.width_padded; ++k)
                expected[cache.index(cache.first + i, k)] =
                    k < cache.width && cache.seen[i] != 0 ? cache.at(i, k) : 0;
        for (const TestTier tier : test_tiers()) {
            const auto packed = cache.packed(tier);
            ASSERT_TRUE(packed.has_value());
            ASSERT_TRUE(*packed == expected) << kernel_tier_name(tier) << " width " << cache.width
                                             << " first " << cache.first << " count " << cache.count;
        }
    }
}

TEST_P(PackHalves, WhatIsSeenAndNotFiniteIsFoundWhereverItIs) {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const Cache cache(random, GetParam());
        const size_t i = std::min(random.size(0, 199), cache.count - 1);
        constexpr uint16_t kBad[] = {0x7C00, 0xFC00, 0x7C01, 0xFFFF};
        cache.put(i, std::min(random.size(0, 575), cache.width - 1), kBad[random.size(0, 3)]);
        for (const TestTier tier : test_tiers())
            ASSERT_EQ(cache.packed(tier).has_value(), cache.seen[i] == 0) << kernel_tier_name(tier);
    }
}

INSTANTIATE_TEST_SUITE_P(KeysAndValues, PackHalves, testing::Bool(),
                         [](const auto& keys) { return keys.param ? "Keys" : "Values"; });

}  // namespace
}  // namespace rknpu2
