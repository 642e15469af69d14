// SPDX-License-Identifier: MIT
#include "ggml/graph/order.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "ggml/made_operations.hpp"

namespace rknpu2 {
namespace {

// A graph written by hand: nodes have names, an operation and sources.
class GraphOrderTest : public ::testing::Test {
  protected:
    ggml_tensor* add(const char* name, Op op, ggml_tensor* a = nullptr, ggml_tensor* b = nullptr) {
        ggml_tensor& node = tensors_.emplace_back();
        node.op = ggml_.operations.number_of(op);
        node.src[0] = a;
        node.src[1] = b;
        std::snprintf(node.name, sizeof node.name, "%s", name);
        if (op != Op::kNone) nodes_.push_back(&node);
        return &node;
    }
    ggml_tensor* matmul(const char* name, ggml_tensor* activations) {
        return add(name, Op::kMatMul, add("weight", Op::kNone), activations);
    }

    std::string order() {
        ggml_cgraph graph{};
        graph.nodes = nodes_.data();
        graph.n_nodes = static_cast<int>(nodes_.size());
        bring_together(ggml_, &graph, [&](const ggml_tensor* node) {
            return ggml_.op(node) == Op::kMatMul && ggml_.op(node->src[0]) == Op::kNone;
        });
        std::string names;
        for (const ggml_tensor* const node : nodes_)
            names += (names.empty() ? "" : " ") + std::string(node->name);
        return names;
    }

    // Every tensor has 64 bytes, and no memory yet.
    GgmlFunctions ggml_ = [] {
        GgmlFunctions functions;
        functions.operations = test::made_operations();
        functions.ggml_nbytes = [](const ggml_tensor*) { return size_t{64}; };
        return functions;
    }();
    std::deque<ggml_tensor> tensors_;
    std::vector<ggml_tensor*> nodes_;
};

TEST_F(GraphOrderTest, ALayerOfLlamaHasItsMatmulsTogether) {
    ggml_tensor* const x = add("norm", Op::kRmsNorm);
    ggml_tensor* const q = matmul("q", x);
    ggml_tensor* const q_rope = add("q_rope", Op::kRope, add("q_shape", Op::kReshape, q));
    ggml_tensor* const k_rope = add("k_rope", Op::kRope, add("k_shape", Op::kReshape, matmul("k", x)));
    ggml_tensor* const v = matmul("v", x);
    ggml_tensor* const scores = add("scores", Op::kMatMul, k_rope, q_rope);
    ggml_tensor* const mixed = add("mixed", Op::kMatMul, v, scores);
    ggml_tensor* const y = add("add", Op::kAdd, matmul("o", mixed), x);
    ggml_tensor* const gate = add("silu", Op::kUnary, matmul("gate", y));
    matmul("down", add("times", Op::kMul, gate, matmul("up", y)));
    EXPECT_EQ(order(), "norm q k v q_shape q_rope k_shape k_rope scores mixed o add gate up silu times down");
    EXPECT_EQ(order(), order()) << "doing it again changes nothing";
}

TEST_F(GraphOrderTest, ANodeThatWritesToTheActivationsIsNotPassed) {
    ggml_tensor* const x = add("x", Op::kAdd);
    matmul("q", x);
    ggml_tensor* const in_place = add("scaled", Op::kScale, x);
    in_place->view_src = x;
    matmul("k", x);
    matmul("v", x);
    EXPECT_EQ(order(), "x q scaled k v");
}

TEST_F(GraphOrderTest, AWriteToWhatTheActivationsAreAViewOfCounts) {
    ggml_tensor* const memory = add("memory", Op::kAdd);
    ggml_tensor* const x = add("view", Op::kView, memory);
    x->view_src = memory;
    matmul("q", x);
    add("set", Op::kOther)->view_src = memory;
    matmul("k", x);
    EXPECT_EQ(order(), "memory view q set k");
}

// The packed form of the weight, made before the write, would be multiplied by.
TEST_F(GraphOrderTest, AWriteToTheWeightIsNotPassed) {
    ggml_tensor* const x = add("x", Op::kAdd);
    matmul("q", x);
    ggml_tensor* const stored = add("stored", Op::kNone);
    add("set", Op::kSetRows, add("rows", Op::kNone), add("places", Op::kNone))->view_src = stored;
    add("k", Op::kMatMul, stored, x);
    matmul("v", x);
    EXPECT_EQ(order(), "x q v set k") << "another weight may pass it";
}

TEST_F(GraphOrderTest, AResultThatIsReadOrWrittenOnTheWayIsNotPassed) {
    ggml_tensor* const x = add("x", Op::kAdd);
    ggml_tensor* const q = matmul("q", x);
    // As in a host that gives memory by hand: k lies where another node still reads.
    alignas(64) static std::byte memory[64];
    ggml_tensor* const old = add("old", Op::kNone);
    old->data = memory;
    add("reads", Op::kAdd, q, old);
    matmul("k", x)->data = memory;
    EXPECT_EQ(order(), "x q reads k");
}

TEST_F(GraphOrderTest, AFunctionOfTheUsersMayWriteAnywhere) {
    ggml_tensor* const x = add("x", Op::kAdd);
    matmul("q", x);
    add("custom", Op::kCustom);
    matmul("k", x);
    EXPECT_EQ(order(), "x q custom k");
}

TEST_F(GraphOrderTest, OtherActivationsAndOtherDevicesStayWhereTheyAre) {
    ggml_tensor* const x = add("x", Op::kAdd);
    ggml_tensor* const y = add("y", Op::kAdd);
    matmul("a", x);
    matmul("b", y);
    matmul("c", x);
    add("computed", Op::kMatMul, y, x);
    matmul("d", y);
    EXPECT_EQ(order(), "x y a c b d computed");
}

TEST_F(GraphOrderTest, TheSearchEnds) {
    ggml_tensor* const x = add("x", Op::kAdd);
    matmul("q", x);
    for (int i = 0; i < kLookAhead; ++i)
        add("n", Op::kAdd);
    matmul("far", x);
    EXPECT_TRUE(order().ends_with("n far"));
}

}  // namespace
}  // namespace rknpu2
