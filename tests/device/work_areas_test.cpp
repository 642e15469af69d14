// SPDX-License-Identifier: MIT
// Areas of work: as large as they are used for, kept from call to call, given back when memory is short.
#include "device/work_areas.hpp"

#include <gtest/gtest.h>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class WorkAreasTest : public ::testing::Test {
  protected:
    ~WorkAreasTest() override { areas_.clear(); }

    uint64_t result(size_t place, size_t bytes) {
        const auto area = areas_.result(0, place, bytes);
        if (!area.ok()) return 0;
        EXPECT_GE(area.value().bytes, bytes);
        EXPECT_LE(area.value().bytes, bytes + std::max<size_t>(bytes / 4, 4096));
        EXPECT_TRUE(area.value().alone());
        return area.value().id;
    }

    FakeState state_;
    testing::FakeRuntime runtime_{state_};
    CoherencyCounters counters_;
    const std::unique_ptr<Coherency> coherency_ = std::make_unique<Coherency>(counters_);
    DeviceMemoryPool pool_{runtime_};
    ContextCache contexts_{runtime_, *coherency_, {1}, 4};
    WorkAreas areas_{pool_, contexts_, *coherency_};
};

TEST_F(WorkAreasTest, AnAreaServesWhatIsAtMostAQuarterSmaller) {
    const uint64_t large = result(0, 100'000);
    EXPECT_EQ(result(0, 100'000), large);
    EXPECT_EQ(result(0, 85'000), large);
    const uint64_t small = result(0, 50'000);
    EXPECT_NE(small, large);
    EXPECT_EQ(result(0, 100'000), large) << "it has stayed";
    EXPECT_EQ(result(0, 50'000), small);
    EXPECT_NE(result(1, 100'000), large) << "another place";
    EXPECT_EQ(counters_.result_areas.calls, 3U) << "each is clean when it is made";
    EXPECT_EQ(areas_.activations(0, 0, 100'000).value().bytes, 102'400U);
    EXPECT_EQ(counters_.result_areas.calls, 3U);
}

TEST_F(WorkAreasTest, WhatTheCallDoesNotUseIsGivenBackWhenMemoryIsShort) {
    state_.domain_bytes = 400'000;
    areas_.begin_call();
    ASSERT_NE(result(0, 200'000), 0U);
    const auto kept = areas_.activations(0, 7, 4096).value();
    areas_.begin_call();
    areas_.use_again(7, kept);
    const uint64_t now = result(1, 100'000);
    const uint64_t large = result(2, 250'000);
    EXPECT_NE(large, 0U) << "the area of the call before makes room";
    EXPECT_EQ(result(1, 100'000), now);
    EXPECT_EQ(areas_.activations(0, 7, 4096).value().id, kept.id);
    EXPECT_EQ(result(3, 100'000), 0U) << "all that is there is in use";
    EXPECT_EQ(result(2, 250'000), large);
}

// Rows that change from call to call do not leave areas of all sizes behind.
TEST_F(WorkAreasTest, NoMoreAreKeptThanTheLimitSays) {
    size_t most = 0;
    for (size_t mib = 20; mib <= 120; ++mib) {
        areas_.begin_call();
        for (size_t place = 0; place < 2; ++place)
            ASSERT_NE(result(place, mib << 20), 0U);
        most = std::max(most, pool_.bytes_in_use());
    }
    EXPECT_LE(most, kMostKeptBytes);
    EXPECT_GT(most, kMostKeptBytes / 2);
    areas_.begin_call();  // what a call needs it has
    for (size_t place = 0; place < 6; ++place)
        ASSERT_NE(result(place, size_t{90} << 20), 0U);
    EXPECT_GT(pool_.bytes_in_use(), kMostKeptBytes);
}

TEST_F(WorkAreasTest, ADroppedPlaceHasOthersNextTime) {
    const uint64_t first = result(0, 100'000);
    const uint64_t second = result(0, 4096);
    areas_.drop_result(0, 0);
    EXPECT_EQ(state_.memories, 0);
    for (const size_t bytes : {size_t{100'000}, size_t{4096}}) {
        const uint64_t id = result(0, bytes);
        EXPECT_TRUE(id != first && id != second);
    }
}

TEST_F(WorkAreasTest, ResultsFromAnIndexOnAreDroppedAndNothingElse) {
    const uint64_t before = result(4, 4096), at = result(5, 4096), after = result(9, 100'000);
    const Slice cube = areas_.activations(0, 7, 4096).take();
    areas_.drop_results_from(5);
    EXPECT_EQ(state_.memories, 2);
    EXPECT_EQ(result(4, 4096), before);
    EXPECT_EQ(areas_.activations(0, 7, 4096).take().id, cube.id);
    EXPECT_NE(result(5, 4096), at);
    EXPECT_NE(result(9, 100'000), after);
}

// Cubes that the call before has left are in use, too.
TEST(WorkAreasOfADevice, KeptActivationsStayWhenMemoryIsShort) {
    FakeState state;
    Counters counters;
    const auto npu = testing::new_device(state, counters, Precision::kFast);
    const Matrices narrow(1, 96, 320, 1);
    const Matrices wide(1, 3 * 2048, 320, 1);
    const auto first = npu->pack(narrow.source()).take();
    const auto second = npu->pack(wide.source()).take();
    std::vector<float> out(wide.N);
    std::vector<float> expected(wide.N);
    ASSERT_TRUE(npu->multiply(*second, narrow.a.data(), 1, expected.data()).ok());
    const auto device = testing::new_device(state, counters, Precision::kFast);
    const auto third = device->pack(narrow.source()).take();
    const auto fourth = device->pack(wide.source()).take();
    const Activations input{narrow.a.data(), 1, device->new_version()};
    ASSERT_TRUE(device->multiply(*third, input, out.data()).ok());
    // Room for the three results of the wide one, if those of the narrow one make room.
    state.domain_bytes = state.domain_used[0] + 3 * 8192 - 3 * 4096;
    const uint64_t quantised = counters.activations_quantised;
    ASSERT_TRUE(device->multiply(*fourth, input, out.data()).ok());
    EXPECT_EQ(counters.activations_quantised, quantised) << "they were there";
    EXPECT_EQ(out, expected);
}

}  // namespace
}  // namespace rknpu2
