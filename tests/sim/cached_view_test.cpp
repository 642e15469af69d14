// SPDX-License-Identifier: MIT
// The CPU's cache, line by line, on a buffer of a few lines; and the lock of ranges that it stands on.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/cached_view.hpp"
#include "core/range_lock.hpp"

namespace rknnsim {
namespace {

constexpr size_t kLines = 130;  // more than a page
constexpr size_t kSize = kLines * kLineBytes;

class CachedViewTest : public ::testing::Test {
  protected:
    void make(const CacheRules& rules, bool filled = false) {
        rules_ = rules;
        const Outcome made = CachedView::create(cpu_.data(), kSize, filled, rules, &view_);
        ASSERT_TRUE(made.ok()) << made.text;
    }
    void write(size_t offset, size_t bytes, int value) { std::memset(cpu_.data() + offset, value, bytes); }
    void store(size_t offset, size_t bytes, int value) {
        const std::vector<std::byte> data(bytes, static_cast<std::byte>(value));
        view_->store(offset, bytes, data.data());
    }
    int cpu(size_t offset) const { return static_cast<int>(cpu_[offset]); }
    int device(size_t offset) const {
        return static_cast<int>(*DeviceView::Reading(*view_, offset, 1).data());
    }
    int pattern(size_t offset) const {
        std::byte value{};
        write_pattern(&value, offset, 1);
        return static_cast<int>(value);
    }

    static CacheRules worst() {
        return {.bind_cleans = false,
                .import_syncs = false,
                .results_visible = false,
                .dirty_overwrites = true,
                .non_cacheable_stale = true};
    }

    std::vector<std::byte> cpu_ = std::vector<std::byte>(kSize);
    CacheRules rules_;
    std::unique_ptr<DeviceView> view_;
};

TEST_F(CachedViewTest, CleaningReachesTheLinesThatTheRangeTouches) {
    make(worst());
    write(0, kSize, 7);
    EXPECT_EQ(view_->dirty_lines(0, kSize), kLines);
    view_->clean(127, 2);  // the last byte of one line, the first of the next
    for (size_t line = 0; line < kLines; ++line) {
        const bool cleaned = line == 1 || line == 2;
        EXPECT_EQ(device(line * kLineBytes), cleaned ? 7 : 0) << line;
        EXPECT_EQ(device(line * kLineBytes + kLineBytes - 1), cleaned ? 7 : 0) << line;
    }
    EXPECT_EQ(view_->dirty_lines(0, kSize), kLines - 2);
    EXPECT_EQ(view_->dirty_lines(64, 128), 0U);
    view_->clean(0, kSize);
    EXPECT_EQ(view_->dirty_lines(0, kSize), 0U);
    EXPECT_EQ(device(kSize - 1), 7);
}

TEST_F(CachedViewTest, BindingCleansOrLeaves) {
    for (const bool cleans : {false, true}) {
        CacheRules rules = worst();
        rules.bind_cleans = cleans;
        make(rules);
        write(100, 10, 5);
        ASSERT_TRUE(view_->bind(100, 10, {}).ok());
        EXPECT_EQ(device(105), cleans ? 5 : 0);
        write(0, kSize, 0);
    }
}

TEST_F(CachedViewTest, ABufferOfSomebodyElseStartsAsItIs) {
    write(0, kSize, 9);
    make(worst(), true);
    EXPECT_EQ(view_->dirty_lines(0, kSize), 0U);
    EXPECT_EQ(device(kSize - 1), 9);
}

TEST_F(CachedViewTest, AResultIsSeenAtOnceOrAfterAnInvalidation) {
    for (const bool visible : {false, true}) {
        CacheRules rules = worst();
        rules.results_visible = visible;
        make(rules);
        std::fill(cpu_.begin(), cpu_.end(), std::byte{1});
        view_->clean(0, kSize);
        store(70, 5000, 42);
        EXPECT_EQ(device(70), 42);
        EXPECT_EQ(device(69), 1);
        for (const size_t at : {size_t{70}, size_t{4096}, size_t{5069}})
            EXPECT_EQ(cpu(at), visible ? 42 : pattern(at)) << at;
        EXPECT_EQ(cpu(69), 1);  // the rest of the line keeps its value
        EXPECT_EQ(cpu(5070), 1);
        EXPECT_EQ(view_->dirty_lines(0, kSize), 0U);
        EXPECT_EQ(view_->hidden(0, kSize), !visible);
        if (visible) continue;
        view_->clean(0, kSize);  // nothing is dirty: the result stays
        EXPECT_EQ(device(70), 42);
        EXPECT_EQ(cpu(70), pattern(70));
        view_->invalidate(4096, 1);
        EXPECT_EQ(cpu(4095), pattern(4095));
        EXPECT_EQ(cpu(4096), 42);
        EXPECT_EQ(cpu(4159), 42);
        EXPECT_EQ(cpu(4160), pattern(4160));
        view_->invalidate(0, kSize);
        EXPECT_TRUE(std::all_of(cpu_.begin() + 70, cpu_.begin() + 5070,
                                [](std::byte value) { return value == std::byte{42}; }));
        EXPECT_FALSE(view_->hidden(0, kSize));
    }
}

// One byte in the line before the result's, one in its first line but before it, one inside.
TEST_F(CachedViewTest, DirtyLinesComeBackOverAResultOrAreLost) {
    for (const bool overwrites : {false, true}) {
        CacheRules rules = worst();
        rules.dirty_overwrites = overwrites;
        rules.results_visible = true;
        std::fill(cpu_.begin(), cpu_.end(), std::byte{0});
        make(rules);
        write(60, 1, 3);
        write(70, 1, 4);
        write(400, 1, 5);
        store(80, 1000, 42);
        EXPECT_EQ(device(60), 0);  // not touched
        EXPECT_EQ(device(70), overwrites ? 4 : 0);
        EXPECT_EQ(device(80), overwrites ? 0 : 42);
        EXPECT_EQ(device(127), overwrites ? 0 : 42);
        EXPECT_EQ(device(128), 42);
        EXPECT_EQ(device(383), 42);
        EXPECT_EQ(device(384), overwrites ? 0 : 42);
        EXPECT_EQ(device(400), overwrites ? 5 : 42);
        EXPECT_EQ(device(448), 42);
        EXPECT_EQ(cpu(400), overwrites ? 5 : 42);
        EXPECT_EQ(cpu(401), overwrites ? 0 : 42);
        EXPECT_EQ(cpu(70), 4);
        // Written back is clean; what lies beside a result waits on.
        EXPECT_EQ(view_->dirty_lines(0, kSize), overwrites ? 1U : 2U);
    }
}

TEST_F(CachedViewTest, AStoreOverAHiddenResultIsDirty) {
    make(worst());
    store(0, 256, 42);
    write(70, 1, 1);
    EXPECT_EQ(view_->dirty_lines(0, 256), 1U);
    EXPECT_TRUE(view_->stale(64, 64, true));
    EXPECT_FALSE(view_->stale(128, 64, true));
    view_->invalidate(0, 256);  // the dirty line wins, as the CPU sees it: pattern and all
    EXPECT_EQ(device(63), 42);
    EXPECT_EQ(device(64), pattern(64));
    EXPECT_EQ(device(70), 1);
    EXPECT_EQ(device(128), 42);
    EXPECT_EQ(cpu(63), 42);
    EXPECT_EQ(cpu(64), pattern(64));
    EXPECT_EQ(cpu(128), 42);
}

TEST_F(CachedViewTest, PoisonIsOnBothSidesAndOnlyOverZeros) {
    make(worst());
    write(64, 1, 0);
    EXPECT_TRUE(view_->plant(0, 128, std::byte{0xAA}));
    EXPECT_EQ(device(127), 0xAA);
    EXPECT_EQ(cpu(127), 0xAA);
    EXPECT_EQ(view_->dirty_lines(0, kSize), 0U);
    write(256, 1, 1);
    view_->clean(256, 1);
    write(256, 1, 0);  // the CPU's zero, where the device sees a one
    EXPECT_FALSE(view_->plant(256, 64, std::byte{0xAA}));
    EXPECT_EQ(cpu(257), 0);
}

TEST_F(CachedViewTest, StaleLooksAtSamplesOrAtEverything) {
    make(worst());
    write(0, kSize, 7);
    EXPECT_TRUE(view_->stale(0, kSize, false));
    view_->clean(0, kSize);
    EXPECT_FALSE(view_->stale(0, kSize, true));
    write(kSize - 300, 1, 8);
    EXPECT_TRUE(view_->stale(0, kSize, true));
    EXPECT_FALSE(view_->stale(0, kSize - 300, true));
    write(kSize - 1, 1, 8);
    EXPECT_TRUE(view_->stale(0, kSize, false));  // the last word is always looked at
}

// Three readers of one A and cleanings of it, unchanged and changed, and of its neighbours; a run that writes
// beside.
TEST_F(CachedViewTest, ReadersAndCleaningsAtOnce) {
    make(worst());
    write(0, 1024, 1);
    view_->clean(0, 1024);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int reader = 0; reader < 3; ++reader) {
        threads.emplace_back([&] {
            for (int i = 0; i < 300; ++i) {
                const DeviceView::Reading reading(*view_, 0, 1024);
                const std::byte first = reading.data()[0];  // all of an old or of a new state
                if (!std::all_of(reading.data(), reading.data() + 1024,
                                 [&](std::byte value) { return value == first; }))
                    ++wrong;
            }
        });
    }
    threads.emplace_back([&] {
        for (int i = 0; i < 300; ++i) {
            write(0, 1024, i % 100);
            view_->clean(0, 1024);
            view_->clean(0, 1024);
        }
    });
    threads.emplace_back([&] {
        for (int i = 0; i < 300; ++i) {
            store(2048, 1024, i);
            view_->invalidate(2048, 1024);
            if (cpu(2048) != (i & 0xFF) || cpu(3071) != (i & 0xFF)) ++wrong;
        }
    });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST(RangeLock, PartsThatDoNotOverlapDoNotWait) {
    RangeLock lock;
    lock.take(0, 100, false);
    lock.take(100, 200, false);  // would never return
    lock.take(300, 400, true);
    lock.take(350, 500, true);
    std::atomic<bool> taken{false};
    std::thread other([&] {
        lock.take(390, 391, false);
        taken = true;
        lock.give_back(390, 391, false);
    });
    lock.give_back(300, 400, true);
    EXPECT_FALSE(taken);  // the second reader is still there
    lock.give_back(350, 500, true);
    other.join();
    EXPECT_TRUE(taken);
    lock.give_back(0, 100, false);
    lock.give_back(100, 200, false);
}

}  // namespace
}  // namespace rknnsim
