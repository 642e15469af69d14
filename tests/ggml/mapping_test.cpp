// SPDX-License-Identifier: MIT
// Buffers over the caller's memory: used in place; pages of a shared file mapping go back to the OS once
// their packed form is there, pages of private memory never do.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

constexpr double kSmall = 0.03;
constexpr Shape kShape = {3, 1088, 2048};  // 8.9 MB of float32

// Bytes of [data, data + size) that this process has resident, by /proc/self/smaps; exact at the edges of
// mappings only.
size_t resident_bytes(const void* data) {
    std::ifstream file("/proc/self/smaps");
    bool inside = false;
    for (std::string line; std::getline(file, line);) {
        uintptr_t low = 0;
        uintptr_t high = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &low, &high) == 2) {
            inside = low <= reinterpret_cast<uintptr_t>(data) && reinterpret_cast<uintptr_t>(data) < high;
        } else if (inside && line.compare(0, 4, "Rss:") == 0) {
            return std::stoul(line.substr(4)) * 1024;
        }
    }
    ADD_FAILURE() << "the memory is not mapped";
    return 0;
}

class MappingTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
        bytes_ = random_weight(*host_, GGML_TYPE_F32, kShape.N, kShape.K, random_);
        std::ofstream(folder_.path("weights"), std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
    }
    void TearDown() override {
        if (mapped_ != nullptr) munmap(mapped_, bytes_.size());
    }

    uint8_t* map(int protection, int flags) {
        const bool of_file = (flags & MAP_ANONYMOUS) == 0;
        const int file = of_file ? open(folder_.path("weights").c_str(), O_RDWR | O_CLOEXEC) : -1;
        mapped_ = mmap(nullptr, bytes_.size(), protection, flags, file, 0);
        if (file >= 0) close(file);
        if (mapped_ == MAP_FAILED) {
            ADD_FAILURE() << "mmap: " << std::strerror(errno);
            mapped_ = nullptr;
        }
        return static_cast<uint8_t*>(mapped_);
    }

    BufferPtr buffer_over(void* data) {
        BufferPtr buffer(host_->ggml.ggml_backend_dev_buffer_from_host_ptr(host_->device, data, bytes_.size(),
                                                                           bytes_.size()),
                         host_->ggml.ggml_backend_buffer_free);
        EXPECT_NE(buffer, nullptr);
        host_->ggml.ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        return buffer;
    }

    Random random_;
    TemporaryFolder folder_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
    std::vector<uint8_t> bytes_;
    void* mapped_ = nullptr;
};

TEST_F(MappingTest, PagesOfASharedFileMappingGoBack) {
    void* const data = map(PROT_READ, MAP_SHARED);
    ASSERT_NE(data, nullptr);
    const BufferPtr buffer = buffer_over(data);
    EXPECT_EQ(host_->ggml.ggml_backend_buffer_get_base(buffer.get()), data);
    StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
    EXPECT_EQ(product.weight_content(), bytes_);
    EXPECT_EQ(resident_bytes(data), bytes_.size());
    const std::vector<float> a = random_floats(random_, kShape.M * kShape.K);
    std::vector<float> out;
    ASSERT_EQ(product.compute(backend_.get(), a, out), GGML_STATUS_SUCCESS);
    EXPECT_LT(resident_bytes(data), bytes_.size() / 16);
    EXPECT_LT(relative_error(*host_, GGML_TYPE_F32, kShape, bytes_, a, out), kSmall);
    // Products do not need them again; whoever reads them gets them back from the file.
    ASSERT_EQ(product.compute(backend_.get(), a, out), GGML_STATUS_SUCCESS);
    EXPECT_LT(resident_bytes(data), bytes_.size() / 16);
    EXPECT_EQ(product.weight_content(), bytes_);
}

TEST_F(MappingTest, WritesToASharedFileMappingStay) {
    void* const data = map(PROT_READ | PROT_WRITE, MAP_SHARED);
    ASSERT_NE(data, nullptr);
    const BufferPtr buffer = buffer_over(data);
    StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
    for (int round = 0; round < 2; ++round) {
        bytes_ = random_weight(*host_, GGML_TYPE_F32, kShape.N, kShape.K, random_);
        product.set_weight(bytes_);
        EXPECT_LT(product.error(backend_.get(), random_), kSmall);
        EXPECT_EQ(product.weight_content(), bytes_);
    }
}

TEST_F(MappingTest, PrivateMemoryKeepsItsPages) {
    uint8_t* const data = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_NE(data, nullptr);
    std::memcpy(data, bytes_.data(), bytes_.size());
    const BufferPtr buffer = buffer_over(data);
    StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
    EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    EXPECT_EQ(std::memcmp(data, bytes_.data(), bytes_.size()), 0);
    EXPECT_EQ(product.weight_content(), bytes_);
}

// The file does not have what was written here: giving these pages back would lose it.
TEST_F(MappingTest, PrivateFileMappingKeepsWhatWasWritten) {
    uint8_t* const data = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    ASSERT_NE(data, nullptr);
    const std::vector<uint8_t> others = random_weight(*host_, GGML_TYPE_F32, kShape.N, kShape.K, random_);
    const BufferPtr buffer = buffer_over(data);
    StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
    product.set_weight(others);
    EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    EXPECT_EQ(product.weight_content(), others);
}

// As private memory, though it is shared: without a file behind it nobody could bring the pages back.
TEST_F(MappingTest, HalfSharedHalfPrivateKeepsItsPages) {
    uint8_t* const data = map(PROT_READ | PROT_WRITE, MAP_SHARED);
    ASSERT_NE(data, nullptr);
    const size_t half = bytes_.size() / 2 / 4096 * 4096;
    ASSERT_NE(mmap(data + half, bytes_.size() - half, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              MAP_FAILED);
    std::memcpy(data, bytes_.data(), bytes_.size());
    const BufferPtr buffer = buffer_over(data);
    StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
    EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    EXPECT_EQ(product.weight_content(), bytes_);
}

TEST_F(MappingTest, FreedBufferLeavesTheMemoryAlone) {
    uint8_t* const data = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_NE(data, nullptr);
    std::memcpy(data, bytes_.data(), bytes_.size());
    {
        const BufferPtr buffer = buffer_over(data);
        StoredMatmul product(*host_, GGML_TYPE_F32, kShape, buffer.get(), 0);
        EXPECT_LT(product.error(backend_.get(), random_), kSmall);
    }
    EXPECT_EQ(std::memcmp(data, bytes_.data(), bytes_.size()), 0);
    EXPECT_EQ(simulator_counts().memories, 0U);
}

// As `-ot exps=CPU` leaves it: our buffer reaches over what another device has of the file, which does not wait to be packed.
TEST_F(MappingTest, WhatOthersHaveOfTheFileTakesNoMemory) {
    constexpr int64_t kK = 8192, kN = 1 << 18;  // 4 GiB of float16
    constexpr size_t kBytes = size_t{2} * kK * kN, kWeights = 128;
    const auto& ggml = host_->ggml;
    const ContextPtr context{
        ggml.ggml_init({(2 * kWeights + 1) * ggml.ggml_tensor_overhead(), nullptr, true}), ggml.ggml_free};
    ggml_tensor* const rows = ggml.ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, kK, 1);
    // As llama.cpp asks: the weight has a buffer of ours without bytes.
    const BufferPtr nothing(
        ggml.ggml_backend_buft_alloc_buffer(ggml.ggml_backend_dev_buffer_type(host_->device), 0),
        ggml.ggml_backend_buffer_free);
    ggml.ggml_backend_buffer_set_usage(nothing.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    std::vector<ggml_tensor*> weights(kWeights);
    for (ggml_tensor*& weight : weights) {
        weight = ggml.ggml_new_tensor_2d(context.get(), GGML_TYPE_F16, kK, kN);
        ggml.ggml_set_name(weight, std::to_string(&weight - weights.data()).c_str());
        weight->buffer = nothing.get();
        ASSERT_TRUE(
            ggml.ggml_backend_dev_supports_op(host_->device, ggml.ggml_mul_mat(context.get(), weight, rows)));
        weight->buffer = nullptr;
    }
    void* const file =
        mmap(nullptr, kWeights * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(file, MAP_FAILED) << std::strerror(errno);
    {
        const BufferPtr buffer(ggml.ggml_backend_dev_buffer_from_host_ptr(
                                   host_->device, file, kWeights * kBytes, kWeights * kBytes),
                               ggml.ggml_backend_buffer_free);
        ggml.ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        size_t free = 0, total = 0;
        ggml.ggml_backend_dev_memory(host_->device, &free, &total);
        EXPECT_GT(free, 0U);
        for (size_t i = 0; i < kWeights; ++i)
            ASSERT_EQ(ggml.ggml_backend_tensor_alloc(buffer.get(), weights[i],
                                                     static_cast<std::byte*>(file) + i * kBytes),
                      GGML_STATUS_SUCCESS);
        ggml.ggml_backend_dev_memory(host_->device, &free, &total);
        EXPECT_EQ(free, 0U) << "now they are ours, and wait";
    }
    munmap(file, kWeights * kBytes);
}

}  // namespace
}  // namespace rknpu2::test
