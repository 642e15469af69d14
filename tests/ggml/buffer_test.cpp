// SPDX-License-Identifier: MIT
// A buffer of ours behaves as ggml's buffers do: what was written last is what is read and what counts in a
// product, however it was written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

// Well above what int8 loses, far below what a stale weight gives (about 1.4).
constexpr double kSmall = 0.03;

class BufferTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
    }

    // A product that was computed once, so that its weight is packed.
    std::unique_ptr<StoredMatmul> packed_product(ggml_type type, const Shape& shape) {
        auto product = std::make_unique<StoredMatmul>(*host_, type, shape);
        product->set_weight(random_weight(*host_, type, shape.N, shape.K, random_));
        EXPECT_TRUE(product->supported());
        const uint64_t runs = simulator_counts().runs;
        EXPECT_LT(product->error(backend_.get(), random_), kSmall);
        EXPECT_GT(simulator_counts().runs, runs) << "the NPU was not used";
        return product;
    }

    // A tensor of the same shape in the host's CPU memory, with a buffer that keeps it.
    ggml_tensor* cpu_tensor(ggml_type type, size_t N, size_t K) {
        const HostFunctions& ggml = host_->ggml;
        cpu_context_.reset(ggml.ggml_init({4 * ggml.ggml_tensor_overhead(), nullptr, true}));
        cpu_context_.get_deleter() = ggml.ggml_free;
        ggml_tensor* const tensor = ggml.ggml_new_tensor_2d(cpu_context_.get(), type, static_cast<int64_t>(K),
                                                            static_cast<int64_t>(N));
        cpu_buffer_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(cpu_context_.get(),
                                                                        ggml.ggml_backend_cpu_buffer_type()));
        cpu_buffer_.get_deleter() = ggml.ggml_backend_buffer_free;
        return tensor;
    }

    Random random_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    ContextPtr cpu_context_{nullptr, [](ggml_context*) {}};
    BufferPtr cpu_buffer_{nullptr, [](ggml_backend_buffer*) {}};
};

TEST_F(BufferTest, IsNoHostMemoryToTheHost) {
    const BufferPtr buffer = new_weight_buffer(*host_, 4096);
    EXPECT_FALSE(host_->ggml.ggml_backend_buffer_is_host(buffer.get()));
    EXPECT_TRUE(host_->ggml.ggml_backend_dev_supports_buft(
        host_->device, host_->ggml.ggml_backend_dev_buffer_type(host_->device)));
    EXPECT_FALSE(host_->ggml.ggml_backend_dev_supports_buft(host_->device,
                                                            host_->ggml.ggml_backend_cpu_buffer_type()));
}

TEST_F(BufferTest, KeepsTheBytesOfTheFileWhilePacked) {
    const Shape shape = {5, 48, 256};
    StoredMatmul product(*host_, GGML_TYPE_Q4_K, shape);
    const std::vector<uint8_t> bytes = random_weight(*host_, GGML_TYPE_Q4_K, shape.N, shape.K, random_);
    product.set_weight(bytes);
    EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    EXPECT_EQ(product.weight_content(), bytes);
}

TEST_F(BufferTest, NewWeightsCountAfterAProduct) {
    const Shape shape = {3, 80, 160};
    const auto product = packed_product(GGML_TYPE_Q8_0, shape);
    for (int round = 0; round < 3; ++round) {
        product->set_weight(random_weight(*host_, GGML_TYPE_Q8_0, shape.N, shape.K, random_));
        EXPECT_LT(product->error(backend_.get(), random_), kSmall) << "round " << round;
    }
}

TEST_F(BufferTest, PartOfAWeightCountsAfterAProduct) {
    const Shape shape = {4, 64, 96};
    const auto product = packed_product(GGML_TYPE_F32, shape);
    // Large values, so that even one of them shows; at the first byte, in the middle, at the last.
    for (const size_t element : {size_t{0}, size_t{31 * 96 + 7}, size_t{64 * 96 - 1}}) {
        const float large = 100.0F;
        host_->ggml.ggml_backend_tensor_set(product->weight(), &large, element * sizeof(float), sizeof large);
        EXPECT_LT(product->error(backend_.get(), random_), kSmall) << "element " << element;
    }
}

TEST_F(BufferTest, RowsSetInTwoDimensionsCount) {
    const Shape shape = {3, 32, 128};
    const auto product = packed_product(GGML_TYPE_F32, shape);
    // 16 copies of 32 floats: a quarter of every second row.
    const std::vector<float> values = random_floats(random_, 16 * 40);
    const size_t row = shape.K * sizeof(float);
    host_->ggml.ggml_backend_tensor_set_2d(product->weight(), values.data(), 64, 32 * sizeof(float), 16,
                                           2 * row, 40 * sizeof(float));
    EXPECT_LT(product->error(backend_.get(), random_), kSmall);
    std::vector<float> back(16 * 40, 0.0F);
    host_->ggml.ggml_backend_tensor_get_2d(product->weight(), back.data(), 64, 32 * sizeof(float), 16,
                                           2 * row, 40 * sizeof(float));
    for (size_t i = 0; i < back.size(); ++i)
        ASSERT_EQ(back[i], i % 40 < 32 ? values[i] : 0.0F) << i;
}

TEST_F(BufferTest, FilledBytesCount) {
    const Shape shape = {3, 48, 64};
    const auto product = packed_product(GGML_TYPE_F32, shape);
    host_->ggml.ggml_backend_tensor_memset(product->weight(), 0x3F, 40 * 64, 8 * 64);
    EXPECT_LT(product->error(backend_.get(), random_), kSmall);
    const std::vector<uint8_t> bytes = product->weight_content();
    EXPECT_EQ(bytes[40 * 64], 0x3F);
    EXPECT_EQ(bytes[48 * 64 - 1], 0x3F);
}

TEST_F(BufferTest, ClearedBufferGivesZero) {
    const Shape shape = {3, 48, 64};
    const BufferPtr buffer = new_weight_buffer(*host_, shape.N * shape.K * 4);
    StoredMatmul product(*host_, GGML_TYPE_F32, shape, buffer.get(), 0);
    product.set_weight(random_weight(*host_, GGML_TYPE_F32, shape.N, shape.K, random_));
    EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    host_->ggml.ggml_backend_buffer_clear(buffer.get(), 0);
    std::vector<float> out;
    ASSERT_EQ(product.compute(backend_.get(), random_floats(random_, shape.M * shape.K), out),
              GGML_STATUS_SUCCESS);
    EXPECT_THAT(out, ::testing::Each(0.0F));
}

TEST_F(BufferTest, CopyFromCpuMemoryCounts) {
    const Shape shape = {5, 80, 96};
    const auto product = packed_product(GGML_TYPE_Q5_0, shape);
    const std::vector<uint8_t> bytes = random_weight(*host_, GGML_TYPE_Q5_0, shape.N, shape.K, random_);
    ggml_tensor* const source = cpu_tensor(GGML_TYPE_Q5_0, shape.N, shape.K);
    host_->ggml.ggml_backend_tensor_set(source, bytes.data(), 0, bytes.size());
    host_->ggml.ggml_backend_tensor_copy(source, product->weight());
    EXPECT_EQ(product->weight_content(), bytes);
    EXPECT_LT(product->error(backend_.get(), random_), kSmall);
}

TEST_F(BufferTest, CopyToCpuMemory) {
    const Shape shape = {2, 64, 96};
    const auto product = packed_product(GGML_TYPE_Q5_0, shape);
    ggml_tensor* const target = cpu_tensor(GGML_TYPE_Q5_0, shape.N, shape.K);
    host_->ggml.ggml_backend_tensor_copy(product->weight(), target);
    std::vector<uint8_t> bytes(product->weight_bytes());
    host_->ggml.ggml_backend_tensor_get(target, bytes.data(), 0, bytes.size());
    EXPECT_EQ(bytes, product->weight_content());
}

TEST_F(BufferTest, CopyBetweenBuffersOfOursCounts) {
    const Shape shape = {3, 64, 96};
    const auto one = packed_product(GGML_TYPE_F16, shape);
    const auto two = packed_product(GGML_TYPE_F16, shape);
    host_->ggml.ggml_backend_tensor_copy(one->weight(), two->weight());
    EXPECT_EQ(one->weight_content(), two->weight_content());
    EXPECT_LT(two->error(backend_.get(), random_), kSmall);
}

// Nothing is cached by address: a buffer at the place of a freed one starts afresh.
TEST_F(BufferTest, FreedBufferLeavesNothing) {
    const Shape shape = {3, 64, 128};
    for (int round = 0; round < 5; ++round) {
        const auto product = packed_product(GGML_TYPE_Q8_0, shape);
        EXPECT_GT(simulator_counts().memories, 0U);
    }
    EXPECT_EQ(simulator_counts().memories, 0U);
    EXPECT_EQ(simulator_counts().contexts, 0U);
}

TEST_F(BufferTest, NeighboursInABufferKeepTheirWeights) {
    const Shape shape = {3, 48, 128};
    const size_t bytes = shape.N * shape.K * 4;
    const BufferPtr buffer = new_weight_buffer(*host_, 3 * bytes);
    std::vector<std::unique_ptr<StoredMatmul>> products;
    for (size_t i = 0; i < 3; ++i) {
        products.push_back(
            std::make_unique<StoredMatmul>(*host_, GGML_TYPE_F32, shape, buffer.get(), i * bytes));
        products[i]->set_weight(random_weight(*host_, GGML_TYPE_F32, shape.N, shape.K, random_));
    }
    for (int round = 0; round < 2; ++round) {
        for (const auto& product : products)
            EXPECT_LT(product->error(backend_.get(), random_), kSmall);
        products[1]->set_weight(random_weight(*host_, GGML_TYPE_F32, shape.N, shape.K, random_));
    }
}

// A graph that writes into a weight (the host's CPU does that) drops what was packed from it.
TEST_F(BufferTest, GraphThatWritesAWeightCounts) {
    const Shape shape = {3, 48, 128};
    const auto product = packed_product(GGML_TYPE_F32, shape);
    const HostFunctions& ggml = host_->ggml;
    const ContextPtr context(
        ggml.ggml_init({4 * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
        ggml.ggml_free);
    ggml_tensor* const tripled = ggml.ggml_scale_inplace(context.get(), product->weight(), 3.0F);
    tripled->buffer = product->weight()->buffer;
    tripled->data = product->weight()->data;
    ggml_cgraph* const graph = ggml.ggml_new_graph(context.get());
    ggml.ggml_build_forward_expand(graph, tripled);
    ASSERT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
    EXPECT_LT(product->error(backend_.get(), random_), kSmall);
}

}  // namespace
}  // namespace rknpu2::test
