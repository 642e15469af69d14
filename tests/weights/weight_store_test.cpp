// SPDX-License-Identifier: MIT
#include "weights/weight_store.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

class WeightStoreTest : public ::testing::Test {
  protected:
    std::shared_ptr<const PackedWeight> get(const WeightKey& key) {
        const auto pack = [&]() -> Result<std::shared_ptr<const PackedWeight>> {
            ++packs_;
            return std::make_shared<const PackedWeight>(ReservedWeight{}, false);
        };
        return store_.get(key, pack).value();
    }
    WeightStore<std::shared_ptr<const PackedWeight>> store_;
    int packs_ = 0;
};

TEST_F(WeightStoreTest, PacksOnceForEachKey) {
    const WeightKey a{0, 100, 1, 10, 10};
    const auto first = get(a);
    EXPECT_EQ(get(a), first);
    EXPECT_EQ(packs_, 1);
    get({0, 100, 2, 10, 10});  // the same bytes read as another type
    get({0, 100, 1, 5, 20});   // or in another shape
    get({100, 100, 1, 10, 10});
    EXPECT_EQ(packs_, 4);
    EXPECT_EQ(store_.raw_bytes(), 200U);                // of the buffer, whatever was made of them
    get({0, 100, 1, 10, 10, NpuArithmetic::kFloat16});  // or in another form
    EXPECT_EQ(packs_, 5);
    EXPECT_EQ(get(a), first);
}

TEST_F(WeightStoreTest, AWriteDropsWhatItTouchesAndNothingElse) {
    const WeightKey low{0, 100, 1, 10, 10};
    const WeightKey high{100, 100, 1, 10, 10};
    const auto kept = get(high);
    get(low);
    store_.invalidate(99, 1);
    EXPECT_EQ(get(high), kept);
    EXPECT_EQ(packs_, 2);
    get(low);
    EXPECT_EQ(packs_, 3);
    store_.invalidate(200, 50);
    store_.invalidate(50, 0);
    EXPECT_EQ(get(high), kept);
    store_.invalidate(99, 2);
    EXPECT_EQ(store_.known(low), nullptr);
    EXPECT_EQ(store_.known(high), nullptr);
    EXPECT_NE(kept, nullptr);  // whoever multiplies with it keeps it alive
}

TEST_F(WeightStoreTest, AFailureIsNotRemembered) {
    const WeightKey key{0, 100, 1, 10, 10};
    const auto fail = []() -> Result<std::shared_ptr<const PackedWeight>> {
        return Status(StatusCode::kOutOfMemory, "none");
    };
    EXPECT_FALSE(store_.get(key, fail).ok());
    EXPECT_NE(get(key), nullptr);
}

}  // namespace
}  // namespace rknpu2
