// SPDX-License-Identifier: MIT
// What random programs have found: calls that were accepted, or crashed, and that have to be refused.
#include <memory>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

class MisuseTest : public SimTest {
  protected:
    static constexpr Shape kShape{3, 96, 64};
};

// A weight that the device reads in place cleans its bytes like any other: another context's A may be there.
TEST_F(MisuseTest, BindingALargeWeightCleansWhatOthersReadAsA) {
    on_default_board();
    set("RKNNSIM_SHADOW", "lazy");
    Matmul reader(kI8I32, kShape);
    Matmul owner(kI8I32, {2, 128, 96});
    ASSERT_GE(owner.attr().B.size, reader.attr().A.size);
    const Operands first = random_operands(kI8I32, kShape, 1);
    reader.compute(first);
    ASSERT_EQ(rknn_matmul_set_io_mem(reader.ctx(), owner.b(), &reader.attr().A), 0);
    const Operands second = random_operands(kI8I32, kShape, 2);
    reader.write_a(second.a);  // into its own buffer, to be copied as it lies there
    std::memcpy(owner.b()->virt_addr, reader.a()->virt_addr, reader.attr().A.size);
    EXPECT_EQ(owner.bind_b(), 0);
    EXPECT_EQ(reader.run(), 0);
    EXPECT_EQ(reader.read_c(), expected({second.a, first.b}, kShape));
}

// The reverse: an A that is cleaned is also the weight that another context has bound, and not stale there.
TEST_F(MisuseTest, BindingAnAMakesAWeightOfTheSameBytesFresh) {
    on_default_board();
    set("RKNNSIM_SHADOW", "lazy");
    Matmul reader(kI8I32, kShape);
    Matmul owner(kI8I32, {2, 128, 96});
    owner.compute(random_operands(kI8I32, {2, 128, 96}, 1));
    std::memset(owner.b()->virt_addr, 1, reader.attr().A.size);
    ASSERT_EQ(rknn_matmul_set_io_mem(reader.ctx(), owner.b(), &reader.attr().A), 0);
    EXPECT_EQ(owner.run(), 0);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 0U);
    std::memset(owner.b()->virt_addr, 2, reader.attr().A.size);
    EXPECT_EQ(owner.run(), 0);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
}

// Cleaning a part of a weight says nothing of the rest, which stays stale.
TEST_F(MisuseTest, AWeightThatWasCleanedInPartIsStale) {
    Matmul reader(kI8I32, kShape);
    Matmul owner(kI8I32, {2, 128, 96});
    owner.compute(random_operands(kI8I32, {2, 128, 96}, 1));
    std::memset(owner.b()->virt_addr, 1, owner.attr().B.size);
    ASSERT_EQ(rknn_matmul_set_io_mem(reader.ctx(), owner.b(), &reader.attr().A), 0);
    EXPECT_EQ(owner.run(), 0);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
}

// The device reads and writes 16 bytes at a time.
TEST_F(MisuseTest, OperandsBeginAtAMultipleOf16) {
    Matmul native(kF16F32, kShape);
    Matmul normal(kF16F32, kShape, kBNormal, 0);
    rknn_tensor_mem* buffer = rknn_create_mem(native.ctx(), native.attr().B.size + 64);
    for (const int offset : {1, 2, 8, 16, 24, 32}) {
        rknn_tensor_mem* part = rknn_create_mem_from_fd(native.ctx(), buffer->fd, buffer->virt_addr,
                                                        native.attr().B.size, offset);
        ASSERT_NE(part, nullptr);
        const int in_place = offset % 16 == 0 ? 0 : RKNN_ERR_PARAM_INVALID;
        EXPECT_EQ(rknn_matmul_set_io_mem(native.ctx(), part, &native.attr().A), in_place) << offset;
        EXPECT_EQ(rknn_matmul_set_io_mem(native.ctx(), part, &native.attr().B), in_place) << offset;
        EXPECT_EQ(rknn_matmul_set_io_mem(native.ctx(), part, &native.attr().C), in_place) << offset;
        // What the CPU converts has to be aligned for its type only.
        const int converted = offset % 2 == 0 ? 0 : RKNN_ERR_PARAM_INVALID;
        EXPECT_EQ(rknn_matmul_set_io_mem(normal.ctx(), part, &normal.attr().B), converted) << offset;
        EXPECT_EQ(rknn_destroy_mem(native.ctx(), part), 0);
    }
    EXPECT_EQ(rknn_destroy_mem(native.ctx(), buffer), 0);
}

// A new memory must not stand where a destroyed one stood, or destroying that twice would hit it.
TEST_F(MisuseTest, DestroyedHandlesAreNotGivenOutAgain) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* old = rknn_create_mem(matmul.ctx(), 4096);
    ASSERT_EQ(rknn_destroy_mem(matmul.ctx(), old), 0);
    std::vector<rknn_tensor_mem*> made;
    for (int i = 0; i < 50; ++i) {
        made.push_back(rknn_create_mem(matmul.ctx(), 4096));
        EXPECT_NE(made.back(), old);
    }
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), old), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), old, RKNN_MEMORY_SYNC_TO_DEVICE), RKNN_ERR_PARAM_INVALID);
    for (rknn_tensor_mem* mem : made)
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
}

TEST_F(MisuseTest, EveryFieldOfAMemoryIsTheLibrarys) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* mem = matmul.a();
    const rknn_tensor_mem original = *mem;
    const auto refused = [&](const char* field) {
        EXPECT_EQ(matmul.bind_a(), RKNN_ERR_PARAM_INVALID) << field;
        *mem = original;
        EXPECT_EQ(matmul.bind_a(), 0) << field;
    };
    mem->phys_addr += 4096;
    refused("phys_addr");
    mem->flags ^= 1U;
    refused("flags");
    mem->priv_data = mem;
    refused("priv_data");
    mem->fd += 1;
    refused("fd");
}

TEST_F(MisuseTest, MemoryIsUsedWithAContextOfItsDomain) {
    Matmul here(kI8I32, kShape, kBNative, 1, 2);
    Matmul there(kI8I32, kShape, kBNative, 1, 3);
    rknn_tensor_mem* mem = rknn_create_mem(here.ctx(), 4096);
    for (const rknn_matmul_ctx ctx : {there.ctx(), rknn_matmul_ctx{0}}) {
        EXPECT_LT(rknn_mem_sync(ctx, mem, RKNN_MEMORY_SYNC_TO_DEVICE), 0);
        EXPECT_LT(rknn_destroy_mem(ctx, mem), 0);
    }
    // Memory without a context belongs to domain 0.
    rknn_tensor_mem* free = rknn_create_mem2(0, 4096, RKNN_MEM_FLAG_ALLOC_NO_CONTEXT);
    EXPECT_LT(rknn_mem_sync(here.ctx(), free, RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(rknn_mem_sync(0, free, RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(rknn_destroy_mem(0, free), 0);
    EXPECT_EQ(rknn_destroy_mem(here.ctx(), mem), 0);
}

// Numbers that lie about their arrays are refused before the arrays are read.
TEST_F(MisuseTest, CountsAreCheckedFirst) {
    rknn_matmul_info info = info_of(kI8I8, {1, 96, 64});
    auto shape = std::make_unique<rknn_matmul_shape>(rknn_matmul_shape{1, 96, 64});
    auto attr = std::make_unique<rknn_matmul_io_attr>();
    rknn_matmul_ctx ctx = 0;
    for (const int count : {-1, 0, 513, 1 << 24, INT32_MAX}) {
        EXPECT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, count, shape.get(), attr.get()),
                  RKNN_ERR_PARAM_INVALID);
    }
    Matmul matmul(kI8I8, kShape);
    auto scale = std::make_unique<float>(1.0F);
    auto zp = std::make_unique<int32_t>(0);
    for (const int count : {-1, 0, 2, 1 << 24, INT32_MAX}) {
        rknn_quant_params params{"A", scale.get(), count, zp.get(), 1};
        EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
        params.scale_len = 1;
        params.zp_len = count;
        EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
    }
}

}  // namespace
}  // namespace rknnsim_test
