// SPDX-License-Identifier: MIT
// The checker's rules about habits that a board answers with wrong numbers and no error: inputs never
// written, results over inputs, conversions in place, int4 sums that clip, one changed byte.
#include "sim/checker_fixture.hpp"

namespace rknnsim_test {
namespace {

class HabitsTest : public CheckerTest {
  protected:
    // Runs `body` in both modes; whether it is told of once, by this rule alone, in a line with these words.
    // A hint never fails a call.
    template <typename Body>
    void expect_hint(const char* rule, const std::vector<const char*>& words, Body&& body) {
        for (const char* mode : {"warn", "strict"}) {
            SCOPED_TRACE(mode);
            set("RKNNSIM_CHECK", mode);
            const std::string output = stderr_of([&] { EXPECT_EQ(body(), 0); });
            EXPECT_EQ(rknnsim_check_count(rule), 1U) << output;
            EXPECT_EQ(rknnsim_check_count(nullptr), 1U) << output;
            for (const char* word : words)
                EXPECT_THAT(output, HasSubstr(word));
        }
        set("RKNNSIM_CHECK", "off");
        EXPECT_EQ(stderr_of([&] { EXPECT_EQ(body(), 0); }), "");
    }
    template <typename Body>
    void expect_nothing(Body&& body) {
        for (const char* mode : {"warn", "strict"}) {
            set("RKNNSIM_CHECK", mode);
            EXPECT_EQ(stderr_of([&] { EXPECT_EQ(body(), 0); }), "") << mode;
        }
    }
};

TEST_F(HabitsTest, InputsThatNobodyHasWritten) {
    for (const int layout : {0, 1}) {
        SCOPED_TRACE(layout);
        const auto program = [&](bool a, bool b) {
            Matmul matmul(kI8I32, kShape, layout, layout);
            if (a) matmul.write_a(first_.a);
            if (b) matmul.write_b(first_.b);
            return matmul.bind_a() | matmul.bind_b() | matmul.bind_c() | matmul.run();
        };
        expect_hint("unwritten", {"rknn_matmul_run", "A was never written"},
                    [&] { return program(false, true); });
        expect_hint("unwritten", {"B was never written"}, [&] { return program(true, false); });
        expect_nothing([&] { return program(true, true); });
    }
}

// Bound before there are data, and only then filled: by a sync, or by binding again.
TEST_F(HabitsTest, InputsThatAreWrittenLater) {
    expect_nothing([&] {
        Matmul matmul(kI8I32, kShape);
        int code = matmul.bind_a() | matmul.bind_b() | matmul.bind_c();
        matmul.write_a(first_.a);
        matmul.write_b(first_.b);
        code |= to_device(matmul, matmul.a()) | to_device(matmul, matmul.b()) | matmul.run();
        EXPECT_EQ(matmul.read_c(), expected(first_, kShape));
        return code;
    });
    expect_nothing([&] {  // zeros are data, too
        Matmul matmul(kI8I32, kShape, kBNormal, 0);
        int code = matmul.bind_a() | matmul.bind_b() | matmul.bind_c();
        std::memset(data_of(matmul.a()), 0, matmul.attr().A.size);
        matmul.write_b(first_.b);
        return code | matmul.bind_a() | matmul.bind_b() | matmul.run();
    });
    expect_nothing([&] {  // a result of another context
        Matmul producer(kI8I8, {3, 96, 96});
        Matmul consumer(kI8I32, kShape);
        int code = rknn_matmul_set_io_mem(consumer.ctx(), producer.c(), &consumer.attr().A);
        producer.compute(random_operands(kI8I8, {3, 96, 96}, 4));
        consumer.write_b(first_.b);
        return code | consumer.bind_b() | consumer.bind_c() | consumer.run();
    });
    // A slice beside data of others, in a page that they have written.
    expect_nothing([&] {
        Matmul matmul(kI8I32, kShape);
        matmul.write_a(first_.a);
        rknn_tensor_mem* slab = rknn_create_mem(matmul.ctx(), 8192);
        std::memset(data_of(slab), 1, 16);
        rknn_tensor_mem* b = rknn_create_mem_from_fd(matmul.ctx(), slab->fd, slab->virt_addr, 6144, 1024);
        int code = matmul.bind_a() | rknn_matmul_set_io_mem(matmul.ctx(), b, &matmul.attr().B);
        code |= matmul.bind_c() | matmul.run();
        return code | rknn_destroy_mem(matmul.ctx(), b) | rknn_destroy_mem(matmul.ctx(), slab);
    });
}

TEST_F(HabitsTest, AResultOverAnInput) {
    constexpr Shape kSquare{4, 64, 64};
    const Operands operands = random_operands(kI8I32, kSquare, 8);
    // One memory for both; or two slices of one buffer that overlap by a byte, or just not.
    for (const int layout : {0, 1}) {
        for (const bool is_b : {false, true}) {
            SCOPED_TRACE(::testing::Message() << layout << is_b);
            const auto program = [&](bool one_byte, bool apart) {
                Matmul matmul(kI8I32, kSquare, is_b ? kBNative : layout, layout);
                matmul.write_a(operands.a);
                matmul.write_b(operands.b);
                rknn_matmul_tensor_attr& attr = is_b ? matmul.attr().B : matmul.attr().A;
                rknn_tensor_mem* slab = rknn_create_mem(matmul.ctx(), 3 * 4096);
                const int at = static_cast<int>(attr.size) - (one_byte ? 16 : 0);
                rknn_tensor_mem* c =
                    rknn_create_mem_from_fd(matmul.ctx(), slab->fd, slab->virt_addr, matmul.attr().C.size,
                                            one_byte || apart ? at : 0);
                std::memcpy(data_of(slab), data_of(is_b ? matmul.b() : matmul.a()), attr.size);
                int code = is_b ? matmul.bind_a() : matmul.bind_b();
                code |= rknn_matmul_set_io_mem(matmul.ctx(), slab, &attr);
                code |= rknn_matmul_set_io_mem(matmul.ctx(), c, &matmul.attr().C);
                EXPECT_EQ(code, 0);
                code = matmul.run();
                EXPECT_EQ(rknn_destroy_mem(matmul.ctx(), c) | rknn_destroy_mem(matmul.ctx(), slab), 0);
                return code;
            };
            const char* name =
                is_b ? "B and C are bound to the same memory" : "A and C are bound to the same memory";
            expect_rule(
                "overlap", {"rknn_matmul_run", name}, [&] { return program(false, false); },
                [&] { return program(false, true); });
            expect_rule(
                "overlap", {name}, [&] { return program(true, false); },
                [&] { return program(false, true); });
        }
    }
}

TEST_F(HabitsTest, ConversionInPlace) {
    constexpr int kK = 64;
    constexpr int kN = 64;
    for (const int type : {kI8I32, kF16F32, kI4I16}) {
        const size_t bytes = type == kF16F32 ? 2 * kK * kN : kK * kN;  // int4: a byte for each value
        const size_t out = type == kI4I16 ? bytes / 2 : bytes;
        const ptrdiff_t one = type == kF16F32 ? 2 : 1;  // element
        const auto program = [&](ptrdiff_t shift) {
            std::vector<int8_t> memory(4 * bytes, 1);
            rknn_matmul_info info = info_of(type, {1, kK, kN});
            int8_t* from = memory.data() + bytes;
            return rknn_B_normal_layout_to_native_layout(from, from + shift, kK, kN, &info);
        };
        for (const ptrdiff_t shift :
             {ptrdiff_t{0}, static_cast<ptrdiff_t>(bytes) - one, one - static_cast<ptrdiff_t>(out)}) {
            expect_rule(
                "overlap", {"rknn_B_normal_layout_to_native_layout", "the same memory"},
                [&] { return program(shift); }, [&] { return program(static_cast<ptrdiff_t>(bytes)); });
        }
        expect_nothing([&] { return program(-static_cast<ptrdiff_t>(out)); });
    }
}

TEST_F(HabitsTest, ConversionOfNibblesWhereBytesAreRead) {
    const auto program = [](int8_t value) {
        std::vector<int8_t> from(64 * 64, 7);
        std::vector<int8_t> to(64 * 64 / 2);
        from[4000] = value;
        rknn_matmul_info info = info_of(kI4I16, {1, 64, 64});
        return rknn_B_normal_layout_to_native_layout(from.data(), to.data(), 64, 64, &info);
    };
    expect_hint("int4-input", {"1 of 4096 values of B_input are outside -8 to 7", "RKNNSIM_INT4_INPUT"},
                [&] { return program(8); });
    expect_hint("int4-input", {"1 of 4096"}, [&] { return program(-9); });
    expect_nothing([&] { return program(-8); });
    set("RKNNSIM_INT4_INPUT", "nibbles");
    expect_nothing([&] { return program(0x77); });
}

TEST_F(HabitsTest, Int4SumsThatClip) {
    const auto program = [](int K) {
        const Shape shape{2, K, 64};
        Operands operands;
        operands.a.assign(static_cast<size_t>(2 * K), -8.0F);
        operands.b.assign(static_cast<size_t>(K) * 64, -8.0F);
        Matmul matmul(kI4I16, shape);
        const double want = std::min(64.0 * K, 32767.0);
        EXPECT_EQ(matmul.compute(operands), std::vector<double>(2 * 64, want));
        return 0;
    };
    expect_hint("clipped", {"rknn_matmul_run", "128 of 128 sums did not fit 16 bits", "at most 480"},
                [&] { return program(512); });
    expect_nothing([&] { return program(480); });
}

// One byte in 16 MiB. Without a copy only samples are looked at; with one, or in strict mode, everything.
TEST_F(HabitsTest, OneChangedByteOfALargeB) {
    constexpr Shape kLarge{1, 4096, 4096};
    for (const int layout : {kBNormal, kBNative, kBTransposed}) {
        for (const char* shadow : {"auto", "full"}) {
            set("RKNNSIM_SHADOW", shadow);
            Matmul matmul(kI8I32, kLarge, layout, 1);
            std::memset(data_of(matmul.a()), 1, matmul.attr().A.size);
            std::memset(data_of(matmul.b()), 2, matmul.attr().B.size);
            EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c() | matmul.run(), 0);
            EXPECT_EQ(rknnsim_check_count(nullptr), 0U);
            data_of(matmul.b())[7654321] = std::byte{3};
            EXPECT_EQ(matmul.run(), 0);
            const char* rule = layout == kBNative ? "missing-sync" : "stale-input";
            EXPECT_EQ(rknnsim_check_count(rule), std::string(shadow) == "full" ? 1U : 0U) << layout << shadow;
            EXPECT_EQ(matmul.read_c()[0], 2.0 * 4096);
            EXPECT_EQ(matmul.bind_b(), 0);
            EXPECT_EQ(matmul.run(), 0);
            EXPECT_EQ(rknnsim_check_count(nullptr), std::string(shadow) == "full" ? 1U : 0U);
        }
    }
}

// B of up to 64 KiB has a copy by default: the product is of the old data, so every byte is compared.
TEST_F(HabitsTest, OneChangedByteOfASmallB) {
    constexpr Shape kSmall{1, 256, 256};
    Matmul matmul(kI8I32, kSmall);
    const Operands operands = random_operands(kI8I32, kSmall, 21);
    const std::vector<double> want = matmul.compute(operands);
    data_of(matmul.b())[31234] ^= std::byte{1};
    EXPECT_EQ(matmul.run(), 0);
    EXPECT_EQ(matmul.read_c(), want);
    EXPECT_EQ(rknnsim_check_count("missing-sync"), 1U);
}

}  // namespace
}  // namespace rknnsim_test
