// SPDX-License-Identifier: MIT
// The checker: for each rule about data a program that breaks it, and one like it that does not.
#include "sim/checker_fixture.hpp"

namespace rknnsim_test {
namespace {

TEST_F(CheckerTest, MissingSync) {
    const auto program = [&](bool synced, bool of_a) {
        Matmul matmul(kI8I32, kShape);
        matmul.compute(first_);
        of_a ? matmul.write_a(second_.a) : matmul.write_b(second_.b);
        if (synced) {
            EXPECT_EQ(to_device(matmul, of_a ? matmul.a() : matmul.b()), 0);
        }
        return matmul.run();
    };
    for (const bool of_a : {true, false}) {
        expect_rule(
            "missing-sync",
            {"rknn_matmul_run", "context 0x", "M=3 K=96 N=64", of_a ? ": A was" : ": B was", "call mem_sync"},
            [&] { return program(false, of_a); }, [&] { return program(true, of_a); });
    }
}

// One changed element is enough, and storing the same data again is no change.
TEST_F(CheckerTest, MissingSyncSeesOneElement) {
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    matmul.write_a(first_.a);
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
    data_of(matmul.a())[287] ^= std::byte{1};
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
}

TEST_F(CheckerTest, StaleInput) {
    const auto program = [&](int layout, bool of_a, bool bound_again) {
        Matmul matmul(kI8I32, kShape, layout, 0);
        matmul.compute(first_);
        of_a ? matmul.write_a(second_.a) : matmul.write_b(second_.b);
        if (bound_again) {
            EXPECT_EQ(of_a ? matmul.bind_a() : matmul.bind_b(), 0);
        }
        return matmul.run();
    };
    for (const int layout : {kBNormal, kBTransposed}) {
        for (const bool of_a : {true, false}) {
            expect_rule(
                "stale-input", {"M=3 K=96 N=64", of_a ? ": A was" : ": B was", "call set_io_mem again"},
                [&] { return program(layout, of_a, false); }, [&] { return program(layout, of_a, true); });
        }
    }
}

TEST_F(CheckerTest, NeedlessSyncToTheDevice) {
    const auto program = [&](bool changed) {
        Matmul matmul(kI8I32, kShape);
        matmul.compute(first_);
        matmul.write_a(second_.a);
        EXPECT_EQ(to_device(matmul, matmul.a()), 0);
        if (changed) matmul.write_a(first_.a);
        const int code = to_device(matmul, matmul.a());
        EXPECT_EQ(matmul.run(), 0);
        return code;
    };
    expect_rule(
        "needless-sync", {"rknn_mem_sync", "memory of 288 bytes", "leave out"},
        [&] { return program(false); }, [&] { return program(true); });
}

// A sync of the same data after another call is not called needless: the program may have stored what was
// there, or tries again after a failure, or does not rely on what set_io_mem does.
TEST_F(CheckerTest, SyncForEachRunIsNotNeedless) {
    Matmul matmul(kI8I32, kShape);
    matmul.compute(first_);
    EXPECT_EQ(matmul.bind_a(), 0);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(to_device(matmul, matmul.a()), 0);
        EXPECT_EQ(matmul.run(), 0);
        EXPECT_EQ(from_device(matmul, matmul.c()), 0);
    }
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

TEST_F(CheckerTest, NeedlessSyncFromTheDevice) {
    const auto program = [&](bool second_run) {
        Matmul matmul(kI8I32, kShape);
        matmul.compute(first_);
        if (second_run) {
            EXPECT_EQ(matmul.run(), 0);
        }
        return from_device(matmul, matmul.c());
    };
    expect_rule(
        "needless-sync", {"memory of 768 bytes", "from the device"}, [&] { return program(false); },
        [&] { return program(true); });
}

// Only where such memory is coherent; else it needs its syncs like any other.
TEST_F(CheckerTest, NeedlessSyncOfMemoryWithoutCache) {
    set("RKNNSIM_NON_CACHEABLE", "coherent");
    const auto program = [&](uint64_t flags) {
        Matmul matmul(kI8I32, kShape);
        rknn_tensor_mem* mem = rknn_create_mem2(matmul.ctx(), 256, flags);
        const int code = to_device(matmul, mem);
        EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
        return code;
    };
    expect_rule(
        "needless-sync", {"RKNN_FLAG_MEMORY_NON_CACHEABLE"},
        [&] { return program(RKNN_FLAG_MEMORY_NON_CACHEABLE); },
        [&] { return program(RKNN_FLAG_MEMORY_CACHEABLE); });
    set("RKNNSIM_NON_CACHEABLE", "stale");
    EXPECT_EQ(program(RKNN_FLAG_MEMORY_NON_CACHEABLE), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
}

// A result that was never computed is poison, and cannot pass for an input.
TEST_F(CheckerTest, UncomputedInput) {
    constexpr Shape kChain{4, 64, 64};
    const Operands operands = random_operands(kF16F16, kChain, 5);
    const auto program = [&](bool computed) {
        Matmul first(kF16F16, kChain);
        Matmul second(kF16F16, kChain);
        first.write_a(operands.a);
        first.write_b(operands.b);
        second.write_b(operands.b);
        EXPECT_EQ(first.bind_a() | first.bind_b() | first.bind_c(), 0);
        if (computed) {
            EXPECT_EQ(first.run(), 0);
        }
        EXPECT_EQ(rknn_matmul_set_io_mem(second.ctx(), first.c(), &second.attr().A), 0);
        EXPECT_EQ(second.bind_b() | second.bind_c(), 0);
        return second.run();
    };
    expect_rule(
        "uncomputed", {"rknn_matmul_run", "never computed"}, [&] { return program(false); },
        [&] { return program(true); });
}

TEST_F(CheckerTest, UncomputedResult) {
    const auto program = [&](bool computed) {
        Matmul matmul(kI8I32, kShape);
        matmul.write_a(first_.a);
        matmul.write_b(first_.b);
        EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
        if (computed) {
            EXPECT_EQ(matmul.run(), 0);
        }
        return from_device(matmul, matmul.c());
    };
    expect_rule(
        "uncomputed", {"rknn_mem_sync", "no run has written it"}, [&] { return program(false); },
        [&] { return program(true); });
}

// Memory waits for a result that is not computed after all, and then serves a shorter one.
TEST_F(CheckerTest, WhatLiesBehindAShorterResultIsNobodys) {
    for (const bool bound_before : {false, true}) {
        Matmul longer(kI8I32, {kShape.M + 1, kShape.K, kShape.N});
        Matmul matmul(kI8I32, kShape);
        const auto bind = [&] {
            EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), longer.c(), &matmul.attr().C), 0);
        };
        matmul.write_a(first_.a);
        matmul.write_b(first_.b);
        EXPECT_EQ(matmul.bind_a() | matmul.bind_b(), 0);
        if (bound_before) bind();
        EXPECT_EQ(longer.bind_c(), 0);
        if (!bound_before) bind();
        EXPECT_EQ(matmul.run(), 0);
        EXPECT_EQ(from_device(matmul, longer.c()), 0);
        EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
        EXPECT_EQ(data_of(longer.c())[1023], std::byte{0xAA}) << "whoever reads it sees that";
    }
}

TEST_F(CheckerTest, PoisonUntilComputed) {
    for (const bool on : {true, false}) {
        set("RKNNSIM_CHECK", on ? "warn" : "off");
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(matmul.bind_c(), 0);
        const std::byte fill = on ? std::byte{0xAA} : std::byte{0};
        EXPECT_EQ(data_of(matmul.c())[0], fill);
        EXPECT_EQ(data_of(matmul.c())[767], fill);
        EXPECT_EQ(data_of(matmul.c())[768], std::byte{0});  // not the program's
        const std::vector<double> result = matmul.compute(first_);
        EXPECT_EQ(result, expected(first_, kShape));
        EXPECT_EQ(matmul.bind_c(), 0);  // a result is not poisoned
        EXPECT_EQ(matmul.read_c(), result);
    }
}

TEST_F(CheckerTest, PoisonSparesTheDataOfTheProgram) {
    Matmul matmul(kI8I32, kShape);
    data_of(matmul.c())[100] = std::byte{7};
    EXPECT_EQ(matmul.bind_c(), 0);
    EXPECT_EQ(data_of(matmul.c())[100], std::byte{7});
}

TEST_F(CheckerTest, Overrun) {
    const auto program = [&](size_t at) {
        Matmul matmul(kI8I32, kShape);
        EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
        data_of(matmul.a())[at] = std::byte{1};
        const int code = matmul.run();
        data_of(matmul.a())[at] = std::byte{0};
        return code;
    };
    set("RKNNSIM_CHECK", "warn");
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(program(288), 0); }), HasSubstr("[overrun] context 0x"));
    EXPECT_EQ(rknnsim_check_count("overrun"), 1U);
    set("RKNNSIM_CHECK", "strict");
    EXPECT_EQ(program(288), RKNN_ERR_FAIL);
    ASSERT_EQ(rknnsim_reset(), 0);
    stderr_of([&] { EXPECT_EQ(program(287), RKNN_ERR_FAIL); });  // A without a sync, but within its bounds
    EXPECT_EQ(rknnsim_check_count("overrun"), 0U);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
}

TEST_F(CheckerTest, OverrunIsSeenWhenTheMemoryGoes) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* mem = rknn_create_mem(matmul.ctx(), 100);
    data_of(mem)[100] = std::byte{1};
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), mem), 0);
    EXPECT_EQ(rknnsim_check_count("overrun"), 1U);
}

using CheckerDeathTest = CheckerTest;

TEST_F(CheckerDeathTest, GuardPagesAreBeforeAndBehind) {
    Matmul matmul(kI8I32, kShape);
    volatile std::byte* data = data_of(matmul.b());
    data[0] = std::byte{1};
    data[8191] = std::byte{0};  // up to the end of the page
    EXPECT_DEATH(data[8192] = std::byte{1}, "");
    EXPECT_DEATH(data[-1] = std::byte{1}, "");
}

TEST_F(CheckerTest, SmallBuffer) {
    Matmul matmul(kI8I32, kShape);
    rknn_tensor_mem* small = rknn_create_mem(matmul.ctx(), matmul.attr().B.size - 1);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), small, &matmul.attr().B), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknnsim_check_count("small-buffer"), 1U);
    EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), small), 0);
    EXPECT_EQ(matmul.bind_b(), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 1U);
}

TEST_F(CheckerTest, WrongDomain) {
    Matmul matmul(kI8I32, kShape, kBNative, 1, 3);
    Matmul same(kI8I32, kShape, kBNative, 1, 3);
    Matmul other(kI8I32, kShape, kBNative, 1, 4);
    EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), same.a(), &matmul.attr().A), 0);
    EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
    const std::string output = stderr_of([&] {
        EXPECT_EQ(rknn_matmul_set_io_mem(matmul.ctx(), other.a(), &matmul.attr().A), RKNN_ERR_PARAM_INVALID);
    });
    EXPECT_THAT(output, HasSubstr("[wrong-domain] context 0x"));
    EXPECT_EQ(rknnsim_check_count("wrong-domain"), 1U);
}

class PaddingTest : public CheckerTest, public ::testing::WithParamInterface<int> {};

// Declared: the program says that 70 of its 96 k are its own.
TEST_P(PaddingTest, DeclaredPaddingMustBeZero) {
    const int type = GetParam();
    for (const bool native : {true, false}) {
        if (type == kI4I16 && !native) continue;  // int4 has no normal B
        const auto program = [&](bool of_a, bool zero) {
            Operands operands = random_operands(type, kShape, 7);
            for (int k = 70; k < kShape.K; ++k) {
                for (int m = 0; m < kShape.M; ++m)
                    operands.a[static_cast<size_t>(m) * kShape.K + k] = 0;
                for (int n = 0; n < kShape.N; ++n)
                    operands.b[static_cast<size_t>(k) * kShape.N + n] = 0;
            }
            if (!zero && of_a) operands.a[kShape.K + 95] = 1;
            if (!zero && !of_a) operands.b[70 * kShape.N + 63] = 1;
            Matmul matmul(type, kShape, native ? kBNative : kBNormal, native ? 1 : 0);
            EXPECT_EQ(rknnsim_declare_k(matmul.ctx(), 70), 0);
            matmul.write_a(operands.a);
            matmul.write_b(operands.b);
            EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
            return matmul.run();
        };
        for (const bool of_a : {true, false}) {
            expect_rule(
                "padding", {of_a ? ": A is not zero" : ": B is not zero", "k=70", "K=96"},
                [&] { return program(of_a, false); }, [&] { return program(of_a, true); });
        }
    }
}
INSTANTIATE_TEST_SUITE_P(Types, PaddingTest, ::testing::Values(kF16F32, kI8I32, kI8I8, kF16F16, kI4I16));

// Not declared: weights whose last k are zero look padded. A guess, so never an error.
TEST_F(CheckerTest, PaddingThatIsGuessed) {
    set("RKNNSIM_CHECK", "strict");
    Operands operands = first_;
    for (int k = 90; k < kShape.K; ++k) {
        for (int n = 0; n < kShape.N; ++n)
            operands.b[static_cast<size_t>(k) * kShape.N + n] = 0;
    }
    operands.a[95] = 1;
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(operands), expected(operands, kShape));
    EXPECT_EQ(rknnsim_check_count("padding"), 1U);
    for (int m = 0; m < kShape.M; ++m) {
        for (int k = 90; k < kShape.K; ++k)
            operands.a[static_cast<size_t>(m) * kShape.K + k] = 0;
    }
    EXPECT_EQ(matmul.compute(operands), expected(operands, kShape));
    EXPECT_EQ(rknnsim_check_count("padding"), 1U);
}

// One column of weights, whose last one is zero by chance; the others are padding of N.
TEST_F(CheckerTest, AFewColumnsAreNotJudged) {
    Operands operands = first_;
    for (int k = 0; k < kShape.K; ++k) {
        for (int n = 7; n < kShape.N; ++n)
            operands.b[static_cast<size_t>(k) * kShape.N + n] = 0;
    }
    for (int n = 0; n < kShape.N; ++n)
        operands.b[static_cast<size_t>(kShape.K - 1) * kShape.N + n] = 0;
    operands.a[static_cast<size_t>(kShape.K) - 1] = 1;
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(matmul.compute(operands), expected(operands, kShape));
    EXPECT_EQ(rknnsim_check_count("padding"), 0U);
}

TEST_F(CheckerTest, DeclaredKIsChecked) {
    Matmul matmul(kI8I32, kShape);
    EXPECT_EQ(rknnsim_declare_k(matmul.ctx(), 0), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknnsim_declare_k(matmul.ctx(), 97), RKNN_ERR_PARAM_INVALID);
    EXPECT_EQ(rknnsim_declare_k(matmul.ctx(), 96), 0);
    EXPECT_EQ(rknnsim_declare_k(0, 96), RKNN_ERR_CTX_INVALID);
}

}  // namespace
}  // namespace rknnsim_test
