// SPDX-License-Identifier: MIT
// What the device sees after the CPU has written; sections D.3 and D.4 of the contract.
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

// What a program that only binds may rely on: the default board.
class StalenessTest : public TwoProductsTest {
  protected:
    void SetUp() override {
        TwoProductsTest::SetUp();
        on_default_board();
    }
};

// D.3
TEST_F(StalenessTest, D3_NormalLayoutsAreSnapshots) {
    Matmul matmul(kI8I32, kShape, kBNormal, 0);
    EXPECT_EQ(matmul.compute(first_), product(first_, first_));
    matmul.write_a(second_.a);
    matmul.write_b(second_.b);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));  // a sync does not convert
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(second_, first_));
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(second_, second_));
}

// A decoder binds its one row once and then only stores to it. The user guide says that it must bind again;
// one that was written for the RK3576 works without. For one row normal and native A are the same bytes.
TEST_F(StalenessTest, D3_NormalAMayBeReadByEachRun) {
    for (const Shape shape : {Shape{1, 96, 64}, Shape{3, 96, 64}}) {
        const Operands first = random_operands(kI8I32, shape, 6);
        const Operands second = random_operands(kI8I32, shape, 7);
        for (const char* reading : {"bind", "run"}) {
            set("RKNNSIM_NORMAL_A", reading);
            const bool by_run = std::string(reading) == "run";
            Matmul matmul(kI8I32, shape, kBNormal, 0);
            EXPECT_EQ(matmul.compute(first), expected(first, shape));
            matmul.write_a(second.a);
            const std::string said = stderr_of([&] { EXPECT_EQ(matmul.run(), 0); });
            EXPECT_EQ(matmul.read_c(), expected({by_run ? second.a : first.a, first.b}, shape));
            EXPECT_EQ(rknnsim_check_count("stale-input"), by_run ? 0U : 1U) << said;
        }
    }
}

// D.4
TEST_F(StalenessTest, D4_NativeAIsStaleUntilSyncedOrBoundAgain) {
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(first_), product(first_, first_));
    matmul.write_a(second_.a);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), RKNN_MEMORY_SYNC_FROM_DEVICE), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(second_, first_));
    matmul.write_a(first_.a);
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
}

TEST_F(StalenessTest, D4_NativeBIsStaleLikeA) {
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    matmul.write_b(second_.b);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, second_));
    matmul.write_b(first_.b);
    EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.b(), RKNN_MEMORY_SYNC_BIDIRECTIONAL), 0);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(first_, first_));
}

// Large weights have no copy unless asked for: the product is that of the new data, but never silently.
TEST_F(StalenessTest, D4_LargeNativeBIsStaleInFullShadowMode) {
    constexpr Shape kLarge{1, 1088, 1024};
    const Operands first = random_operands(kI8I32, kLarge, 3);
    const Operands second = random_operands(kI8I32, kLarge, 4);
    for (const char* shadow : {"auto", "lazy", "full"}) {
        set("RKNNSIM_SHADOW", shadow);
        Matmul matmul(kI8I32, kLarge);
        matmul.compute(first);
        EXPECT_EQ(rknnsim_check_count("missing-sync"), 0U);
        matmul.write_b(second.b);
        EXPECT_EQ(matmul.run(), 0);
        const bool copied = std::string(shadow) == "full";
        EXPECT_EQ(matmul.read_c(), expected({first.a, copied ? first.b : second.b}, kLarge)) << shadow;
        EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U) << shadow;
        EXPECT_EQ(rknn_mem_sync(matmul.ctx(), matmul.b(), RKNN_MEMORY_SYNC_TO_DEVICE), 0);
        EXPECT_EQ(matmul.run(), 0);
        EXPECT_EQ(matmul.read_c(), expected({first.a, second.b}, kLarge)) << shadow;
        EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U) << shadow;
    }
}

TEST_F(StalenessTest, D4_MemoryWithoutCacheMayNeverBeStale) {
    set("RKNNSIM_NON_CACHEABLE", "coherent");
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    rknn_tensor_mem* a = rknn_create_mem2(matmul.ctx(), matmul.attr().A.size, RKNN_FLAG_MEMORY_NON_CACHEABLE);
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), a, &matmul.attr().A), 0);
    matmul.write_a(second_.a);
    std::memcpy(a->virt_addr, matmul.a()->virt_addr, matmul.attr().A.size);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), product(second_, first_));
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), a), 0);
}

// What one matmul wrote, another reads without a sync: both are the device.
TEST_F(StalenessTest, D4_AResultCanBeTheNextInput) {
    const Shape one{4, 64, 96};
    const Shape two{4, 96, 32};
    Matmul producer(kF16F16, one);
    Matmul consumer(kF16F32, two);
    ASSERT_EQ(producer.attr().C.size, consumer.attr().A.size);
    ASSERT_EQ(rknn_matmul_set_io_mem(consumer.ctx(), producer.c(), &consumer.attr().A), 0);
    const Operands weights = random_operands(kF16F32, two, 4);
    consumer.write_b(weights.b);
    EXPECT_EQ(consumer.bind_b(), 0);
    EXPECT_EQ(consumer.bind_c(), 0);
    Operands next = weights;
    const std::vector<double> middle = producer.compute(random_operands(kF16F16, one, 3));
    for (size_t i = 0; i < middle.size(); ++i)
        next.a[i] = static_cast<float>(middle[i]);
    EXPECT_EQ(consumer.run(), 0);
    const std::vector<double> want = expected(next, two);
    const std::vector<double> got = consumer.read_c();
    for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-3 * (1 + std::abs(want[i])));
}

}  // namespace
}  // namespace rknnsim_test
