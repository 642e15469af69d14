// SPDX-License-Identifier: MIT
// Two products of one graph that read the same memory share its quantised form only while nobody writes
// there.
#include <gtest/gtest.h>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

constexpr size_t kM = 6;
constexpr size_t kN = 72;
constexpr size_t kK = 320;
constexpr double kSmall = 0.03;

class SharedActivationsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        const HostFunctions& ggml = host_->ggml;
        backend_ = new_backend(*host_);
        weights_ = new_context();
        context_ = new_context();
        for (ggml_tensor*& weight : weight_)
            weight = ggml.ggml_new_tensor_2d(weights_.get(), GGML_TYPE_F32, kK, kN);
        weight_buffer_ = allocate(weights_.get());
        ggml.ggml_backend_buffer_set_usage(weight_buffer_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        for (size_t i = 0; i < 2; ++i) {
            bytes_[i] = random_weight(*host_, GGML_TYPE_F32, kN, kK, random_);
            ggml.ggml_backend_tensor_set(weight_[i], bytes_[i].data(), 0, bytes_[i].size());
        }
        x_ = ggml.ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, kK, kM);
    }

    ContextPtr new_context() {
        const HostFunctions& ggml = host_->ggml;
        return {
            ggml.ggml_init({16 * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
            ggml.ggml_free};
    }

    BufferPtr allocate(ggml_context* context) {
        return {host_->ggml.ggml_backend_alloc_ctx_tensors_from_buft(
                    context, host_->ggml.ggml_backend_dev_buffer_type(host_->device)),
                host_->ggml.ggml_backend_buffer_free};
    }

    // The errors of both products, of x and of the second input, which is `factor` times x.
    void check(ggml_tensor* second_input, float factor) {
        const HostFunctions& ggml = host_->ggml;
        ggml_cgraph* const graph = ggml.ggml_new_graph(context_.get());
        ggml_tensor* const products[2] = {ggml.ggml_mul_mat(context_.get(), weight_[0], x_),
                                          ggml.ggml_mul_mat(context_.get(), weight_[1], second_input)};
        for (ggml_tensor* const product : products)
            ggml.ggml_build_forward_expand(graph, product);
        const BufferPtr buffer = allocate(context_.get());
        for (int round = 0; round < 2; ++round) {
            std::vector<float> a = random_floats(random_, kM * kK);
            ggml.ggml_backend_tensor_set(x_, a.data(), 0, a.size() * sizeof(float));
            ASSERT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
            for (size_t i = 0; i < 2; ++i) {
                std::vector<float> out(kM * kN);
                ggml.ggml_backend_tensor_get(products[i], out.data(), 0, out.size() * sizeof(float));
                EXPECT_LT(relative_error(*host_, GGML_TYPE_F32, {kM, kN, kK}, bytes_[i], a, out), kSmall)
                    << "product " << i << ", round " << round;
                for (float& value : a)
                    value *= factor;
            }
        }
    }

    Random random_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    ContextPtr weights_{nullptr, [](ggml_context*) {}};
    ContextPtr context_{nullptr, [](ggml_context*) {}};
    BufferPtr weight_buffer_{nullptr, [](ggml_backend_buffer*) {}};
    ggml_tensor* weight_[2] = {};
    std::vector<uint8_t> bytes_[2];
    ggml_tensor* x_ = nullptr;
};

TEST_F(SharedActivationsTest, TheSameInput) {
    check(x_, 1.0F);
}

// One of two products is selected. A host that does not mark what is wanted wants both.
TEST_F(SharedActivationsTest, AProductThatIsNotSelectedIsNotWritten) {
    const HostFunctions& ggml = host_->ggml;
    ggml_cgraph* const graph = ggml.ggml_new_graph(context_.get());
    ggml_tensor* products[2];
    for (size_t i = 0; i < 2; ++i) {
        products[i] = ggml.ggml_mul_mat(context_.get(), weight_[i], x_);
        ggml.ggml_build_forward_expand(graph, products[i]);
    }
    if ((products[0]->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) GTEST_SKIP() << "this host marks nothing";
    products[1]->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
    const BufferPtr buffer = allocate(context_.get());
    const std::vector<float> a = random_floats(random_, kM * kK), before(kM * kN, 7.0F);
    ggml.ggml_backend_tensor_set(x_, a.data(), 0, a.size() * sizeof(float));
    ggml.ggml_backend_tensor_set(products[1], before.data(), 0, before.size() * sizeof(float));
    ASSERT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
    std::vector<float> out(kM * kN), untouched(kM * kN);
    ggml.ggml_backend_tensor_get(products[0], out.data(), 0, out.size() * sizeof(float));
    ggml.ggml_backend_tensor_get(products[1], untouched.data(), 0, out.size() * sizeof(float));
    EXPECT_LT(relative_error(*host_, GGML_TYPE_F32, {kM, kN, kK}, bytes_[0], a, out), kSmall);
    EXPECT_EQ(untouched, before);
}

// Neither the address nor the shape changes, but the numbers do.
TEST_F(SharedActivationsTest, AnInputThatIsScaledInPlaceBetweenTheProducts) {
    check(host_->ggml.ggml_scale_inplace(context_.get(), x_, 3.0F), 3.0F);
}

}  // namespace
}  // namespace rknpu2::test
