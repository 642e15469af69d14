// SPDX-License-Identifier: MIT
// How many contexts are kept, and which.
#include "device/context_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.hpp"
#include "device/recovery.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2 {
namespace {

using ::testing::ElementsAre;
using testing::FakeState;
using ::testing::HasSubstr;

ContextKey key(size_t shape) {
    return {NpuArithmetic::kInt8, 32 * (shape % 256 + 1), 32 * (shape / 256 + 1), 0, 0};
}

class ContextCacheTest : public ::testing::Test {
  protected:
    CachedContext* get(ContextCache& cache, size_t shape) {
        Result<CachedContext*> context = cache.get(key(shape));
        EXPECT_TRUE(context.ok()) << context.status().to_string();
        return context.ok() ? context.value() : nullptr;
    }

    FakeState state_;
    testing::FakeRuntime runtime_{state_};
    Config config_;
    ContextCounters counters_;
    CoherencyCounters maintenance_;
    const std::unique_ptr<Coherency> coherency_ = std::make_unique<Coherency>(maintenance_);
};

TEST_F(ContextCacheTest, TheLeastRecentlyUsedGoFirst) {
    ContextCache cache(runtime_, *coherency_, {1}, 3);
    for (const size_t shape : {0, 1, 2, 0, 3}) {
        cache.begin_call();
        get(cache, shape);
    }
    EXPECT_EQ(cache.size(), 3U);
    EXPECT_EQ(state_.contexts, 3);
    EXPECT_EQ(state_.contexts_made, 4);
    for (const size_t shape : {2, 3, 0})
        get(cache, shape);
    EXPECT_EQ(state_.contexts_made, 4) << "1 was the one to go";
    cache.begin_call();
    get(cache, 1);
    EXPECT_EQ(state_.contexts_made, 5);
}

TEST_F(ContextCacheTest, WhatACallUsesStaysUntilTheNextOne) {
    ContextCache cache(runtime_, *coherency_, {1}, 3);
    get(cache, 9);
    cache.begin_call();
    std::vector<CachedContext*> used;
    for (size_t shape = 0; shape < 5; ++shape)
        used.push_back(get(cache, shape));
    EXPECT_EQ(state_.contexts, 5) << "that of the call before has gone, and nothing else";
    for (size_t shape = 0; shape < 5; ++shape)
        EXPECT_EQ(get(cache, shape), used[shape]);
    cache.begin_call();
    EXPECT_EQ(state_.contexts, 3);
    get(cache, 4);
    EXPECT_EQ(state_.contexts_made, 6);
}

TEST_F(ContextCacheTest, FewerAreKeptFromThenOn) {
    ContextCache cache(runtime_, *coherency_, {1}, 10);
    for (size_t shape = 0; shape < 10; ++shape)
        get(cache, shape);
    cache.keep_at_most(4);
    EXPECT_EQ(cache.capacity(), 4U);
    EXPECT_EQ(state_.contexts, 4);
    for (const size_t shape : {6, 7, 8, 9})
        get(cache, shape);
    EXPECT_EQ(state_.contexts_made, 10) << "the last used have stayed";
    cache.begin_call();
    get(cache, 0);
    EXPECT_EQ(state_.contexts, 4);
}

TEST_F(ContextCacheTest, WhatWasDroppedIsMadeAnew) {
    ContextCache cache(runtime_, *coherency_, {1}, 3);
    CachedContext* const first = get(cache, 0);
    EXPECT_EQ(get(cache, 0), first);
    get(cache, 1);
    first->fail({StatusCode::kTimeout, "no answer"});
    cache.drop_failed(ContextKey::kAttention);
    EXPECT_EQ(cache.size(), 2U) << "it is of another set";
    cache.drop_failed(ContextKey::kProducts);
    cache.drop_failed(ContextKey::kProducts);  // nothing, when it is gone already
    EXPECT_EQ(cache.size(), 1U);
    get(cache, 0);
    EXPECT_EQ(state_.contexts_made, 3);
    cache.clear();
    EXPECT_EQ(state_.contexts, 0);
    CachedContext* const second = get(cache, 1);
    EXPECT_EQ(state_.contexts_made, 4);
    EXPECT_EQ(cache.size(), 1U);
    second->fail({StatusCode::kTimeout, "no answer"});
    cache.begin_call();
    EXPECT_EQ(cache.size(), 0U) << "no call begins with one that has failed";
}

TEST_F(ContextCacheTest, TheLimitOfDescriptorsTellsHowMany) {
    for (const auto& [descriptors, contexts] : {std::pair<uint64_t, size_t>{0, 120},
                                                {256, 120},
                                                {1024, 128},
                                                {4096, 512},
                                                {65536, 1000},
                                                {UINT64_MAX, 1000}})
        EXPECT_EQ(contexts_to_keep(config_, descriptors), contexts) << descriptors;
    config_.contexts = 77;
    EXPECT_EQ(contexts_to_keep(config_, 65536), 77U);
}

class ContextLimitTest : public ContextCacheTest {
  protected:
    void SetUp() override {
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override { set_log_sink({}); }
    void fill(size_t contexts) {
        for (size_t shape = 0; shape < contexts; ++shape)
            get(cache_, shape);
    }

    const Status failure_{StatusCode::kDeviceError, "no"};
    ContextCache cache_{runtime_, *coherency_, {1}, 500};
    std::vector<std::string> lines_;
};

TEST_F(ContextLimitTest, AFirstFailureWithManyAliveLowersItOnce) {
    ContextLimit limit(config_, cache_, counters_);
    EXPECT_EQ(counters_.kept, 500U);
    fill(kFewContexts);
    EXPECT_FALSE(limit.lowered_after(failure_, "w")) << "so few are no reason";
    fill(kFewContexts + 1);
    EXPECT_FALSE(limit.lowered_after({StatusCode::kInvalidArgument, "no"}, "w")) << "nor a broken rule";
    EXPECT_FALSE(limit.lowered_after({}, "w"));
    EXPECT_EQ(cache_.size(), kFewContexts + 1);
    EXPECT_TRUE(lines_.empty());
    EXPECT_TRUE(limit.lowered_after(failure_, "w"));
    EXPECT_EQ(cache_.size(), kFewContexts);
    EXPECT_EQ(cache_.capacity(), kFewContexts);
    EXPECT_EQ(counters_.kept, kFewContexts);
    EXPECT_EQ(counters_.lowered, 1U);
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("w: device error: no; with 121 contexts alive")));
    fill(kFewContexts + 50);
    EXPECT_FALSE(limit.lowered_after(failure_, "w"));
    EXPECT_EQ(lines_.size(), 1U);
}

TEST_F(ContextLimitTest, ANumberThatWasGivenStays) {
    config_.contexts = 500;
    ContextLimit limit(config_, cache_, counters_);
    fill(300);
    EXPECT_FALSE(limit.lowered_after(failure_, "w"));
    EXPECT_EQ(cache_.size(), 300U);
    EXPECT_EQ(counters_.lowered, 0U);
}

}  // namespace
}  // namespace rknpu2
