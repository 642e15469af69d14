// SPDX-License-Identifier: MIT
// Graphs written by hand, and what the planner makes of them, as text: nodes in; steps, stages and homes out.
//
// No ggml is linked. Tensors have memory from a pool of the fixture, one behind the other, unless a test puts
// one where another is. Rows of matrices are of float32 and without gaps.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "ggml/buffer/buffer.hpp"
#include "ggml/graph/graph_plan.hpp"
#include "ggml/host/host.hpp"

namespace rknpu2::test {

class PlanFixture : public ::testing::Test {
  protected:
    PlanFixture();
    ~PlanFixture() override;

    using Shape = std::vector<int64_t>;

    // Leaves: a matrix [N, K] that is multiplied by; a vector of a layer; something that lies in a buffer for
    // states, which graphs may write; an input.
    ggml_tensor* weight(const char* name, int64_t K, int64_t N);
    ggml_tensor* vector(const char* name, int64_t K);
    ggml_tensor* state(const char* name, const Shape& shape, ggml_type type = GGML_TYPE_F32);
    ggml_tensor* input(const char* name, const Shape& shape, ggml_type type = GGML_TYPE_F32);

    // Nodes, in the order of the calls.
    ggml_tensor* node(Op op, const char* name, const Shape& shape,
                      std::initializer_list<ggml_tensor*> sources);
    ggml_tensor* matmul(const char* name, ggml_tensor* weight, ggml_tensor* activations);
    ggml_tensor* like(Op op, const char* name,
                      std::initializer_list<ggml_tensor*> sources);  // as the first
    ggml_tensor* view(Op op, const char* name, ggml_tensor* of, const Shape& shape,
                      const std::vector<size_t>& strides, size_t offset = 0);
    ggml_tensor* set_rows(const char* name, ggml_tensor* into, ggml_tensor* rows, ggml_tensor* places);

    // Begins another graph.
    void nodes_clear() { nodes_.clear(); }

    // The graph so far. Use counts are those of its nodes, unless `knows_uses` is false.
    const GraphPlan& plan(bool knows_uses = true);

    // Such as "group(q k v gate=g) cpu(rope set) flow(7)": what each step computes; of a flow, how many
    // nodes.
    std::string steps(bool knows_uses = true);
    // The plan's flows.
    std::vector<const FlowPlan*> flows();
    // The stages of the only flow, such as "pass(norm)>0 group(q k v) pass 0>(rope) attention(o
    // after 2)".
    std::string stages();
    // The plan's stops, such as "end: not row by row".
    std::string stops();
    // Where a result of that flow lives: "graph", "chunk", "block" or "chunk, copied out".
    std::string home(const ggml_tensor* tensor);
    // What the plan has decided about node `tensor`.
    const NodeDecision& decision(const ggml_tensor* tensor);

    // What lies behind the weights' buffer.
    Buffer& weights_buffer() { return buffer_; }
    // The buffer has weights of so many bytes, which the host has asked about, and which take twice as many when packed.
    void pretend_weights_of(size_t bytes);

    Host host_;

  private:
    ggml_tensor* leaf(const char* name, const Shape& shape, ggml_type type, ggml_backend_buffer& buffer);
    ggml_tensor* make(const char* name, const Shape& shape, ggml_type type);
    void count_uses();

    std::deque<ggml_tensor> tensors_;
    std::vector<ggml_tensor*> nodes_;
    std::unique_ptr<std::byte[]> memory_;
    size_t used_ = 0;
    Buffer buffer_{host_};
    ggml_backend_buffer weights_{}, states_{}, results_{};
    std::vector<ggml_tensor*> keys_;
    std::vector<ggml_bitset_t> slots_;
    std::vector<int32_t> uses_;
    ggml_cgraph graph_{};
    GraphPlan plan_;
    Counters counters_;
};

}  // namespace rknpu2::test
