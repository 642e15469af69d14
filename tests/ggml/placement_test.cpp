// SPDX-License-Identifier: MIT
// Where plain matrices of a graph are multiplied with GGML_RKNPU2_MATRICES=auto.
#include <gmock/gmock.h>

#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/plan_fixture.hpp"
#include "system/system_memory.hpp"

namespace rknpu2::test {
namespace {

class PlacementTest : public PlanFixture {
  protected:
    static constexpr int64_t kK = 64;

    PlacementTest() { host_.config.matrices = Matrices::kAuto; }

    // Two products by the same activations, and one by what is made of them.
    void build(int64_t rows) {
        nodes_clear();
        ggml_tensor* const x = input("x", {kK, rows});
        matmul("q", wq_, x);
        ggml_tensor* const k = matmul("k", wk_, x);
        ggml_tensor* const r = like(Op::kSqr, "square", {k});
        matmul("o", wo_, r);
    }

    void pack(const ggml_tensor* weight) {
        WeightKey key;
        key.offset = weights_buffer().offset_of(weight->data);
        key.type = static_cast<int>(weight->type);
        key.K = static_cast<size_t>(weight->ne[0]);
        key.N = static_cast<size_t>(weight->ne[1]);
        key.bytes = key.N * weight->nb[1];
        const Recipe recipe = recipe_of(host_.config.precision, false);
        key.arithmetic = recipe.arithmetic;
        const auto make = [&]() -> Result<std::shared_ptr<const PackedWeight>> {
            const ReservedWeight reserved{{}, plan_weight(key.N, key.K, recipe, host_.config.cores)};
            return std::make_shared<const PackedWeight>(reserved, recipe.rotate);
        };
        EXPECT_TRUE(weights_buffer().weights.get(key, make).ok());
    }
    void pack_all() {
        for (const ggml_tensor* const weight : {wq_, wk_, wo_})
            pack(weight);
    }

    ggml_tensor* const wq_ = weight("wq", kK, 96);
    ggml_tensor* const wk_ = weight("wk", kK, 96);
    ggml_tensor* const wo_ = weight("wo", 96, 64);
};

constexpr const char* kNpuHasAll = "group(q k) cpu(square) group(o)";

TEST_F(PlacementTest, TheNpuHasAMatrixTheFirstTime) {
    build(1);
    EXPECT_EQ(steps(), kNpuHasAll);
    EXPECT_TRUE(plan().first_time);
    EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kBoth);
    pack_all();
    EXPECT_EQ(steps(), "cpu(q k square o)");
    EXPECT_FALSE(plan().first_time);
    // Neither the order nor what may share work matters.
    host_.config.fuse = false;
    EXPECT_EQ(steps(), "cpu(q k square o)");
}

TEST_F(PlacementTest, WhereThereIsNoMemoryForBothTheNpuHasAll) {
    build(1);
    pack_all();
    weights_buffer().forms = Buffer::Forms::kPacked;
    EXPECT_EQ(steps(), kNpuHasAll);
    EXPECT_FALSE(plan().first_time);
}

// The first graph of a model may have few of its weights: -nkvo, -ot.
TEST_F(PlacementTest, TheRoomIsThatOfAllWeights) {
    build(1);
    pretend_weights_of(size_t{1} << 50);
    EXPECT_EQ(steps(), kNpuHasAll);
    EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kPacked);
}

// Nothing is packed when a graph is planned: what one stack is promised, the next one and plain matrices cannot have. The machine's
// memory is what others leave, so that all is far from the limit.
TEST_F(PlacementTest, MemoryIsPromisedOnce) {
    pretend_weights_of(0);
    host_.config.experts = Experts::kAuto;
    const SystemMemory memory = system_memory();
    constexpr int64_t kWidth = 8, kHeight = 8;  // of an expert as the fixture has memory for it
    const auto stack = [&](const char* name) {
        ggml_tensor* const made = weight(name, kWidth, kHeight);
        made->ne[2] = 2;
        return made;
    };
    ggml_tensor* const one = stack("one");
    const size_t room = memory.available - memory.total / 8;
    EXPECT_TRUE(may_hold_packed(host_, one, room / 10 * 6));
    EXPECT_EQ(promised_bytes(host_), room / 10 * 6);
    EXPECT_TRUE(may_hold_packed(host_, one, room / 10 * 6)) << "decided once";
    EXPECT_FALSE(may_hold_packed(host_, stack("two"), room / 10 * 9));
    EXPECT_TRUE(may_hold_packed(host_, stack("three"), room / 10)) << "a smaller one may fit";
    EXPECT_EQ(promised_bytes(host_), room / 10 * 6 + room / 10);
    build(1);
    EXPECT_EQ(steps(), kNpuHasAll);
    EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kBoth);
    EXPECT_FALSE(may_hold_packed(host_, stack("four"), room / 10 * 8));
    weights_buffer().forms = Buffer::Forms::kUnknown;
    pretend_weights_of(room / 10 * 3);
    EXPECT_EQ(steps(), kNpuHasAll);
    EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kPacked);
}

// Nothing is refused for that: other programs may end, or give memory back.
TEST_F(PlacementTest, WeightsThatDoNotFitAreTold) {
    pretend_weights_of(size_t{64} << 20);
    EXPECT_TRUE(memory_to_pack(host_).ok());
    pretend_weights_of(size_t{1} << 50);
    EXPECT_THAT(memory_to_pack(host_).message(),
                ::testing::MatchesRegex("take [0-9]+ MiB when they are packed, and [0-9]+ MiB are free"));
}

// A host that asks again and again, and experts that stay as they are stored.
TEST_F(PlacementTest, AWeightThatWaitsCountsOnce) {
    PackingForecast forecast;
    for (int i = 0; i < 3; ++i) {
        forecast.add("wq", 100, 200);
        forecast.add_experts("up", 1000);
    }
    EXPECT_EQ(forecast.ratio(), 2);
    EXPECT_EQ(forecast.waiting(1150), 100U);
    EXPECT_EQ(forecast.waiting(1050), 50U) << "half of it is packed";
    EXPECT_EQ(forecast.waiting(1000), 0U);
    EXPECT_EQ(PackingForecast().waiting(1000), 0U) << "nobody has asked about them";
}

TEST_F(PlacementTest, WhatSharesItsActivationsStaysTogether) {
    build(1);
    pack(wq_);
    pack(wo_);
    EXPECT_EQ(steps(), "group(q k) cpu(square o)") << "k is not packed";
}

TEST_F(PlacementTest, ManyRowsAndOtherPrecisionsAreTheNpus) {
    build(kFewestFlowRows);
    pack_all();
    host_.config.fuse = false;
    for (const ggml_tensor* const weight : {wq_, wk_, wo_})
        EXPECT_EQ(
            host_.targets
                .of({.K = kK, .N = 96, .rows = kFewestFlowRows, .raw_bytes = weight->nb[2]}, host_.config)
                .target,
            Target::kNpu);
    EXPECT_EQ(steps(), "group(q) group(k) cpu(square) group(o)");
    for (const Precision precision : {Precision::kReference, Precision::kExact, Precision::kNaive}) {
        build(1);
        weights_buffer().forms = Buffer::Forms::kUnknown;
        host_.config.precision = precision;
        EXPECT_EQ(steps(), "group(q) group(k) cpu(square) group(o)");
        EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kUnknown) << "nothing is kept for the CPU";
    }
}

TEST_F(PlacementTest, CompactChoosesToo) {
    host_.config.precision = Precision::kCompact;
    build(1);
    EXPECT_EQ(steps(), kNpuHasAll) << "nothing is packed";
    pack_all();
    EXPECT_EQ(steps(), "cpu(q k square o)");
    EXPECT_EQ(weights_buffer().forms.load(), Buffer::Forms::kBoth);
}

// ggml's repacked kernels end the process with more dimensions.
TEST_F(PlacementTest, CopiesServeMatricesOnly) {
    NodeDecision decision;
    decision.reason = Reason::kSupported;
    ggml_tensor* const flat = matmul("flat", wq_, input("x", {kK, 3}));
    EXPECT_TRUE(has_copy(host_.ggml, flat, decision));
    for (const auto& [planes, outer] : {std::pair<int64_t, int64_t>{2, 1}, {1, 2}, {3, 4}}) {
        ggml_tensor* const x = input("x", {kK, 3, planes, outer});
        ggml_tensor* const deep = node(Op::kMatMul, "deep", {96, 3, planes, outer}, {wq_, x});
        EXPECT_FALSE(has_copy(host_.ggml, deep, decision));
    }
}

TEST_F(PlacementTest, TheSettingDecides) {
    build(1);
    pack_all();
    host_.config.matrices = Matrices::kNpu;
    EXPECT_EQ(steps(), kNpuHasAll);
}

}  // namespace
}  // namespace rknpu2::test
