// SPDX-License-Identifier: MIT
// Dynamic shapes, int4 packing and saturation (D.10), quantised output, faults, threads.
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using ::testing::HasSubstr;

class BehaviourTest : public SimTest {};

class Dynamic {
  public:
    Dynamic(std::vector<int> rows, int K, int N, Shape info_shape) {
        rknn_matmul_info info = info_of(kI8I32, info_shape);
        for (const int M : rows)
            shapes.push_back({M, K, N});
        attrs.resize(rows.size());
        created = rknn_matmul_create_dynamic_shape(&ctx, &info, static_cast<int>(rows.size()), shapes.data(),
                                                   attrs.data());
    }
    ~Dynamic() {
        if (created == 0) {
            EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
        }
    }
    Dynamic(const Dynamic&) = delete;
    Dynamic& operator=(const Dynamic&) = delete;

    std::vector<rknn_matmul_shape> shapes;
    std::vector<rknn_matmul_io_attr> attrs;
    rknn_matmul_ctx ctx = 0;
    int created = -1;
};

TEST_F(BehaviourTest, DynamicShapesShareB) {
    on_default_board();
    constexpr int kK = 96;
    constexpr int kN = 64;
    Dynamic dynamic({1, 7, 64}, kK, kN, {0, kK, kN});
    ASSERT_EQ(dynamic.created, 0);
    rknn_tensor_mem* a = rknn_create_mem(dynamic.ctx, dynamic.attrs[2].A.size);
    rknn_tensor_mem* b = rknn_create_mem(dynamic.ctx, dynamic.attrs[2].B.size);
    rknn_tensor_mem* c = rknn_create_mem(dynamic.ctx, dynamic.attrs[2].C.size);
    const Operands weights = random_operands(kI8I32, {1, kK, kN}, 9);
    for (int k = 0; k < kK; ++k) {
        for (int n = 0; n < kN; ++n)
            put(b->virt_addr, DType::kInt8, rknpu2::b_index_native(k, n, kK, kN, DType::kInt8),
                weights.b[static_cast<size_t>(k) * kN + n]);
    }
    EXPECT_EQ(rknn_matmul_set_io_mem(dynamic.ctx, b, &dynamic.attrs[0].B), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(dynamic.ctx, a, &dynamic.attrs[0].A),
              RKNN_ERR_PARAM_INVALID);  // no shape yet
    for (const size_t i : {1, 0, 2, 1}) {
        const Shape shape{dynamic.shapes[i].M, kK, kN};
        ASSERT_EQ(rknn_matmul_set_dynamic_shape(dynamic.ctx, &dynamic.shapes[i]), 0);
        EXPECT_NE(rknn_matmul_run(dynamic.ctx), 0);  // A and C are bound for another shape, or not at all
        Operands operands = random_operands(kI8I32, shape, 20 + static_cast<unsigned>(i));
        operands.b = weights.b;
        for (int m = 0; m < shape.M; ++m) {
            for (int k = 0; k < kK; ++k)
                put(a->virt_addr, DType::kInt8, rknpu2::a_index_native(m, k, shape.M, DType::kInt8),
                    operands.a[static_cast<size_t>(m) * kK + k]);
        }
        std::memset(c->virt_addr, 0xAA, c->size);
        EXPECT_EQ(rknn_matmul_set_io_mem(dynamic.ctx, a, &dynamic.attrs[i].A), 0);
        EXPECT_EQ(rknn_matmul_set_io_mem(dynamic.ctx, c, &dynamic.attrs[i].C), 0);
        const size_t other = i == 2 ? 0 : 2;
        EXPECT_EQ(rknn_matmul_set_io_mem(dynamic.ctx, a, &dynamic.attrs[other].A), RKNN_ERR_PARAM_INVALID);
        ASSERT_EQ(rknn_matmul_run(dynamic.ctx), 0);
        const std::vector<double> want = expected(operands, shape);
        for (int m = 0; m < shape.M; ++m) {
            for (int n = 0; n < kN; ++n)
                ASSERT_EQ(
                    get(c->virt_addr, DType::kInt32, rknpu2::c_index_native(m, n, shape.M, DType::kInt32)),
                    want[static_cast<size_t>(m) * kN + n]);
        }
        for (uint32_t at = dynamic.attrs[i].C.size; at < c->size; ++at)
            ASSERT_EQ(static_cast<uint8_t*>(c->virt_addr)[at], 0xAA);
    }
    for (rknn_tensor_mem* mem : {a, b, c})
        EXPECT_EQ(rknn_destroy_mem(dynamic.ctx, mem), 0);
}

TEST_F(BehaviourTest, DynamicShapesDifferInMOnly) {
    EXPECT_EQ(Dynamic({1, 2}, 96, 64, {0, 0, 0}).created, RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(Dynamic({}, 96, 64, {0, 96, 64}).created, RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(Dynamic(std::vector<int>(513, 1), 96, 64, {0, 96, 64}).created, RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(Dynamic(std::vector<int>(512, 1), 96, 64, {0, 96, 64}).created, 0);
    rknn_matmul_info info = info_of(kI8I32, {0, 96, 64});
    rknn_matmul_shape shapes[2] = {{1, 96, 64}, {1, 128, 64}};
    rknn_matmul_io_attr attrs[2];
    rknn_matmul_ctx ctx = 0;
    EXPECT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 2, shapes, attrs), RKNN_ERR_PARAM_INVALID);
    Matmul fixed(kI8I32, {1, 96, 64});
    EXPECT_EQ(rknn_matmul_set_dynamic_shape(fixed.ctx(), shapes), RKNN_ERR_PARAM_INVALID);
    Dynamic dynamic({1, 4}, 96, 64, {0, 96, 64});
    EXPECT_EQ(rknn_matmul_set_dynamic_shape(dynamic.ctx, &shapes[1]), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_set_dynamic_shape(dynamic.ctx, nullptr), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_run(dynamic.ctx), RKNN_ERR_FAIL);
}

// The vendor's demo lets K and N differ where B is transposed, and binds B again for each shape.
TEST_F(BehaviourTest, DynamicShapesOfTransposedBMayDifferInKAndN) {
    on_default_board();
    rknn_matmul_shape shapes[] = {{2, 64, 128}, {3, 96, 64}, {3, 96, 128}};
    rknn_matmul_info info = info_of(kI8I32, {3, 96, 128}, kBTransposed, 0);
    rknn_matmul_io_attr attrs[3];
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 3, shapes, attrs), 0);
    rknn_tensor_mem* a = rknn_create_mem(ctx, 3 * 96);
    rknn_tensor_mem* b = rknn_create_mem(ctx, 96 * 128);
    rknn_tensor_mem* c = rknn_create_mem(ctx, 3 * 128 * 4);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, b, &attrs[0].B), RKNN_ERR_PARAM_INVALID);  // no shape yet
    rknn_matmul_shape other{2, 64, 64};
    EXPECT_EQ(rknn_matmul_set_dynamic_shape(ctx, &other), RKNN_ERR_PARAM_INVALID);
    for (const size_t i : {0, 1, 2, 0}) {
        const auto [M, K, N] = shapes[i];
        EXPECT_EQ(attrs[i].A.size, static_cast<uint32_t>(M * K));
        EXPECT_EQ(attrs[i].B.dims[0], static_cast<uint32_t>(N));
        EXPECT_EQ(attrs[i].B.dims[1], static_cast<uint32_t>(K));
        EXPECT_EQ(attrs[i].C.size, static_cast<uint32_t>(M * N * 4));
        ASSERT_EQ(rknn_matmul_set_dynamic_shape(ctx, &shapes[i]), 0);
        EXPECT_NE(rknn_matmul_run(ctx), 0);  // what is bound is of another shape
        const Shape shape{M, K, N};
        const Operands operands = random_operands(kI8I32, shape, 60 + static_cast<unsigned>(i));
        for (int m = 0; m < M; ++m) {
            for (int k = 0; k < K; ++k)
                put(a->virt_addr, DType::kInt8, static_cast<size_t>(m * K + k), operands.a[m * K + k]);
        }
        for (int k = 0; k < K; ++k) {
            for (int n = 0; n < N; ++n)
                put(b->virt_addr, DType::kInt8, static_cast<size_t>(n * K + k), operands.b[k * N + n]);
        }
        EXPECT_EQ(rknn_matmul_set_io_mem(ctx, a, &attrs[i].A), 0);
        EXPECT_EQ(rknn_matmul_set_io_mem(ctx, c, &attrs[i].C), 0);
        EXPECT_EQ(rknn_matmul_run(ctx), RKNN_ERR_INPUT_INVALID);  // B of another K, or none
        EXPECT_EQ(rknn_matmul_set_io_mem(ctx, b, &attrs[i].B), 0);
        ASSERT_EQ(rknn_matmul_run(ctx), 0);
        const auto* got = static_cast<const int32_t*>(c->virt_addr);
        EXPECT_EQ(std::vector<double>(got, got + M * N), expected(operands, shape));
    }
    for (rknn_tensor_mem* mem : {a, b, c})
        EXPECT_EQ(rknn_destroy_mem(ctx, mem), 0);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
    info.B_layout = kBNative;
    EXPECT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 3, shapes, attrs), RKNN_ERR_PARAM_INVALID);
    set("RKNNSIM_DYNAMIC_SHAPES", "rows");
    info.B_layout = kBTransposed;
    EXPECT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 3, shapes, attrs), RKNN_ERR_PARAM_INVALID);
}

// The checker looks at no byte of an operand that was bound for a smaller shape: behind them is a guard page.
TEST_F(BehaviourTest, WhatIsBoundForASmallerShapeIsRefused) {
    rknn_matmul_shape shapes[] = {{1, 64, 64}, {1, 8192, 64}};
    rknn_matmul_info info = info_of(kI8I32, {1, 8192, 64}, kBTransposed, 0);
    rknn_matmul_io_attr attrs[2];
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 2, shapes, attrs), 0);
    rknn_tensor_mem* const a = rknn_create_mem(ctx, 8192);
    rknn_tensor_mem* const b = rknn_create_mem(ctx, 64 * 64);
    rknn_tensor_mem* const c = rknn_create_mem(ctx, 64 * 4);
    std::memset(a->virt_addr, 1, 8192);
    std::memset(b->virt_addr, 0, 64 * 64);
    ASSERT_EQ(rknn_matmul_set_dynamic_shape(ctx, &shapes[0]), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, b, &attrs[0].B), 0);
    ASSERT_EQ(rknn_matmul_set_dynamic_shape(ctx, &shapes[1]), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, a, &attrs[1].A), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, c, &attrs[1].C), 0);
    EXPECT_EQ(rknn_matmul_run(ctx), RKNN_ERR_INPUT_INVALID);
    for (rknn_tensor_mem* mem : {a, b, c})
        EXPECT_EQ(rknn_destroy_mem(ctx, mem), 0);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
}

TEST_F(BehaviourTest, DynamicInfoMayBeIgnored) {
    set("RKNNSIM_DYNAMIC_INFO", "ignore");
    EXPECT_EQ(Dynamic({1, 2}, 96, 64, {0, 0, 0}).created, 0);
}

// D.10: normal int4 B has neighbours in n in a byte, native B neighbours in k.
TEST_F(BehaviourTest, D10_Int4PacksAlongNInNormalLayout) {
    set("RKNNSIM_INT4_NORMAL_B", "allow");
    set("RKNNSIM_INT4_INPUT", "nibbles");
    const Shape shape{3, 64, 128};
    const Operands operands = random_operands(kI4I16, shape, 11);
    const std::vector<double> want = expected(operands, shape);
    Matmul normal(kI4I16, shape, kBNormal, 0);
    EXPECT_EQ(normal.compute(operands), want);
    Matmul native(kI4I16, shape);
    EXPECT_EQ(native.compute(operands), want);
    // The conversion function turns the one into the other.
    std::vector<std::byte> converted(native.attr().B.size);
    rknn_matmul_info info = info_of(kI4I16, shape);
    ASSERT_EQ(rknn_B_normal_layout_to_native_layout(normal.b()->virt_addr, converted.data(), shape.K, shape.N,
                                                    &info),
              0);
    EXPECT_EQ(std::memcmp(converted.data(), native.b()->virt_addr, converted.size()), 0);
}

TEST_F(BehaviourTest, LayoutConversionOfB) {
    for (const int type : {kI8I32, kF16F32}) {
        for (const int K : {96, 8192 + 64}) {
            const Shape shape{1, K, 64};
            const Operands operands = random_operands(type, shape, 12);
            Matmul normal(type, shape, kBNormal, 0);
            Matmul native(type, shape);
            normal.write_b(operands.b);
            native.write_b(operands.b);
            std::vector<std::byte> converted(native.attr().B.size);
            rknn_matmul_info info = info_of(type, shape);
            ASSERT_EQ(rknn_B_normal_layout_to_native_layout(normal.b()->virt_addr, converted.data(), shape.K,
                                                            shape.N, &info),
                      0);
            EXPECT_EQ(std::memcmp(converted.data(), native.b()->virt_addr, converted.size()), 0);
        }
    }
    rknn_matmul_info info = info_of(kI8I32, {1, 64, 64});
    char data[64 * 64];
    EXPECT_EQ(rknn_B_normal_layout_to_native_layout(data, data, 33, 64, &info), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_B_normal_layout_to_native_layout(nullptr, data, 64, 64, &info), RKNN_ERR_PARAM_INVALID);
}

// A byte for each value, as measured on a board; the vendor's demo hands in nibbles, for which the report
// "rknn_matmul_api_demo 10 1,64,128 1 is wrong" was filed.
TEST_F(BehaviourTest, LayoutConversionOfInt4TakesBytes) {
    const Shape shape{1, 64, 64};
    const Operands operands = random_operands(kI4I16, shape, 13);
    Matmul native(kI4I16, shape);
    native.write_b(operands.b);
    std::vector<int8_t> bytes(operands.b.begin(), operands.b.end());
    std::vector<std::byte> converted(native.attr().B.size);
    rknn_matmul_info info = info_of(kI4I16, shape);
    ASSERT_EQ(rknn_B_normal_layout_to_native_layout(bytes.data(), converted.data(), shape.K, shape.N, &info),
              0);
    EXPECT_EQ(std::memcmp(converted.data(), native.b()->virt_addr, converted.size()), 0);
}

TEST_F(BehaviourTest, Int4ClipsTheExactSumOfTheRun) {
    const Shape shape{1, 8192 + 1024, 64};
    Operands operands;
    operands.a.assign(static_cast<size_t>(shape.K), -8.0F);
    operands.b.assign(static_cast<size_t>(shape.K) * shape.N, -8.0F);
    for (int k = 8192; k < shape.K; ++k) {  // the second segment: -56 a product, -57344 in all
        for (int n = 0; n < shape.N; ++n)
            operands.b[static_cast<size_t>(k) * shape.N + n] = 7.0F;
    }
    {
        Matmul matmul(kI4I16, shape);
        EXPECT_EQ(matmul.compute(operands)[0], 32767.0);  // 524288 - 57344, clipped
    }
    set("RKNNSIM_INT4_SATURATE", "segment");
    Matmul matmul(kI4I16, shape);
    EXPECT_EQ(matmul.compute(operands)[0], -1.0);  // 32767 - 32768
}

TEST_F(BehaviourTest, Int8OutputIsScaledRoundedAndClipped) {
    const Shape shape{5, 64, 96};
    const Operands operands = random_operands(kI8I8, shape, 14);
    Matmul matmul(kI8I8, shape);
    int32_t zero = 0;
    const auto set_scale = [&](char name, float scale) {
        rknn_quant_params params{};
        params.name[0] = name;
        params.scale = &scale;
        params.zp = &zero;
        params.scale_len = params.zp_len = 1;
        ASSERT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), 0);
    };
    set_scale('A', 0.5F);
    set_scale('B', 0.25F);
    set_scale('C', 64.0F);
    const std::vector<double> got = matmul.compute(operands);
    const std::vector<double> exact = expected(operands, shape);
    for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(got[i], std::clamp(std::nearbyint(exact[i] / 512), -128.0, 127.0));
}

TEST_F(BehaviourTest, Float16OutputOverflowsToInfinity) {
    const Shape shape{1, 32, 16};
    Operands operands;
    operands.a.assign(32, 256.0F);
    operands.b.assign(32 * 16, 256.0F);
    Matmul matmul(kF16F16, shape);
    EXPECT_TRUE(std::isinf(matmul.compute(operands)[0]));
}

TEST_F(BehaviourTest, ContextsOfDifferentThreadsDoNotDisturbEachOther) {
    on_default_board();
    const Shape shape{9, 96, 160};
    const Operands shared = random_operands(kI8I32, shape, 30);
    Matmul owner(kI8I32, shape);
    owner.write_a(shared.a);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            Operands operands = random_operands(kI8I32, shape, 40 + t);
            operands.a = shared.a;
            Matmul matmul(kI8I32, shape);
            const std::vector<double> want = expected(operands, shape);
            matmul.write_b(operands.b);
            EXPECT_EQ(matmul.bind_b(), 0);
            EXPECT_EQ(matmul.bind_c(), 0);
            for (int i = 0; i < 50; ++i) {  // all three bind the same A
                ASSERT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), owner.a(), &matmul.attr().A), 0);
                ASSERT_EQ(matmul.run(), 0);
                ASSERT_EQ(matmul.read_c(), want);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
}

// Runs one context on two threads until they have met, or not for 100 rounds.
int meet(Matmul& matmul) {
    std::atomic<int> refused{0};
    for (int round = 0; round < 100 && refused == 0; ++round) {
        std::atomic<int> ready{0};
        const auto body = [&] {
            ++ready;
            while (ready < 2) {
            }
            const int code = matmul.run();
            EXPECT_TRUE(code == 0 || code == RKNN_ERR_FAIL);
            refused += code == 0 ? 0 : 1;
        };
        std::thread other(body);
        body();
        other.join();
    }
    return refused;
}

// A run takes longer than a thread's turn on a busy CPU, so that the other one comes while it lasts.
TEST_F(BehaviourTest, OneContextOnTwoThreadsIsAnError) {
    const Shape shape{1024, 2048, 1024};
    Matmul matmul(kI8I32, shape);
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.bind_c(), 0);
    EXPECT_GT(meet(matmul), 0);
}

TEST_F(BehaviourTest, OneContextOnTwoThreadsMayWaitInstead) {
    set("RKNNSIM_THREADS", "serialise");
    Matmul matmul(kI8I32, {16, 64, 96});
    EXPECT_EQ(matmul.bind_a(), 0);
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(matmul.bind_c(), 0);
    EXPECT_EQ(meet(matmul), 0);
}

}  // namespace
}  // namespace rknnsim_test
