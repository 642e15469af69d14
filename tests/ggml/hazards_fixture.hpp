// SPDX-License-Identifier: MIT
// A graph of float32 tensors that a test puts together, computed node by node and as a whole: the bits must
// be the same.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {

using Bytes = std::vector<std::vector<uint8_t>>;

class HazardsTest : public ::testing::Test {
  protected:
    static constexpr int64_t kK = 64;
    static constexpr int64_t kRows = 256;

    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        open();
    }

    void open() {
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
        begin();
    }

    // Another graph; nothing of the last one stays.
    void begin() {
        filled_.clear();
        stored_.clear();
        read_.clear();
        places_ = nullptr;
        allocator_.reset();
        buffers_.clear();
        for (ContextPtr* const context : {&weights_, &states_, &nodes_})
            *context = new_context(256);
        graph_ = host_->ggml.ggml_new_graph(nodes_.get());
    }

    ContextPtr new_context(size_t tensors) {
        const HostFunctions& ggml = host_->ggml;
        return {ggml.ggml_init(
                    {tensors * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
                ggml.ggml_free};
    }
    ggml_tensor* weight(int64_t K, int64_t N, const char* name = "") {
        ggml_tensor* const made = host_->ggml.ggml_new_tensor_2d(weights_.get(), GGML_TYPE_F32, K, N);
        host_->ggml.ggml_set_name(made, name);
        stored_.push_back(made);
        return made;
    }
    ggml_tensor* state(int64_t K, int64_t rows) {
        read_.push_back(host_->ggml.ggml_new_tensor_2d(states_.get(), GGML_TYPE_F32, K, rows));
        filled_.push_back(read_.back());
        return read_.back();
    }
    ggml_tensor* input(int64_t K, int64_t rows) {
        filled_.push_back(host_->ggml.ggml_new_tensor_2d(nodes_.get(), GGML_TYPE_F32, K, rows));
        host_->ggml.ggml_set_input(filled_.back());
        return filled_.back();
    }
    // Places rows - 1 .. 0.
    ggml_tensor* backwards(int64_t rows) {
        places_ = host_->ggml.ggml_new_tensor_1d(nodes_.get(), GGML_TYPE_I64, rows);
        host_->ggml.ggml_set_input(places_);
        return places_;
    }
    void expand(ggml_tensor* node) { host_->ggml.ggml_build_forward_expand(graph_, node); }
    // The graph's last node, which does not flow.
    void end(ggml_tensor* x) {
        ggml_tensor* const last = host_->ggml.ggml_cont(nodes_.get(), x);
        host_->ggml.ggml_set_output(last);
        read_.push_back(last);
        expand(last);
    }

    void allocate() {
        const HostFunctions& ggml = host_->ggml;
        const auto type = ggml.ggml_backend_dev_buffer_type(host_->device);
        const auto in = [&](const ContextPtr& context) {
            return BufferPtr(ggml.ggml_backend_alloc_ctx_tensors_from_buft(context.get(), type),
                             ggml.ggml_backend_buffer_free);
        };
        buffers_.push_back(in(weights_));
        ggml.ggml_backend_buffer_set_usage(buffers_.back().get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        if (std::any_of(read_.begin(), read_.end(),
                        [](const ggml_tensor* t) { return t->op == GGML_OP_NONE; }))
            buffers_.push_back(in(states_));
        allocator_ = {ggml.ggml_gallocr_new(type), ggml.ggml_gallocr_free};
        ASSERT_TRUE(ggml.ggml_gallocr_alloc_graph(allocator_.get(), graph_));
        fill_tensors(stored_);
    }

    void fill_tensors(const std::vector<ggml_tensor*>& tensors) {
        const HostFunctions& ggml = host_->ggml;
        Random random(7);
        for (ggml_tensor* const tensor : tensors) {
            std::vector<float> values =
                random_floats(random, static_cast<size_t>(ggml.ggml_nelements(tensor)));
            for (float& value : values)
                value *= 0.3F;
            ggml.ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
        }
    }

    // Everything that the graph reads; weights are written by allocate().
    void fill() {
        const HostFunctions& ggml = host_->ggml;
        fill_tensors(filled_);
        for (ggml_tensor* const tensor : read_) {
            if (tensor->op != GGML_OP_NONE)
                ggml.ggml_backend_tensor_memset(tensor, 0x44, 0, ggml.ggml_nbytes(tensor));
        }
        if (places_ == nullptr) return;
        std::vector<int64_t> places(static_cast<size_t>(places_->ne[0]));
        std::iota(places.rbegin(), places.rend(), 0);
        ggml.ggml_backend_tensor_set(places_, places.data(), 0, places.size() * sizeof(int64_t));
    }

    Bytes results() {
        Bytes all;
        for (ggml_tensor* const tensor : read_) {
            all.emplace_back(host_->ggml.ggml_nbytes(tensor));
            host_->ggml.ggml_backend_tensor_get(tensor, all.back().data(), 0, all.back().size());
        }
        return all;
    }

    Bytes node_by_node() {
        const HostFunctions& ggml = host_->ggml;
        fill();
        for (int i = 0; i < ggml.ggml_graph_n_nodes(graph_); ++i) {
            const ContextPtr context = new_context(4);
            ggml_cgraph* const one = ggml.ggml_new_graph(context.get());
            ggml.ggml_graph_add_node(one, ggml.ggml_graph_node(graph_, i));
            EXPECT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), one), GGML_STATUS_SUCCESS);
        }
        return results();
    }

    Bytes whole() {
        fill();
        EXPECT_EQ(host_->ggml.ggml_backend_graph_compute(backend_.get(), graph_), GGML_STATUS_SUCCESS);
        return results();
    }

    // Node by node, then the whole graph, some times.
    void check() {
        allocate();
        const Bytes expected = node_by_node();
        for (int round = 0; round < 3; ++round)
            EXPECT_TRUE(whole() == expected) << "round " << round;
    }

    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    ContextPtr weights_{nullptr, [](ggml_context*) {}};
    ContextPtr states_{nullptr, [](ggml_context*) {}};
    ContextPtr nodes_{nullptr, [](ggml_context*) {}};
    std::vector<BufferPtr> buffers_;
    HostPtr<ggml_gallocr> allocator_{nullptr, nullptr};
    std::vector<ggml_tensor*> stored_, filled_, read_;
    ggml_tensor* places_ = nullptr;
    ggml_cgraph* graph_ = nullptr;
};

}  // namespace rknpu2::test
