// SPDX-License-Identifier: MIT
// The CPU's own copy of a weight (ggml/buffer/cpu_copies.hpp) is never older than the weight, however that is written.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

namespace fs = std::filesystem;

// Above what rounding to eight bits loses, far below what an old weight gives (about 1.4).
constexpr double kSmall = 0.05;

class CpuCopiesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        stats_ = fs::temp_directory_path() / ("rknpu2-copies-" + std::to_string(getpid()) + ".json");
        setenv("GGML_RKNPU2_STATS", stats_.c_str(), 1);
        setenv("GGML_RKNPU2_MATRICES", "auto", 1);
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
        product_ = std::make_unique<StoredMatmul>(*host_, GGML_TYPE_Q4_0, kShape);
        product_->set_weight(fresh_weight());
        // The NPU has a weight the first time; then the copy for single rows is made.
        EXPECT_LT(product_->error(backend_.get(), random_), kSmall);
        expect_right_on_cpu();
    }
    void TearDown() override { fs::remove(stats_); }

    std::vector<uint8_t> fresh_weight() {
        return random_weight(*host_, GGML_TYPE_Q4_0, kShape.N, kShape.K, random_);
    }

    void expect_right_on_cpu() {
        const uint64_t runs = simulator_counts().runs;
        EXPECT_LT(product_->error(backend_.get(), random_), kSmall);
        EXPECT_EQ(simulator_counts().runs, runs) << "one row of four bits is the CPU's";
    }

    // One graph that multiplies and then writes other bytes into the weight.
    void multiply_and_overwrite() {
        const HostFunctions& ggml = host_->ggml;
        const ContextPtr context(
            ggml.ggml_init({8 * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
            ggml.ggml_free);
        const auto tensor = [&](ggml_type type, size_t width, size_t height) {
            return ggml.ggml_new_tensor_2d(context.get(), type, static_cast<int64_t>(width),
                                           static_cast<int64_t>(height));
        };
        ggml_tensor* const rows = tensor(GGML_TYPE_F32, kShape.K, kShape.M);
        ggml_tensor* const other = tensor(GGML_TYPE_Q4_0, kShape.K, kShape.N);
        ggml_cgraph* const graph = ggml.ggml_new_graph(context.get());
        ggml.ggml_build_forward_expand(graph, ggml.ggml_mul_mat(context.get(), product_->weight(), rows));
        ggml.ggml_build_forward_expand(graph, ggml.ggml_cpy(context.get(), other, product_->weight()));
        const BufferPtr buffer(ggml.ggml_backend_alloc_ctx_tensors_from_buft(
                                   context.get(), ggml.ggml_backend_dev_buffer_type(host_->device)),
                               ggml.ggml_backend_buffer_free);
        const std::vector<float> a = random_floats(random_, kShape.M * kShape.K);
        const std::vector<uint8_t> bytes = fresh_weight();
        ggml.ggml_backend_tensor_set(rows, a.data(), 0, a.size() * sizeof(float));
        ggml.ggml_backend_tensor_set(other, bytes.data(), 0, bytes.size());
        ASSERT_EQ(ggml.ggml_backend_graph_compute(backend_.get(), graph), GGML_STATUS_SUCCESS);
        EXPECT_EQ(product_->weight_content(), bytes);
    }

    // How many copies were made since the process began.
    uint64_t copies() {
        backend_ = nullptr;  // it writes the counters when it goes
        backend_ = new_backend(*host_);
        std::ifstream file(stats_);
        return nlohmann::json::parse(file)["experts"]["cpu_copies"];
    }

    static constexpr Shape kShape{1, 96, 512};
    fs::path stats_;
    Random random_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    std::unique_ptr<StoredMatmul> product_;
};

// A step drops what its nodes write before it is computed. Its product makes the copy again, and only then the weight is written.
TEST_F(CpuCopiesTest, AStepThatMultipliesAndThenWritesTheWeight) {
    const uint64_t before = copies();
    if (before == 0) GTEST_SKIP() << "the host's CPU backend has no layout of its own for Q4_0";
    for (int round = 0; round < 3; ++round) {
        multiply_and_overwrite();
        EXPECT_LT(product_->error(backend_.get(), random_), kSmall) << "the NPU packs the new weight";
        expect_right_on_cpu();
    }
    EXPECT_GE(copies(), before + 6) << "one in each step that writes, and one of what it wrote";
}

TEST_F(CpuCopiesTest, TheHostWritesTheWeight) {
    for (int round = 0; round < 2; ++round) {
        product_->set_weight(fresh_weight());
        EXPECT_LT(product_->error(backend_.get(), random_), kSmall);
        expect_right_on_cpu();
    }
}

}  // namespace
}  // namespace rknpu2::test
