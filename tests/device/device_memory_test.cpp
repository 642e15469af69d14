// SPDX-License-Identifier: MIT
#include "device/device_memory.hpp"

#include <gtest/gtest.h>

#include <random>

#include "device/context_cache.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using testing::FakeRuntime;
using testing::FakeState;

Result<Slice> one(DeviceMemoryPool& pool, size_t bytes) {
    auto slices = pool.allocate_together({{bytes}});
    RKNPU2_RETURN_IF_ERROR(slices.status());
    return slices.value()[0];
}

TEST(DeviceMemoryPool, SlicesNeverOverlapAndAllIsGivenBack) {
    FakeState state;
    FakeRuntime runtime(state);
    {
        DeviceMemoryPool pool(runtime);
        std::mt19937 random(7);
        std::vector<Slice> live;
        std::set<uint64_t> ids;
        for (int step = 0; step < 2000; ++step) {
            if (live.empty() || random() % 3 != 0) {
                const size_t bytes = 1 + random() % (random() % 10 == 0 ? 40'000'000 : 300'000);
                auto slice = one(pool, bytes);
                ASSERT_TRUE(slice.ok());
                EXPECT_GE(slice.value().bytes, bytes);
                EXPECT_EQ(slice.value().offset % 64, 0U);
                EXPECT_TRUE(ids.insert(slice.value().id).second) << "an id was used twice";
                for (const auto& other : live) {
                    const bool apart = other.slab != slice.value().slab ||
                                       other.offset + other.bytes <= slice.value().offset ||
                                       slice.value().offset + slice.value().bytes <= other.offset;
                    ASSERT_TRUE(apart);
                }
                live.push_back(slice.take());
            } else {
                const size_t victim = random() % live.size();
                pool.give_back(live[victim]);
                live.erase(live.begin() + static_cast<std::ptrdiff_t>(victim));
            }
        }
        for (const auto& slice : live)
            pool.give_back(slice);
        EXPECT_EQ(pool.bytes_in_use(), 0U);
        EXPECT_EQ(state.memories, 0);
        EXPECT_EQ(state.contexts, 0);
    }
}

TEST(DeviceMemoryPool, GoesToTheNextDomainWhenOneIsFull) {
    FakeState state;
    FakeRuntime runtime(state);
    DeviceMemoryPool pool(runtime);
    // The pool keeps its own account of 4 GiB a domain; 64 MiB pieces need the second domain for the last
    // ones. Pages that nobody touches cost nothing.
    std::vector<Slice> slices;
    for (int i = 0; i < 70; ++i) {
        auto together = pool.allocate_together({{size_t{60} << 20}, {size_t{4} << 20}});
        ASSERT_TRUE(together.ok()) << together.status().to_string();
        EXPECT_EQ(together.value()[0].domain, together.value()[1].domain);
        slices.insert(slices.end(), together.value().begin(), together.value().end());
    }
    EXPECT_EQ(slices.front().domain, 0);
    EXPECT_EQ(slices.back().domain, 1);
    // Multiplications by weights in the full domain need work areas there.
    for (int i = 0; i < 4; ++i) {
        auto area = pool.allocate_alone(0, size_t{100} << 20);
        ASSERT_TRUE(area.ok()) << area.status().to_string();
        slices.push_back(area.take());
    }
    EXPECT_FALSE(pool.allocate_alone(0, size_t{400} << 20).ok());
    for (const auto& slice : slices)
        pool.give_back(slice);
    EXPECT_EQ(state.memories, 0);
}

// Large blocks waste what is left of slabs: a domain is full long before its bytes are used up.
TEST(DeviceMemoryPool, GoesToTheNextDomainWhenLargeBlocksDoNotFit) {
    FakeState state;
    FakeRuntime runtime(state);
    DeviceMemoryPool pool(runtime);
    constexpr size_t kMiB = size_t{1} << 20;
    std::vector<Slice> slices = pool.allocate_together({std::vector<size_t>(8, 250 * kMiB)}).take();
    const auto head = pool.allocate_together(DeviceMemoryPool::Blocks(6, {160 * kMiB}));
    ASSERT_TRUE(head.ok()) << head.status().to_string();
    for (const Slice& slice : head.value())
        EXPECT_EQ(slice.domain, 1);
    slices.insert(slices.end(), head.value().begin(), head.value().end());
    for (const Slice& slice : slices)
        pool.give_back(slice);
    EXPECT_EQ(state.memories, 0);
}

TEST(DeviceMemoryPool, SlicesOfABlockLieSideBySideAndAreGivenBackOneByOne) {
    FakeState state;
    FakeRuntime runtime(state);
    DeviceMemoryPool pool(runtime);
    const auto together = pool.allocate_together({{1024, 100, 64}, {4096}});
    ASSERT_TRUE(together.ok());
    const auto& slices = together.value();
    ASSERT_EQ(slices.size(), 4U);
    EXPECT_EQ(slices[1].data(), slices[0].data() + 1024);
    EXPECT_EQ(slices[2].data(), slices[1].data() + 128);
    EXPECT_EQ(slices[2].bytes, 64U);
    EXPECT_EQ(pool.bytes_in_use(), 1024U + 128 + 64 + 4096);
    for (size_t i = 0; i < 4; ++i) {
        for (size_t j = i + 1; j < 4; ++j)
            EXPECT_NE(slices[i].id, slices[j].id);
    }
    // The middle one's place is free again, for something of its size.
    pool.give_back(slices[1]);
    const auto again = one(pool, 128);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again.value().data(), slices[1].data());
    EXPECT_NE(again.value().id, slices[1].id);
    for (const auto& slice : {slices[0], again.value(), slices[2], slices[3]})
        pool.give_back(slice);
    EXPECT_EQ(pool.bytes_in_use(), 0U);
    EXPECT_EQ(state.memories, 0);
}

// What support() promises: all that weights may have, in one weight, also when its blocks are larger than a
// buffer of the runtime or no even part of what the pool usually asks for.
TEST(DeviceMemoryPool, AWeightMayFillADomain) {
    constexpr size_t kMiB = size_t{1} << 20;
    for (const size_t cell : {32 * kMiB, 129 * kMiB, 3 * kMiB, 64 * kMiB, 1000 * kMiB}) {
        for (const size_t cells_of_block : {1U, 5U, 60U}) {
            FakeState state;
            FakeRuntime runtime(state);
            DeviceMemoryPool pool(runtime);
            // Another model has the first domains, so that the pool asks for large buffers.
            std::vector<Slice> others;
            for (int i = 0; i < 2; ++i) {
                auto other = pool.allocate_together({std::vector<size_t>(10, 300 * kMiB)});
                ASSERT_TRUE(other.ok());
                others.insert(others.end(), other.value().begin(), other.value().end());
            }
            DeviceMemoryPool::Blocks blocks;
            size_t left = kMostWeightBytes;
            while (left > 0) {
                if (blocks.empty() || blocks.back().size() == cells_of_block) blocks.emplace_back();
                blocks.back().push_back(std::min(cell, left));
                left -= blocks.back().back();
            }
            auto slices = pool.allocate_together(blocks);
            ASSERT_TRUE(slices.ok()) << slices.status().to_string();
            size_t index = 0;
            for (const auto& block : blocks) {
                for (const size_t bytes : block) {
                    const Slice& slice = slices.value()[index++];
                    EXPECT_EQ(slice.bytes, bytes);
                    EXPECT_EQ(slice.domain, slices.value()[0].domain);
                    std::byte* const end = slice.data() + slice.bytes - 1;
                    *end = std::byte{1};  // it is there
                }
            }
            EXPECT_EQ(index, slices.value().size());
            EXPECT_FALSE(pool.allocate_together({std::vector<size_t>(14, 256 * kMiB)}).ok());
            for (const auto* const all : {&slices.value(), &others})
                for (const auto& slice : *all)
                    pool.give_back(slice);
            EXPECT_EQ(state.memories, 0);
        }
    }
}

TEST(DeviceMemoryPool, FailureLeavesNothingBehind) {
    FakeState state;
    FakeRuntime runtime(state);
    DeviceMemoryPool pool(runtime);
    state.allocations_until_failure = 1;
    const auto together =
        pool.allocate_together({{size_t{16} << 20}, {size_t{16} << 20}, {size_t{16} << 20}});
    ASSERT_FALSE(together.ok());
    EXPECT_EQ(together.status().code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(pool.bytes_in_use(), 0U);
    EXPECT_EQ(state.memories, 0);
}

TEST(ContextCache, KeepsToItsCapacityAndDropsTheOldest) {
    FakeState state;
    FakeRuntime runtime(state);
    CoherencyCounters counters;
    const auto coherency = std::make_unique<Coherency>(counters);
    ContextCache cache(runtime, *coherency, {1, 2}, 4);
    const auto spec = [](size_t K) {
        ContextKey key;
        key.K = K;
        key.N = 32;
        return key;
    };
    for (size_t i = 1; i <= 10; ++i) {
        cache.begin_call();
        ASSERT_TRUE(cache.get(spec(32 * i)).ok());
    }
    EXPECT_EQ(cache.size(), 4U);
    EXPECT_EQ(state.contexts, 4);
    CachedContext* const kept = cache.get(spec(32 * 7)).value();
    cache.begin_call();
    ASSERT_TRUE(cache.get(spec(32 * 99)).ok());
    EXPECT_EQ(cache.get(spec(32 * 7)).value(), kept);
    kept->fail({StatusCode::kTimeout, "no answer"});
    cache.drop_failed(ContextKey::kProducts);
    EXPECT_EQ(state.contexts, 3);
}

}  // namespace
}  // namespace rknpu2
