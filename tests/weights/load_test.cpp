// SPDX-License-Identifier: MIT
// Many weights that are loaded from the cache of packed weights at once.
#include "weights/weight_cache_fixture.hpp"

namespace rknpu2 {
namespace {

using testing::Matrices;
using LoadTest = testing::WeightCacheTest;

// Those that have files are read by load(); the others keep their places, and pack() writes them.
TEST_F(LoadTest, ManyAreLoadedAtOnce) {
    std::vector<Matrices> all;
    for (uint32_t i = 0; i < 7; ++i)
        all.emplace_back(2, 40 + 100 * i, 200, i);
    std::vector<std::vector<float>> expected;
    for (size_t i = 0; i < 5; ++i)
        expected.push_back(multiply(all[i]));
    config_.weight_cache_directory.clear();
    for (size_t i = 5; i < 7; ++i)
        expected.push_back(multiply(all[i]));
    config_.weight_cache_directory = root_ + "/a/weights";
    expect_counts(0, 5, 0);
    const auto npu = device();
    std::vector<ReservedWeight> placed;
    for (const Matrices& x : all) {
        const WeightSource source = x.source();
        placed.push_back(npu->reserve({&source, 1}).value().front());
    }
    npu->load(placed);
    expect_counts(5, 5, 0);
    EXPECT_EQ(counts().loaded_ahead, 5U);
    for (size_t i = 0; i < all.size(); ++i) {
        const auto packed = npu->pack(placed[i]);
        ASSERT_TRUE(packed.ok());
        std::vector<float> out(all[i].M * all[i].N, std::nanf(""));
        EXPECT_TRUE(npu->multiply(*packed.value(), all[i].a.data(), all[i].M, out.data()).ok());
        EXPECT_EQ(out, expected[i]) << "weight " << i;
    }
    expect_counts(5, 7, 0);
    EXPECT_THAT(warnings_, ::testing::IsEmpty());
}

// A model's last batch may be empty; time for packing would say that a weight had no file.
TEST_F(LoadTest, NothingToLoadTakesNoTime) {
    device()->load({});
    EXPECT_EQ(counters_.time_ns(Phase::kLoad) + counters_.time_ns(Phase::kPack), 0U);
}

}  // namespace
}  // namespace rknpu2
