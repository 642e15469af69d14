// SPDX-License-Identifier: MIT
// Shapes beyond what one task of the chip takes, which the runtime splits: rows about N, M, K and the number of
// contexts in docs/simulator-behaviours.csv. The shapes are those of programs that people run on boards.
#include <algorithm>
#include <cmath>

#include "api/rknnsim_time.h"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using ::testing::HasSubstr;

class LargeShapesTest : public SimTest {
  protected:
    // The product of one context, against plain arithmetic; nothing may be said about it.
    static void check(int type, Shape shape, int b_layout, int ac_layout) {
        SCOPED_TRACE(::testing::Message() << "type " << type << ", " << shape.M << "x" << shape.K << "x"
                                          << shape.N << ", B " << b_layout << ", A and C " << ac_layout);
        const Operands operands = random_operands(type, shape, 77);
        std::vector<double> got;
        const std::string said = stderr_of([&] {
            Matmul matmul(type, shape, b_layout, ac_layout);
            ASSERT_EQ(matmul.created(), 0);
            got = matmul.compute(operands);
        });
        EXPECT_EQ(said, "");
        const std::vector<double> want = expected(operands, shape);
        ASSERT_EQ(got.size(), want.size());
        size_t wrong = 0;
        for (size_t i = 0; i < got.size(); ++i)
            wrong += right(type, shape.K, got[i], want[i]) ? 0 : 1;
        EXPECT_EQ(wrong, 0U) << "of " << got.size();
    }

  private:
    static bool right(int type, int K, double got, double want) {
        switch (type) {
            case kI8I32:
                return got == want;
            case kI8I8:
                return got == std::clamp(want, -128.0, 127.0);
            case kI4I16:
                return got == std::clamp(want, -32768.0, 32767.0);
            default:  // products up to 4; half a unit in the last place of what C holds
                return std::abs(got - want) <=
                       K * 4 * 0x1p-19 + std::abs(want) * (type == kF16F16 ? 0x1p-11 : 0x1p-24);
        }
    }
};

// Every layout that the type takes.
struct Form {
    int type, b_layout, ac_layout;
};
std::vector<Form> forms() {
    std::vector<Form> all;
    for (const int type : {kF16F32, kI8I32, kI8I8, kF16F16, kI4I16}) {
        for (const int b_layout : {kBNormal, kBNative, kBTransposed}) {
            if (b_layout == kBTransposed && (type == kI8I8 || type == kI4I16)) continue;
            if (b_layout == kBNormal && type == kI4I16) continue;
            for (const int ac_layout : {0, 1})
                all.push_back({type, b_layout, ac_layout});
        }
    }
    return all;
}

// N of vocabularies: the vendor's model zoo, LLaMA 2 and 3, Qwen2.5.
class WideTest : public LargeShapesTest, public ::testing::WithParamInterface<int> {};
TEST_P(WideTest, EveryTypeAndLayoutIsRight) {
    for (const Form& form : forms())
        check(form.type, {2, 32, GetParam()}, form.b_layout, form.ac_layout);
}
INSTANTIATE_TEST_SUITE_P(Widths, WideTest, ::testing::Values(8256, 25600, 32000, 128256, 151936));

TEST_F(LargeShapesTest, ThreeThousandRowsAreRight) {
    for (const Form& form : forms())
        check(form.type, {3000, 64, 64}, form.b_layout, form.ac_layout);
    check(kI8I32, {3000, 64, 8192 + 64}, kBNative, 1);
    check(kI4I16, {3000, 64, 8192 + 64}, kBNative, 0);
}

// fp16 has been run up to this K on a board; B is in segments then.
TEST_F(LargeShapesTest, LongKIsRight) {
    on_default_board();
    for (const Form& form : forms())
        check(form.type, {3, 32768, 64}, form.b_layout, form.ac_layout);
}

TEST_F(LargeShapesTest, DynamicShapesAndTheConversionTakeThem) {
    constexpr int kK = 64;
    constexpr int kN = 25600;
    rknn_matmul_info info = info_of(kI8I32, {0, kK, kN});
    rknn_matmul_shape shapes[2] = {{1, kK, kN}, {3000, kK, kN}};
    rknn_matmul_io_attr attrs[2];
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &info, 2, shapes, attrs), 0);
    EXPECT_EQ(attrs[1].C.size, 3000U * kN * 4);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
    const Operands operands = random_operands(kI8I32, {1, kK, kN}, 5);
    const std::vector<int8_t> normal(operands.b.begin(), operands.b.end());
    std::vector<int8_t> native(normal.size());
    info.B_layout = kBNative;
    ASSERT_EQ(rknn_B_normal_layout_to_native_layout(const_cast<int8_t*>(normal.data()), native.data(), kK, kN,
                                                    &info),
              0);
    for (int n : {0, 8191, 8192, kN - 1}) {
        for (int k = 0; k < kK; ++k)
            ASSERT_EQ(native[rknpu2::b_index_native(k, n, kK, kN, DType::kInt8)], normal[k * kN + n]);
    }
}

// The size of an operand has 32 bits in its attribute.
TEST_F(LargeShapesTest, AnOperandOfFourGibibytesIsRefused) {
    rknn_matmul_info info = info_of(kI8I32, {8192, 32, 131072});
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(rknn_matmul_create(&ctx, &info, &attr), RKNN_ERR_PARAM_INVALID); }),
                HasSubstr("C has 4294967296 bytes, but an operand must be below 4 GiB"));
    info.M = 8191;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    EXPECT_EQ(attr.C.size, 8191U * 131072 * 4);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
}

// Virtual time goes on growing with the shape beyond the limits of a task. Published, int8 at M = 1, 2, 4 and
// 8: 20.0 ms each (rk-llama.cpp, native layouts).
TEST_F(LargeShapesTest, TimesAreSane) {
    const auto us = [](int type, Shape shape, int ac_layout = 1) {
        rknnsim_matmul matmul{type, shape.M, shape.K, shape.N, kBNative, ac_layout, 1, 0};
        rknnsim_run_time time{};
        EXPECT_EQ(rknnsim_predict(&matmul, &time), 0);
        return static_cast<double>(time.end_ns) / 1e3;
    };
    for (const int M : {1, 2, 4, 8})
        EXPECT_NEAR(us(kI8I32, {M, 2560, 87392}), 20000, 2000) << M;
    for (const int type : {kF16F32, kI8I32, kI8I8, kF16F16, kI4I16}) {
        const double narrow = us(type, {1, 2048, 8192});
        for (const int N : {16384, 25600, 32000, 87424, 128256, 151936}) {
            const double share = us(type, {1, 2048, N}) / narrow / (N / 8192.0);
            EXPECT_GT(share, 0.85) << type << " " << N;
            EXPECT_LT(share, 1.15) << type << " " << N;
        }
        const double share = us(type, {3000, 2048, 2048}) / us(type, {1500, 2048, 2048});
        EXPECT_GT(share, 1.8) << type;
        EXPECT_LT(share, 2.2) << type;
    }
}

// useful-transformers' Whisper tiny.en: fp16, normal layouts, a context kept for each matrix of each length,
// 193 in all; the encoder has 3000 and 1500 rows, the decoder's head 17296 columns.
TEST_F(LargeShapesTest, WhisperRunsAsItIs) {
    on_default_board();
    const Shape shapes[] = {{3000, 96, 64}, {1500, 64, 96}, {1, 96, 17296}, {1, 384, 384}};
    constexpr size_t kContexts = 193;
    const auto said = [&] {
        return stderr_of([&] {
            std::vector<std::unique_ptr<Matmul>> held;
            while (held.size() < kContexts) {
                held.push_back(std::make_unique<Matmul>(kF16F32, shapes[held.size() % 4], kBNative, 0));
                ASSERT_EQ(held.back()->created(), 0);
            }
            for (size_t i = 0; i < 4; ++i) {
                const Operands operands = random_operands(kF16F32, shapes[i], 90);
                const std::vector<double> want = expected(operands, shapes[i]);
                const std::vector<double> got = held[i]->compute(operands);
                for (size_t at = 0; at < want.size(); ++at)
                    ASSERT_NEAR(got[at], want[at], shapes[i].K * 4 * 0x1p-18) << i;
            }
        });
    };
    EXPECT_EQ(said(), "");  // with default settings
    set("RKNNSIM_CONTEXTS", "150");
    const std::string once = said();
    EXPECT_THAT(once, HasSubstr("rknnsim: check: rknn_matmul_run: [many-contexts] 193 contexts are alive, "
                                "more than 150"));
    EXPECT_EQ(std::count(once.begin(), once.end(), '\n'), 1) << once;
}

// rk-llama.cpp: output heads cut in three, int8 and int4 (rounded up to 64), native, one context a core bound
// to slices of one buffer.
TEST_F(LargeShapesTest, HeadsOfRkLlamaRunAsTheyAre) {
    for (const int type : {kI8I32, kI4I16, kF16F32}) {
        for (const int N : {29952, 42688, 50688, 87424}) {
            for (const int M : {1, 4})
                check(type, {M, 64, N}, kBNative, 1);
        }
    }
    check(kI8I32, {1, 64, 87392}, kBNative, 1);
}

TEST_F(LargeShapesTest, StrictLimitsAreSettings) {
    set("RKNNSIM_N_MAX", "8192");
    set("RKNNSIM_M_MAX", "2047");
    set("RKNNSIM_K_MAX", "10240");
    EXPECT_EQ(Matmul(kI8I32, {2047, 32, 8192}).created(), 0);
    EXPECT_EQ(Matmul(kI8I32, {1, 10240, 32}).created(), 0);
    EXPECT_EQ(Matmul(kI8I32, {2048, 32, 32}).created(), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(Matmul(kI8I32, {1, 10240 + 32, 32}).created(), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(Matmul(kI8I32, {1, 32, 8192 + 32}).created(), RKNN_ERR_PARAM_INVALID);
}

}  // namespace
}  // namespace rknnsim_test
