// SPDX-License-Identifier: MIT
// What the plan of a graph is made of: decisions and steps.
#include "ggml/node/access.hpp"
#include "ggml/plan_fixture.hpp"

namespace rknpu2::test {
namespace {

class PlanTest : public PlanFixture {
  protected:
    static constexpr int64_t kK = 64;
    static constexpr int64_t kRows = 5;  // too few to flow
};

TEST_F(PlanTest, ALayerOfFewRows) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const h = like(Op::kRmsNorm, "norm", {x});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 96), h);
    matmul("k", weight("wk", kK, 32), h);
    ggml_tensor* const r = like(Op::kRope, "rope", {q});
    ggml_tensor* const g = matmul("g", weight("wg", 96, 128), r);
    ggml_tensor* const u = matmul("u", weight("wu", 96, 128), r);
    ggml_tensor* const a = like(Op::kGlu, "glu", {g, u});
    matmul("down", weight("wd", 128, kK), a);
    EXPECT_EQ(steps(), "cpu(norm) group(q k) cpu(rope) group(g u gate=glu) group(down)");
    host_.config.fuse = false;
    EXPECT_EQ(steps(), "cpu(norm) group(q) group(k) cpu(rope) group(g) group(u) cpu(glu) group(down)");
}

TEST_F(PlanTest, AMatrixThatIsComputedIsTheCpus) {
    ggml_tensor* const x = input("x", {kK, kRows});
    matmul("q", weight("wq", kK, 32), x);
    ggml_tensor* const computed = like(Op::kSqr, "computed", {input("y", {kK, 32})});
    ggml_tensor* const scores = matmul("scores", computed, x);
    EXPECT_EQ(decision(scores).target, Target::kCpu);
    EXPECT_EQ(decision(scores).reason, Reason::kWeightIsComputed);
    EXPECT_EQ(steps(), "group(q) cpu(computed scores)");
}

TEST_F(PlanTest, AResultInTheWayOfAnotherDoesNotJoin) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 32), x);
    ggml_tensor* const k = matmul("k", weight("wk", kK, 32), x);
    k->data = q->data;  // the second result takes the place of the first one
    EXPECT_EQ(steps(), "group(q) group(k again)");
}

TEST_F(PlanTest, AResultInAWeightOfTheGroupDoesNotJoin) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const wq = weight("wq", kK, 32);
    matmul("q", wq, x);
    matmul("k", weight("wk", kK, 32), x)->data = wq->data;
    EXPECT_EQ(steps(), "group(q) group(k again)");
}

TEST_F(PlanTest, ActivationsAreReadAgainUntilSomebodyWritesThere) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 32), x);
    like(Op::kSqr, "elsewhere", {q});
    matmul("k", weight("wk", kK, 32), x);
    ggml_tensor* const in_place = view(Op::kScale, "scaled", x, {kK, kRows}, {});
    matmul("v", weight("wv", kK, 32), x);
    matmul("w", weight("ww", kK, 32), in_place);
    // Another tensor that shows the same bytes counts as the same.
    EXPECT_EQ(steps(), "group(q) cpu(elsewhere) group(k again) cpu(scaled) group(v) group(w again)");
}

TEST_F(PlanTest, AFunctionOfTheUsersMayHaveWrittenThem) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 32), x);
    like(Op::kMapCustom1, "custom", {q});
    matmul("k", weight("wk", kK, 32), x);
    EXPECT_EQ(steps(), "group(q) cpu(custom) group(k)");
}

// A graph may have branches of which one is selected. Hosts mark what is wanted; older ones mark nothing.
TEST_F(PlanTest, WhatIsNotSelectedIsNotComputed) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 32), x);
    ggml_tensor* const k = matmul("k", weight("wk", kK, 32), x);
    ggml_tensor* const first = like(Op::kSqr, "first", {q});
    ggml_tensor* const other = like(Op::kSqr, "other", {k});
    ggml_tensor* const end = like(Op::kSqr, "end", {first});
    EXPECT_EQ(steps(), "group(q k) cpu(first other end)");
    host_.ggml.marks_wanted = true;
    EXPECT_EQ(steps(), "");
    for (ggml_tensor* const wanted : {q, first, end})
        wanted->flags |= GGML_TENSOR_FLAG_COMPUTE;
    EXPECT_EQ(steps(), "group(q) cpu(first end)");
    EXPECT_EQ(decision(k).target, Target::kNone);
    EXPECT_EQ(decision(other).target, Target::kNone);
}

TEST_F(PlanTest, AGateNeedsBothForItself) {
    const auto make = [&](bool read_again, bool output, bool last, bool over_input) {
        ggml_tensor* const x = input("x", {128, kRows});
        ggml_tensor* const g = matmul("g", weight("wg", 128, 128), x);
        ggml_tensor* const u = matmul("u", weight("wu", 128, 128), x);
        ggml_tensor* const glu = like(Op::kGlu, "glu", {g, u});
        if (output) g->flags |= GGML_TENSOR_FLAG_OUTPUT;
        if (over_input) glu->data = x->data;
        if (!last) like(Op::kSqr, "end", {read_again ? u : glu});
    };
    make(false, false, false, false);
    EXPECT_EQ(steps(), "group(g u gate=glu) cpu(end)");
    const bool cases[][4] = {{true, false, false, false},
                             {false, true, false, false},
                             {false, false, true, false},
                             {false, false, false, true}};
    for (const auto& [read_again, output, last, over_input] : cases) {
        nodes_clear();
        make(read_again, output, last, over_input);
        EXPECT_EQ(steps(), last ? "group(g u) cpu(glu)" : "group(g u) cpu(glu end)");
    }
    nodes_clear();
    make(false, false, false, false);
    EXPECT_EQ(steps(false), "group(g u) cpu(glu end)")
        << "who does not know the uses cannot know that nobody reads";
}

TEST_F(PlanTest, ExpertsThatChooseAlikeAreOneStepUnlessOneWritesWhatAnotherReads) {
    ggml_tensor* const x = input("x", {kK, 1, kRows});
    ggml_tensor* const choice = input("choice", {2, kRows}, GGML_TYPE_I32);
    const auto stack = [&](const char* name) {
        ggml_tensor* const made = weight(name, kK, 32 * 4);
        made->ne[1] = 32;
        made->ne[2] = 4;
        made->nb[2] = made->nb[1] * 32;
        made->nb[3] = made->nb[2] * 4;
        return made;
    };
    const auto multiply = [&](const char* name, ggml_tensor* by) {
        return node(Op::kMatMulExperts, name, {32, 2, kRows}, {by, x, choice});
    };
    multiply("up", stack("wu"));
    multiply("gate", stack("wg"));
    multiply("third", stack("wt"))->data = choice->data;
    EXPECT_EQ(steps(), "experts(up gate) experts(third)");
    host_.config.fuse = false;
    EXPECT_EQ(steps(), "experts(up) experts(gate) experts(third)");
}

// Logits of some models are scaled and capped. A norm makes other numbers.
TEST_F(PlanTest, AnOutputIsWhatIsMadeOfAProductElementByElement) {
    ggml_tensor* const product = matmul("head", weight("w", kK, 32), input("x", {kK, kRows}));
    ggml_tensor* const other = matmul("other", weight("v", kK, 32), input("y", {kK, kRows}));
    ggml_tensor* const scaled = like(Op::kScale, "scaled", {product});
    ggml_tensor* const capped = like(Op::kUnary, "capped", {scaled});
    ggml_tensor* const logits =
        like(Op::kScale, "logits", {view(Op::kReshape, "shown", capped, {32, kRows}, {})});
    ggml_tensor* const norm = like(Op::kRmsNorm, "norm", {other});
    norm->flags |= GGML_TENSOR_FLAG_OUTPUT;
    const auto gives = [&](const ggml_tensor* node) { return gives_output(host_.ggml, plan().graph, node); };
    EXPECT_FALSE(gives(product));
    logits->flags |= GGML_TENSOR_FLAG_OUTPUT;
    EXPECT_TRUE(gives(product));
    EXPECT_FALSE(gives(other));
    other->flags |= GGML_TENSOR_FLAG_OUTPUT;
    EXPECT_TRUE(gives(other));
}

// The CPU may compute a stack from a copy that is made when its step begins.
TEST_F(PlanTest, TheCpuBeginsANewStepBeforeAStackThatItWrites) {
    host_.config.experts = Experts::kCpu;
    ggml_tensor* const stack = weight("w", kK, 32);
    ggml_tensor* const x = input("x", {kK, 1, kRows});
    ggml_tensor* const choice = input("choice", {1, kRows}, GGML_TYPE_I32);
    ggml_tensor* const rows = like(Op::kSqr, "rows", {input("y", {kK, 4})});
    node(Op::kMatMulExperts, "before", {32, 1, kRows}, {stack, x, choice});
    set_rows("write", stack, rows, input("places", {4}, GGML_TYPE_I64));
    node(Op::kMatMulExperts, "after", {32, 1, kRows}, {stack, x, choice});
    EXPECT_EQ(steps(), "cpu(rows before write) cpu(after)");
}

TEST_F(PlanTest, StepsHaveEveryNodeThatComputesOnceAndInOrder) {
    ggml_tensor* const x = input("x", {kK, kRows});
    ggml_tensor* const shown = view(Op::kReshape, "shown", x, {kK, kRows}, {});
    ggml_tensor* const q = matmul("q", weight("wq", kK, 32), shown);
    view(Op::kView, "part", q, {16, kRows}, {4, q->nb[1]});
    matmul("k", weight("wk", kK, 32), shown);
    like(Op::kSqr, "s", {q});
    view(Op::kView, "tail", q, {16, kRows}, {4, q->nb[1]});
    EXPECT_EQ(steps(), "group(q k) cpu(s)");
}

}  // namespace
}  // namespace rknpu2::test
