// SPDX-License-Identifier: MIT
// Whom attention of a chunk waits for, by the mask; and which cells are cleared before they are written.
#include "ggml/flow/cache_cells.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "ggml/plan_fixture.hpp"
#include "support/random.hpp"

namespace rknpu2::test {
namespace {

constexpr uint16_t kShown = 0;
constexpr uint16_t kHidden = 0xFC00;

class FlowWaitsTest : public PlanFixture {
  protected:
    static constexpr int64_t kRows = 256;
    static constexpr int64_t kCells = 512;
    static constexpr int64_t kWidth = 8;

    void SetUp() override {
        chunks_ = {{0, 64}, {64, 64}, {128, 128}};
        cache_ = state("cache", {kWidth, kCells}, GGML_TYPE_F16);
        places_ = input("places", {kRows}, GGML_TYPE_I64);
        mask_ = input("mask", {kCells, kRows}, GGML_TYPE_F16);
        writer_ = set_rows("set", cache_, input("rows", {kWidth, kRows}), places_);
        shown_ = view(Op::kView, "shown", cache_, {kWidth, kCells, 1}, {});
        attention_ = node(Op::kFlashAttention, "attention", {kWidth, 1, kRows},
                          {input("q", {kWidth, kRows}), shown_, shown_, mask_});
        set_places([](int64_t row) { return row; });
    }

    void set_places(const std::function<int64_t(int64_t)>& place_of) {
        for (int64_t row = 0; row < kRows; ++row)
            place(row) = place_of(row);
    }
    int64_t& place(int64_t row) { return static_cast<int64_t*>(places_->data)[row]; }
    // What row i sees of the row at place j; cells that nobody writes are hidden.
    void set_mask(const std::function<bool(int64_t, int64_t)>& sees) {
        auto* const mask = static_cast<uint16_t*>(mask_->data);
        std::fill_n(mask, kRows * kCells, kHidden);
        for (int64_t i = 0; i < kRows; ++i) {
            for (int64_t j = 0; j < kRows; ++j)
                if (sees(i, j)) mask[i * kCells + place(j)] = kShown;
        }
    }

    std::vector<size_t> last_seen() {
        FlowStage stage;
        stage.kind = FlowStage::Kind::kAttention;
        stage.nodes.push_back({attention_});
        stage.after = 0;
        stage.cache_reads.push_back({writer_, shown_});
        std::vector<size_t> last;
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
            last.push_back(waits_->last_seen(stage, chunk));
        return last;
    }

    std::vector<FlowChunk> chunks_;
    std::optional<FlowWaits> waits_{std::in_place, chunks_, kRows};
    ggml_tensor *cache_ = nullptr, *places_ = nullptr, *mask_ = nullptr, *writer_ = nullptr,
                *shown_ = nullptr, *attention_ = nullptr;
};

using Chunks = std::vector<size_t>;

TEST_F(FlowWaitsTest, ACausalMask) {
    set_mask([](int64_t i, int64_t j) { return j <= i; });
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2}));
}

TEST_F(FlowWaitsTest, ShuffledPlaces) {
    set_places([](int64_t row) { return kCells - 1 - row * 2; });
    set_mask([](int64_t i, int64_t j) { return j <= i; });
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2}));
}

TEST_F(FlowWaitsTest, OneCellOfALaterChunk) {
    set_mask([](int64_t i, int64_t j) { return j <= i || (i == 63 && j == 70); });
    EXPECT_EQ(last_seen(), (Chunks{1, 1, 2}));
    waits_.emplace(chunks_, kRows);
    set_mask([](int64_t i, int64_t j) { return j <= i || (i == 0 && j == 255); });
    EXPECT_EQ(last_seen(), (Chunks{2, 1, 2}));
}

TEST_F(FlowWaitsTest, NothingIsShown) {
    set_mask([](int64_t, int64_t) { return false; });
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2})) << "its own rows come before it in any case";
}

TEST_F(FlowWaitsTest, AMaskOfOtherNumbersHidesNothingButMinusInfinity) {
    set_mask([](int64_t i, int64_t j) { return j <= i; });
    static_cast<uint16_t*>(mask_->data)[0 * kCells + 200] = 0xFBFF;  // -65504, the least finite one
    EXPECT_EQ(last_seen(), (Chunks{2, 1, 2}));
}

TEST_F(FlowWaitsTest, WhatCannotBeToldWaitsForAll) {
    const Chunks all = {2, 2, 2};
    set_mask([](int64_t i, int64_t j) { return j <= i; });
    const auto check = [&](const auto& change, const auto& back) {
        change();
        waits_.emplace(chunks_, kRows);
        EXPECT_EQ(last_seen(), all);
        back();
    };
    check([&] { attention_->src[3] = nullptr; }, [&] { attention_->src[3] = mask_; });
    check([&] { mask_->ne[2] = 2; }, [&] { mask_->ne[2] = 1; });
    check([&] { mask_->type = GGML_TYPE_F32; }, [&] { mask_->type = GGML_TYPE_F16; });
    check([&] { places_->type = GGML_TYPE_I32; }, [&] { places_->type = GGML_TYPE_I64; });
    check([&] { shown_->nb[1] *= 2; }, [&] { shown_->nb[1] /= 2; });
    check([&] { shown_->data = static_cast<char*>(shown_->data) + 2; },
          [&] { shown_->data = static_cast<char*>(shown_->data) - 2; });
    waits_.emplace(chunks_, kRows);
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2}));
}

// What was found for one layer serves another one only if nothing differs that it depends on.
TEST_F(FlowWaitsTest, AnotherPartOfTheCacheIsLookedAtAnew) {
    set_mask([](int64_t i, int64_t j) { return j <= i; });
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2}));
    // Cells from 64 on: columns of the mask are 64 less, so row 0 sees what row 64 writes.
    shown_->data = static_cast<char*>(shown_->data) + 64 * shown_->nb[1];
    EXPECT_EQ(last_seen(), (Chunks{1, 2, 2}));
    shown_->ne[1] = 32;  // cells 64 to 95
    EXPECT_EQ(last_seen(), (Chunks{1, 1, 2}));
}

// Two streams of 128 rows; each sees only its own part of the cache, by columns of its own.
TEST_F(FlowWaitsTest, StreamsDoNotWaitForEachOther) {
    constexpr int64_t kEach = kRows / 2;
    chunks_ = {{0, 64}, {64, 64}, {128, 64}, {192, 64}};
    waits_.emplace(chunks_, kEach);
    shown_->ne[1] = kCells / 2;
    shown_->ne[3] = 2;
    shown_->nb[3] = kCells / 2 * shown_->nb[1];
    mask_->ne[0] = kCells / 2;
    mask_->ne[1] = kEach;
    mask_->ne[3] = 2;
    mask_->nb[1] = kCells / 2 * sizeof(uint16_t);
    mask_->nb[2] = mask_->nb[3] = mask_->nb[1] * kEach;
    set_places([](int64_t row) { return row / kEach * (kCells / 2) + row % kEach; });
    auto* const mask = static_cast<uint16_t*>(mask_->data);
    std::fill_n(mask, kRows * kCells / 2, kHidden);
    for (int64_t row = 0; row < kRows; ++row)
        std::fill_n(mask + row * (kCells / 2), row % kEach + 1, kShown);  // causal
    EXPECT_EQ(last_seen(), (Chunks{0, 1, 2, 3}));
    mask[5 * (kCells / 2) + 100] = kShown;  // row 5 sees row 100, of its own stream
    waits_.emplace(chunks_, kEach);
    EXPECT_EQ(last_seen(), (Chunks{1, 1, 2, 3}));
    mask[(kEach + 5) * (kCells / 2) + 100] = kShown;
    waits_.emplace(chunks_, kEach);
    EXPECT_EQ(last_seen(), (Chunks{1, 1, 3, 3}));
    mask[5 * (kCells / 2) + 200] = kShown;  // a cell that nobody writes
    waits_.emplace(chunks_, kEach);
    EXPECT_EQ(last_seen(), (Chunks{1, 1, 3, 3}));
    place(kRows - 1) = 200;  // but the other stream
    waits_.emplace(chunks_, kEach);
    EXPECT_EQ(last_seen(), (Chunks{3, 1, 3, 3}));
}

TEST_F(FlowWaitsTest, AsOneWouldLook) {
    for (uint32_t seed = 1; seed <= 20; ++seed) {
        Random random(seed);
        std::vector<int64_t> order(kCells);
        std::iota(order.begin(), order.end(), 0);
        for (size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[random.bits() % i]);
        set_places([&](int64_t row) { return order[static_cast<size_t>(row)]; });
        std::vector<char> sees(kRows * kRows);
        for (int i = 0; i < 6; ++i)
            sees[random.bits() % sees.size()] = 1;
        set_mask([&](int64_t i, int64_t j) { return sees[static_cast<size_t>(i * kRows + j)] != 0; });
        Chunks expected = {0, 1, 2};
        const auto chunk_of = [](size_t row) { return std::min<size_t>(row / 64, 2); };
        for (size_t at = 0; at < sees.size(); ++at) {
            if (sees[at] == 0) continue;
            size_t& last = expected[chunk_of(at / kRows)];
            last = std::max(last, chunk_of(at % kRows));
        }
        waits_.emplace(chunks_, kRows);
        EXPECT_EQ(last_seen(), expected) << "seed " << seed;
    }
}

TEST_F(FlowWaitsTest, CellsThatWillBeWrittenAreClearedAndNoOthers) {
    set_places([](int64_t row) { return 2 * row + 1; });
    place(3) = -1;  // as a host might send by mistake: the CPU backend reports it
    place(4) = kCells;
    std::memset(cache_->data, 0x7C, static_cast<size_t>(kCells) * cache_->nb[1]);
    // A part of each row of the cache.
    writer_->ne[0] = kWidth / 2;
    clear_cache_cells(host_.ggml, writer_, 0, 100);
    const auto* const bytes = static_cast<const unsigned char*>(cache_->data);
    for (int64_t cell = 0; cell < kCells; ++cell) {
        const bool written = cell % 2 == 1 && cell < 200 && cell != 7 && cell != 9;
        for (size_t b = 0; b < cache_->nb[1]; ++b) {
            const bool cleared = written && b < cache_->nb[1] / 2;
            ASSERT_EQ(bytes[static_cast<size_t>(cell) * cache_->nb[1] + b], cleared ? 0 : 0x7C)
                << "cell " << cell << ", byte " << b;
        }
    }
}

}  // namespace
}  // namespace rknpu2::test
