// SPDX-License-Identifier: MIT
// Memory: domains, imports, lifetimes; section D.6 of the contract.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

class MemoryTest : public TwoProductsTest {};

TEST_F(MemoryTest, BindingChecksTheBuffer) {
    Matmul matmul(kI8I32, kShape);
    Matmul other(kI8I32, {3, 128, 64});
    rknn_tensor_mem* small = rknn_create_mem(matmul.ctx(), matmul.attr().B.size - 1);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), small, &matmul.attr().B), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), other.b(), &other.attr().B), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), nullptr, &matmul.attr().B), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), matmul.b(), nullptr), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), small), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), small, &matmul.attr().B), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), small), RKNN_ERR_PARAM_INVALID);
    rknn_tensor_mem edited = *matmul.b();
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), &edited, &matmul.attr().B), RKNN_ERR_PARAM_INVALID);
    matmul.b()->offset = 64;
    EXPECT_EQ(matmul.bind_b(), RKNN_ERR_PARAM_INVALID);
    matmul.b()->offset = 0;
    EXPECT_EQ(matmul.bind_b(), 0);
}

TEST_F(MemoryTest, RunNeedsAllThreeBuffers) {
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.run(), RKNN_ERR_OUTPUT_INVALID);
    EXPECT_EQ(matmul.bind_c(), 0);
    EXPECT_EQ(matmul.run(), RKNN_ERR_INPUT_INVALID);
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.run(), RKNN_ERR_INPUT_INVALID);
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.run(), 0);
}

TEST_F(MemoryTest, ADestroyedBufferFailsTheRun) {
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    rknn_tensor_mem* b = rknn_create_mem(matmul.ctx(), matmul.attr().B.size);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), b, &matmul.attr().B), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), b), 0);
    EXPECT_EQ(matmul.run(), RKNN_ERR_INPUT_INVALID);
}

TEST_F(MemoryTest, UnboundMemoryAndRebindingAreSettings) {
    on_default_board();
    set("RKNNSIM_UNBOUND", "zeros");
    set("RKNNSIM_REBIND_B", "reject");
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.bind_c(), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), std::vector<double>(3 * 64, 0.0));
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.bind_b(), RKNN_ERR_PARAM_INVALID);
}

// D.6
TEST_F(MemoryTest, D6_ADomainHolds4GiB) {
    Matmul matmul(kI8I32, {1, 32, 32});
    Matmul elsewhere(kI8I32, {1, 32, 32}, kBNative, 1, 7);
    std::vector<rknn_tensor_mem*> held;
    for (int i = 0; i < 3; ++i)
        held.push_back(rknn_create_mem(matmul.ctx(), 1U << 30));
    for (const rknn_tensor_mem* mem : held)
        ASSERT_NE(mem, nullptr);
    EXPECT_EQ(rknn_create_mem(matmul.ctx(), 1U << 30), nullptr);
    rknn_tensor_mem* other = rknn_create_mem(elsewhere.ctx(), 1U << 30);
    EXPECT_NE(other, nullptr);
    rknnsim_live_counts live;
    ASSERT_EQ(rknnsim_live(&live), 0);
    EXPECT_GE(live.domain_bytes[0], uint64_t{3} << 30);
    EXPECT_GE(live.domain_bytes[7], uint64_t{1} << 30);
    EXPECT_EQ(live.domain_bytes[1], 0U);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), held.back()), 0);
    held.back() = rknn_create_mem(matmul.ctx(), 1U << 30);
    EXPECT_NE(held.back(), nullptr);
    EXPECT_EQ(rknn_create_mem2(matmul.ctx(), uint64_t{5} << 30, 0), nullptr);
    for (rknn_tensor_mem* mem : held)
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
    EXPECT_EQ(rknn_destroy_mem(elsewhere.ctx(), other), 0);
}

TEST_F(MemoryTest, D6_ABufferOfAnotherDomainIsRefused) {
    Matmul matmul(kI8I32, kShape);
    Matmul elsewhere(kI8I32, kShape, kBNative, 1, 1);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), elsewhere.a(), &matmul.attr().A), RKNN_ERR_PARAM_INVALID);
}

TEST_F(MemoryTest, D6_ManyContextsAreToldOnce) {
    on_default_board();
    set("RKNNSIM_CONTEXTS", "2");
    Matmul one(kI8I32, kShape);
    Matmul two(kI8I32, kShape);
    Matmul three(kI8I32, kShape);
    const std::string said = stderr_of([&] {
        EXPECT_EQ(one.compute(first_), product(first_, first_));
        EXPECT_EQ(two.compute(second_), product(second_, second_));
    });
    EXPECT_THAT(said, ::testing::HasSubstr("[many-contexts] 3 contexts are alive, more than 2"));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

TEST_F(MemoryTest, D6_TooManyContextsMayFailTheRun) {
    set("RKNNSIM_CONTEXTS", "2");
    set("RKNNSIM_MANY_CONTEXTS", "fail");
    Matmul one(kI8I32, kShape);
    Matmul two(kI8I32, kShape);
    one.compute(first_);
    {
        Matmul three(kI8I32, kShape);
        EXPECT_EQ(three.created(), 0);
        EXPECT_EQ(one.run(), RKNN_ERR_FAIL);
    }
    EXPECT_EQ(one.run(), 0);
}

TEST_F(MemoryTest, MemoryOfAnotherContext) {
    {
        Matmul owner(kI8I32, kShape);
        Matmul user(kI8I32, kShape);
        EXPECT_EQ(rknn_matmul_set_io_mem(user.ctx(), owner.a(), &user.attr().A), 0);
    }
    set("RKNNSIM_FOREIGN_MEMORY", "context");
    Matmul owner(kI8I32, kShape);
    Matmul user(kI8I32, kShape);
    EXPECT_EQ(rknn_matmul_set_io_mem(user.ctx(), owner.a(), &user.attr().A), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_destroy_mem(user.ctx(), owner.a()), RKNN_ERR_PARAM_INVALID);
}

TEST_F(MemoryTest, FlagsAndModes) {
    Matmul matmul(kI8I32, kShape);
    for (const uint64_t flags : {0, 1, 2, 4, 5}) {
        rknn_tensor_mem* mem = rknn_create_mem2(matmul.ctx(), 4096, flags);
        ASSERT_NE(mem, nullptr) << flags;
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
    }
    EXPECT_EQ(rknn_create_mem2(matmul.ctx(), 4096, 3), nullptr);
    EXPECT_EQ(rknn_create_mem2(matmul.ctx(), 4096, 0x100), nullptr);
    EXPECT_EQ(rknn_create_mem(matmul.ctx(), 0), nullptr);
    rknn_tensor_mem* without = rknn_create_mem2(0, 4096, RKNN_MEM_FLAG_ALLOC_NO_CONTEXT);
    ASSERT_NE(without, nullptr);
    EXPECT_EQ(rknn_destroy_mem(0, without), 0);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), 0), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), 4), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), nullptr, 1), RKNN_ERR_PARAM_INVALID);
}

TEST_F(MemoryTest, OrderOfDestruction) {
    rknn_matmul_info info = info_of(kI8I32, kShape);
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    Matmul other(kI8I32, kShape);
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    rknn_tensor_mem* mem = rknn_create_mem(ctx, 4096);
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(rknn_matmul_destroy(ctx), 0); }),
                ::testing::HasSubstr("1 memories made with this context are still alive"));
    EXPECT_EQ(rknn_destroy_mem(ctx, mem), RKNN_ERR_CTX_INVALID);
    EXPECT_EQ(rknn_destroy_mem(other.ctx(), mem), 0);
}

TEST_F(MemoryTest, OrderOfDestructionStrict) {
    set("RKNNSIM_DESTROY", "strict");
    rknn_matmul_info info = info_of(kI8I32, kShape);
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    rknn_tensor_mem* mem = rknn_create_mem(ctx, 4096);
    EXPECT_EQ(rknn_matmul_destroy(ctx), RKNN_ERR_FAIL);
    EXPECT_EQ(rknn_destroy_mem(ctx, mem), 0);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
}

TEST_F(MemoryTest, NothingIsWrittenBehindC) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* c = rknn_create_mem(matmul.ctx(), 2 * matmul.attr().C.size);
    std::memset(c->virt_addr, 0xAA, c->size);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), c, &matmul.attr().C), 0);
    EXPECT_EQ(static_cast<uint8_t*>(c->virt_addr)[0], 0xAA);  // C is as it was until the run
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.run(), 0);
    for (uint32_t i = matmul.attr().C.size; i < c->size; ++i)
        ASSERT_EQ(static_cast<uint8_t*>(c->virt_addr)[i], 0xAA);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), c), 0);
}

TEST_F(MemoryTest, DescriptorsAndCountersComeBackToWhereTheyWere) {
    const auto open_descriptors = [] {
        int count = 0;
        for (int fd = 0; fd < 1024; ++fd)
            count += fcntl(fd, F_GETFD) != -1 ? 1 : 0;
        return count;
    };
    const int before = open_descriptors();
    for (int i = 0; i < 20; ++i) {
        Matmul matmul(kI8I32, kShape);
        matmul.compute(first_);
        rknnsim_live_counts live;
        ASSERT_EQ(rknnsim_live(&live), 0);
        EXPECT_EQ(live.contexts, 1U);
        EXPECT_EQ(live.memories, 3U);
        EXPECT_EQ(live.bytes, 2U * 4096 + 8192);  // A and C in a page each, B in two
        EXPECT_EQ(live.runs, static_cast<uint64_t>(i) + 1);
        EXPECT_EQ(live.macs, (static_cast<uint64_t>(i) + 1) * 3 * 96 * 64);
    }
    EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace rknnsim_test
