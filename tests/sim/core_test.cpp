// SPDX-License-Identifier: MIT
// Parts of the core that the C ABI shows only indirectly.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/iova.hpp"
#include "core/tracked_view.hpp"

namespace rknnsim {
namespace {

constexpr uint64_t kFull = uint64_t{1} << 32;

TEST(Iova, AddressesComeFromTheTopAndNeverAreZero) {
    IovaSpace space;
    EXPECT_EQ(space.allocate(1), kFull - kPage);
    EXPECT_EQ(space.allocate(2 * kPage), kFull - 3 * kPage);
    EXPECT_EQ(space.used(), 3 * kPage);
    EXPECT_EQ(space.allocate(kFull - 4 * kPage), kPage);  // all but page 0
    EXPECT_EQ(space.allocate(1), 0U);
}

TEST(Iova, ReleasedRangesJoin) {
    IovaSpace space(16 * kPage);
    uint64_t parts[4];
    for (uint64_t& part : parts)
        part = space.allocate(4 * kPage);
    EXPECT_EQ(space.allocate(1), 0U);
    for (const int i : {1, 3, 2, 0})
        space.release(parts[i], 4 * kPage);
    EXPECT_EQ(space.used(), 0U);
    EXPECT_NE(space.allocate(16 * kPage), 0U);
}

std::vector<std::byte> bytes(size_t count, int value) {
    return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

// In place: the view keeps the address.
void fill(std::vector<std::byte>& data, int value) {
    std::fill(data.begin(), data.end(), static_cast<std::byte>(value));
}

int at(const DeviceView& view, size_t offset) {
    return static_cast<int>(*DeviceView::Reading(view, offset, 1).data());
}

TEST(TrackedView, ShowsATrackedRangeAsItWasWhenCleaned) {
    std::vector<std::byte> cpu = bytes(100, 1);
    TrackedView view(cpu.data(), cpu.size(), true);
    ASSERT_TRUE(view.track(10, 20).ok());
    fill(cpu, 2);
    EXPECT_EQ(at(view, 10), 1);
    view.clean(15, 1);
    EXPECT_EQ(at(view, 14), 1);
    EXPECT_EQ(at(view, 15), 2);
    EXPECT_EQ(at(view, 16), 1);
    view.clean(0, 100);
    EXPECT_EQ(at(view, 10), 2);
    EXPECT_EQ(at(view, 29), 2);
}

TEST(TrackedView, RangesThatTouchAreJoined) {
    std::vector<std::byte> cpu = bytes(100, 1);
    TrackedView view(cpu.data(), cpu.size(), true);
    for (const auto& [offset, size] : {std::pair{10, 10}, {40, 10}, {20, 20}, {5, 60}, {80, 5}})
        ASSERT_TRUE(view.track(offset, size).ok());
    fill(cpu, 3);
    view.clean(0, 100);
    for (const size_t i : {5, 30, 64, 80, 84})
        EXPECT_EQ(at(view, i), 3) << i;
}

TEST(TrackedView, WithoutACacheThereIsNothingStale) {
    std::vector<std::byte> cpu = bytes(10, 1);
    TrackedView view(cpu.data(), cpu.size(), false);
    ASSERT_TRUE(view.track(0, 10).ok());
    cpu[3] = std::byte{7};
    EXPECT_EQ(at(view, 3), 7);
}

}  // namespace
}  // namespace rknnsim
