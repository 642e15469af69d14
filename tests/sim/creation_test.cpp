// SPDX-License-Identifier: MIT
// What creation accepts, refuses and reports: sections D.1, D.2, D.5, D.7, D.8 and D.9 of the contract.
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class CreationTest : public SimTest {
  protected:
    // The code of creating (and destroying) a context.
    static int create(rknn_matmul_info info) {
        rknn_matmul_ctx ctx = 0;
        rknn_matmul_io_attr attr;
        const int code = rknn_matmul_create(&ctx, &info, &attr);
        if (code == 0) {
            EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
        }
        return code;
    }
    static int create(int type, Shape shape, int b_layout = kBNative, int ac_layout = 1) {
        return create(info_of(type, shape, b_layout, ac_layout));
    }
    static std::vector<uint32_t> dims(const rknn_matmul_tensor_attr& attr) {
        return {attr.dims, attr.dims + attr.n_dims};
    }
};

// D.1
TEST_F(CreationTest, D1_OnlyTheChipsTypesAreAccepted) {
    for (const int type : {1, 2, 3, 4, 10})
        EXPECT_EQ(create(type, {3, 64, 128}), 0) << type;
    for (const int type : {0, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, -1, 1000})
        EXPECT_EQ(create(type, {3, 64, 128}), RKNN_ERR_PARAM_INVALID) << type;
}

// D.2
TEST_F(CreationTest, D2_MisalignedShapesAreRefusedNotPadded) {
    EXPECT_EQ(create(kI8I32, {1, 33, 64}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32, 48}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kF16F32, {1, 32, 48}), 0);  // fp16: N in sixteens
    EXPECT_EQ(create(kF16F32, {1, 32, 24}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kF16F32, {1, 48, 16}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI4I16, {1, 32, 96}), RKNN_ERR_PARAM_INVALID);  // int4: N in 64s
    EXPECT_EQ(create(kI4I16, {1, 32, 192}), 0);
    EXPECT_EQ(create(kI8I32, {0, 32, 32}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 0, 32}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32, -32}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(stderr_of([] {
                  create(kI8I32, {1, 33, 64});
              }),
              "rknnsim: error: rknn_matmul_create: K=33 must be a multiple of 32\n");
}

TEST_F(CreationTest, LimitsAreSettings) {
    on_default_board();
    EXPECT_EQ(create(kI8I32, {4096, 32768, 16384}), 0);
    EXPECT_EQ(create(kI8I32, {1 << 20, 32, 32}), 0);
    EXPECT_EQ(create(kI8I32, {1, 32, 1 << 20}), 0);
    EXPECT_EQ(create(kI8I32, {(1 << 20) + 1, 32, 32}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32, (1 << 20) + 32}), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32768 + 32, 32}), RKNN_ERR_PARAM_INVALID);
    set("RKNNSIM_K_MAX", "65536");
    EXPECT_EQ(create(kI8I32, {4096, 65536, 16384}), 0);
}

TEST_F(CreationTest, LayoutsAndTheirSettings) {
    on_default_board();
    EXPECT_EQ(create(kI8I32, {1, 32, 32}, kBTransposed), 0);
    EXPECT_EQ(create(kI8I8, {1, 32, 32}, kBTransposed), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI4I16, {1, 32, 64}, kBNormal), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32, 32}, 3), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I32, {1, 32, 32}, kBNative, 2), RKNN_ERR_PARAM_INVALID);
    set("RKNNSIM_TP_NORM_TYPES", "1,3");
    EXPECT_EQ(create(kI8I32, {1, 32, 32}, kBTransposed), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(kI8I8, {1, 32, 32}, kBTransposed), 0);
    set("RKNNSIM_INT4_NORMAL_B", "allow");
    EXPECT_EQ(create(kI4I16, {1, 32, 64}, kBNormal), 0);
}

TEST_F(CreationTest, BadArguments) {
    rknn_matmul_info info = info_of(kI8I32, {1, 32, 32});
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_io_attr attr;
    EXPECT_EQ(rknn_matmul_create(nullptr, &info, &attr), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_create(&ctx, nullptr, &attr), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_create(&ctx, &info, nullptr), RKNN_ERR_PARAM_INVALID);
    info.iommu_domain_id = 16;
    EXPECT_EQ(create(info), RKNN_ERR_PARAM_INVALID);
    info.iommu_domain_id = -1;
    EXPECT_EQ(create(info), RKNN_ERR_PARAM_INVALID);
    info.iommu_domain_id = 15;
    EXPECT_EQ(create(info), 0);
    info.AC_quant_type = 1;
    EXPECT_EQ(create(info), RKNN_ERR_PARAM_INVALID);
}

// D.9 and the table of layouts: what io_attr reports.
TEST_F(CreationTest, D9_AttributesGiveTheSizeOfEveryBuffer) {
    Matmul native(kI8I32, {3, 64, 96});
    EXPECT_STREQ(native.attr().A.name, "A");
    EXPECT_STREQ(native.attr().B.name, "B");
    EXPECT_STREQ(native.attr().C.name, "C");
    EXPECT_THAT(dims(native.attr().A), ElementsAre(4, 3, 16));
    EXPECT_THAT(dims(native.attr().B), ElementsAre(3, 2, 32, 32));
    EXPECT_THAT(dims(native.attr().C), ElementsAre(24, 3, 4));
    EXPECT_EQ(native.attr().A.size, 3U * 64);
    EXPECT_EQ(native.attr().B.size, 64U * 96);
    EXPECT_EQ(native.attr().C.size, 3U * 96 * 4);
    EXPECT_EQ(native.attr().A.type, 2);
    EXPECT_EQ(native.attr().C.type, 6);

    Matmul half(kF16F16, {5, 96, 48});
    EXPECT_THAT(dims(half.attr().A), ElementsAre(12, 5, 8));
    EXPECT_THAT(dims(half.attr().B), ElementsAre(3, 3, 16, 32));
    EXPECT_THAT(dims(half.attr().C), ElementsAre(6, 5, 8));
    EXPECT_EQ(half.attr().B.size, 96U * 48 * 2);

    Matmul four(kI4I16, {5, 96, 128});
    EXPECT_THAT(dims(four.attr().A), ElementsAre(3, 5, 32));
    EXPECT_THAT(dims(four.attr().B), ElementsAre(2, 3, 64, 32));
    EXPECT_EQ(four.attr().A.size, 5U * 96 / 2);
    EXPECT_EQ(four.attr().A.type, 10);
    EXPECT_EQ(four.attr().C.type, 4);

    Matmul normal(kF16F32, {5, 96, 48}, kBNormal, 0);
    EXPECT_THAT(dims(normal.attr().A), ElementsAre(5, 96));
    EXPECT_THAT(dims(normal.attr().B), ElementsAre(96, 48));
    EXPECT_THAT(dims(normal.attr().C), ElementsAre(5, 48));
    EXPECT_EQ(normal.attr().C.type, 0);
    Matmul transposed(kF16F32, {5, 96, 48}, kBTransposed, 0);
    EXPECT_THAT(dims(transposed.attr().B), ElementsAre(48, 96));
}

// D.5
TEST_F(CreationTest, D5_SeveralCoresAreRefusedAndFallBackToOne) {
    Matmul matmul(kI8I32, {1, 32, 64});
    for (const int mask : {0, 1, 2, 4})
        EXPECT_EQ(stderr_of([&] { EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), mask), 0); }), "");
    for (const int mask : {3, 7, 0xffff}) {
        const std::string error =
            stderr_of([&] { EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), mask), RKNN_ERR_FAIL); });
        EXPECT_THAT(error, HasSubstr("falls back to AUTO: one matmul runs on one core"));
        EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1);
    }
    for (const int mask : {5, 6, 8, -1})
        EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), mask), RKNN_ERR_PARAM_INVALID) << mask;
    // The context goes on, on any core.
    const Operands operands = random_operands(kI8I32, {1, 32, 64}, 3);
    EXPECT_EQ(matmul.compute(operands), expected(operands, {1, 32, 64}));
}

TEST_F(CreationTest, SeveralCoresMayFallBackWithoutAnError) {
    set("RKNNSIM_CORE_MASK", "auto");
    Matmul matmul(kI8I32, {1, 32, 64});
    const std::string warning = stderr_of([&] {
        for (const int mask : {3, 7, 0xffff, 7})
            EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), mask), 0);
    });
    EXPECT_THAT(warning, StartsWith("rknnsim: warning: rknn_matmul_set_core_mask: core mask 0x3 falls back"));
    EXPECT_EQ(std::count(warning.begin(), warning.end(), '\n'), 1);
}

// D.7
TEST_F(CreationTest, D7_PerChannelAndPerGroupGiveZerosOrAreRefused) {
    on_default_board();
    const Shape shape{2, 64, 96};
    rknn_matmul_info info = info_of(kI8I32, shape);
    for (const int quant : {1, 3, 4, 5}) {
        info.B_quant_type = static_cast<int16_t>(quant);
        EXPECT_EQ(create(info), RKNN_ERR_PARAM_INVALID) << quant;
    }
    info.B_quant_type = 2;
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_io_attr attr;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    rknn_tensor_mem* mem[3] = {rknn_create_mem(ctx, attr.A.size), rknn_create_mem(ctx, attr.B.size),
                               rknn_create_mem(ctx, attr.C.size)};
    for (rknn_tensor_mem* m : mem)
        std::memset(m->virt_addr, 1, m->size);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, mem[0], &attr.A), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, mem[1], &attr.B), 0);
    EXPECT_EQ(rknn_matmul_set_io_mem(ctx, mem[2], &attr.C), 0);
    EXPECT_EQ(rknn_matmul_run(ctx), 0);
    for (int i = 0; i < shape.M * shape.N; ++i)
        ASSERT_EQ(static_cast<int32_t*>(mem[2]->virt_addr)[i], 0);
    for (rknn_tensor_mem* m : mem)
        EXPECT_EQ(rknn_destroy_mem(ctx, m), 0);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);

    rknn_matmul_info group = info_of(9, shape);
    group.B_quant_type = 4;
    group.group_size = 32;
    EXPECT_EQ(create(group), 0);
    set("RKNNSIM_QUANT", "reject");
    EXPECT_EQ(create(info), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(create(group), RKNN_ERR_PARAM_INVALID);
}

// Its program sees no failure, so one line says what comes of it.
TEST_F(CreationTest, D7_WhoGetsZerosIsTold) {
    on_default_board();
    rknn_matmul_info channel = info_of(kI8I8, {2, 64, 96});
    channel.B_quant_type = 2;
    rknn_matmul_info group = info_of(9, {2, 64, 96});
    group.B_quant_type = 4;
    group.group_size = 32;
    EXPECT_THAT(
        stderr_of([&] { EXPECT_EQ(create(channel), 0); }),
        MatchesRegex("rknnsim: warning: rknn_matmul_create: context 0x[0-9a-f]+ \\(type 3, M=2 K=64 "
                     "N=96\\): B_quant_type=2 is accepted, but all of C will be zeros, as on RK3588\n"));
    rknn_matmul_shape shapes[2] = {{2, 64, 96}, {1, 64, 96}};
    rknn_matmul_io_attr attrs[2];
    rknn_matmul_ctx ctx = 0;
    EXPECT_THAT(
        stderr_of([&] { EXPECT_EQ(rknn_matmul_create_dynamic_shape(&ctx, &group, 2, shapes, attrs), 0); }),
        AllOf(StartsWith("rknnsim: warning: rknn_matmul_create_dynamic_shape: "),
              HasSubstr("B_quant_type=4")));
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
    // What ends the process says so in the run.
    set("RKNNSIM_QUANT", "abort");
    EXPECT_EQ(stderr_of([&] { EXPECT_EQ(create(group), 0); }), "");
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(create(channel), 0); }), HasSubstr("B_quant_type=2"));
    set("RKNNSIM_QUANT", "zeros");
    EXPECT_EQ(stderr_of([] { EXPECT_EQ(create(kI8I8, {2, 64, 96}), 0); }), "");
}

// As the vendor's demo sets them: a scale for each group of K and each column, and no zero points.
TEST_F(CreationTest, D7_PerGroupTakesTheScalesOfB) {
    rknn_matmul_info info = info_of(9, {2, 128, 96});
    info.B_quant_type = 4;
    info.group_size = 64;
    on_default_board();
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_io_attr attr;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    std::vector<float> scales(128 / 64 * 96, 0.0001F);
    std::vector<int32_t> zeros(scales.size());
    rknn_quant_params params{};
    params.name[0] = 'B';
    params.scale = scales.data();
    params.scale_len = static_cast<int32_t>(scales.size());
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), 0);
    params.zp = zeros.data();
    params.zp_len = params.scale_len;
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), 0);
    zeros.back() = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), RKNN_ERR_PARAM_INVALID);
    zeros.back() = 0;
    params.zp_len = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), RKNN_ERR_PARAM_INVALID);
    params.zp = nullptr;
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), RKNN_ERR_PARAM_INVALID);
    params.zp_len = 0;
    params.scale_len = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), RKNN_ERR_PARAM_INVALID);
    params.scale_len = static_cast<int32_t>(scales.size());
    params.name[0] = 'A';
    EXPECT_EQ(rknn_matmul_set_quant_params(ctx, &params), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_matmul_destroy(ctx), 0);
    // Without groups zero points are given.
    Matmul matmul(kI8I8, {2, 64, 96});
    params.scale_len = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
}

// D.8
TEST_F(CreationTest, D8_QuantisationIsPerLayerWithoutZeroPoint) {
    Matmul matmul(kI8I8, {2, 64, 96});
    float scales[2] = {0.5F, 0.5F};
    int32_t zeros[2] = {0, 0};
    rknn_quant_params params{};
    params.name[0] = 'A';
    params.scale = scales;
    params.zp = zeros;
    params.scale_len = params.zp_len = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), 0);
    params.scale_len = params.zp_len = 2;
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
    params.scale_len = params.zp_len = 1;
    zeros[0] = 1;
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
    zeros[0] = 0;
    scales[0] = 0;
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
    scales[0] = 1;
    params.name[0] = 'D';
    EXPECT_EQ(rknn_matmul_set_quant_params(matmul.ctx(), &params), RKNN_ERR_PARAM_INVALID);
    params.name[0] = 'B';
    EXPECT_EQ(rknn_matmul_get_quant_params(matmul.ctx(), &params, scales), RKNN_ERR_PARAM_INVALID);
    Matmul half(kF16F32, {2, 64, 96});
    EXPECT_EQ(rknn_matmul_set_quant_params(half.ctx(), &params), RKNN_ERR_PARAM_INVALID);
}

TEST_F(CreationTest, HandlesAreChecked) {
    rknn_matmul_info info = info_of(kI8I32, {1, 32, 64});
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    ASSERT_EQ(rknn_matmul_create(&ctx, &info, &attr), 0);
    ASSERT_EQ(rknn_matmul_destroy(ctx), 0);
    for (const rknn_matmul_ctx bad : {ctx, rknn_matmul_ctx{0}, rknn_matmul_ctx{0x7fffffffffff}}) {
        EXPECT_EQ(rknn_matmul_run(bad), RKNN_ERR_CTX_INVALID);
        EXPECT_EQ(rknn_matmul_destroy(bad), RKNN_ERR_CTX_INVALID);
        EXPECT_EQ(rknn_matmul_set_core_mask(bad, 1), RKNN_ERR_CTX_INVALID);
        EXPECT_EQ(rknn_create_mem(bad, 4096), nullptr);
        char version[512];
        EXPECT_EQ(rknn_query(bad, 5, version, sizeof version), RKNN_ERR_CTX_INVALID);
    }
}

TEST_F(CreationTest, VersionNamesTheSimulator) {
    Matmul matmul(kI8I32, {1, 32, 64});
    rknn_sdk_version version;
    ASSERT_EQ(rknn_query(matmul.ctx(), 5, &version, sizeof version), 0);
    EXPECT_THAT(version.api_version, StartsWith("2.3.2 (rknnsim "));
    EXPECT_STREQ(version.drv_version, "0.9.8 (simulated)");
    EXPECT_EQ(rknn_query(matmul.ctx(), 5, &version, 100), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknn_query(matmul.ctx(), 0, &version, sizeof version), RKNN_ERR_PARAM_INVALID);
}

TEST_F(CreationTest, ABadSettingFailsEveryCallWithOneLine) {
    set("RKNNSIM_SHADOW", "half");
    rknn_matmul_info info = info_of(kI8I32, {1, 32, 64});
    rknn_matmul_io_attr attr;
    rknn_matmul_ctx ctx = 0;
    const std::string text = stderr_of([&] {
        EXPECT_EQ(rknn_matmul_create(&ctx, &info, &attr), RKNN_ERR_FAIL);
        EXPECT_EQ(rknn_matmul_create(&ctx, &info, &attr), RKNN_ERR_FAIL);
    });
    EXPECT_EQ(text,
              "rknnsim: error: settings: RKNNSIM_SHADOW is \"half\", but must be auto, lazy or full; every "
              "call will "
              "fail until it is put right\n");
    rknnsim_live_counts live;
    EXPECT_EQ(rknnsim_live(&live), RKNN_ERR_FAIL);
}

TEST_F(CreationTest, AnUnknownSettingIsReported) {
    set("RKNNSIM_SHADWO", "full");
    EXPECT_THAT(stderr_of([] { rknnsim_kernel(); }), HasSubstr("RKNNSIM_SHADWO is not a setting"));
}

TEST_F(CreationTest, TheKernelCanBeChosen) {
    for (const char* name : {"reference", "generic"}) {
        set("RKNNSIM_KERNEL", name);
        EXPECT_STREQ(rknnsim_kernel(), name);
        const Operands operands = random_operands(kI8I32, {3, 96, 64}, 5);
        Matmul matmul(kI8I32, {3, 96, 64});
        EXPECT_EQ(matmul.compute(operands), expected(operands, {3, 96, 64}));
    }
}

}  // namespace
}  // namespace rknnsim_test
