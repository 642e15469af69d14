// SPDX-License-Identifier: MIT
// Every kernel tier gives the bits of the reference, on random shapes and hostile values.
#include "core/kernels/tier.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/kernels/blocked.hpp"
#include "core/kernels/convert_output.hpp"
#include "matrix/float16.hpp"

namespace rknnsim {
namespace {

using rknpu2::kernel_group;

constexpr MatmulType kTypes[] = {MatmulType::kI8I8I32, MatmulType::kI8I8I8, MatmulType::kF16F16F32,
                                 MatmulType::kF16F16F16, MatmulType::kI4I4I16};

struct Data {
    std::vector<uint8_t> a, b;
};

// Bytes are arbitrary; fp16 has either any bits at all, infinities and NaN included, or ordinary values.
Data random_data(const Job& job, bool hostile, std::mt19937& random) {
    Data data;
    data.a.resize(rknpu2::dtype_bytes(input_type(job.type), job.M * job.K));
    data.b.resize(rknpu2::dtype_bytes(input_type(job.type), job.K * job.N));
    for (std::vector<uint8_t>* bytes : {&data.a, &data.b}) {
        for (uint8_t& byte : *bytes)
            byte = static_cast<uint8_t>(random());
        if (!is_float(job.type) || hostile) continue;
        for (size_t i = 1; i < bytes->size(); i += 2)  // exponents 2^-7 .. 2^0
            (*bytes)[i] = static_cast<uint8_t>(((*bytes)[i] & 0x83U) | ((8 + random() % 8) << 2));
    }
    return data;
}

std::vector<uint8_t> compute(const KernelTier& tier, Job job, const Data& data, Scratch& scratch) {
    constexpr size_t kGuard = 64;
    const size_t bytes = rknpu2::dtype_bytes(output_type(job.type), job.M * job.N);
    std::vector<uint8_t> c(bytes + kGuard, 0xAA);
    job.a = data.a.data();
    job.b = data.b.data();
    job.c = c.data();
    EXPECT_TRUE(tier.load_a(job, scratch));
    job.a = nullptr;
    EXPECT_TRUE(tier.multiply(job, scratch));
    for (size_t i = bytes; i < c.size(); ++i)
        EXPECT_EQ(c[i], 0xAA) << tier.name << " wrote behind C";
    c.resize(bytes);
    return c;
}

void check(const Job& job, unsigned seed) {
    SCOPED_TRACE(::testing::Message() << "type " << static_cast<int>(job.type) << " M=" << job.M
                                      << " K=" << job.K << " N=" << job.N << " seed " << seed);
    std::mt19937 random(seed);
    const Data data = random_data(job, seed % 3 == 0, random);
    Scratch scratch;
    const std::vector<uint8_t> want = compute(kReferenceTier, job, data, scratch);
    EXPECT_TRUE(compute(kGenericTier, job, data, scratch) == want) << "generic";
    if (const KernelTier* avx2 = avx2_tier()) {
        EXPECT_TRUE(compute(*avx2, job, data, scratch) == want) << "avx2";
    }
}

Job job_of(MatmulType type, size_t M, size_t K, size_t N) {
    Job job;
    job.type = type;
    job.M = M;
    job.K = K;
    job.N = N;
    job.scale = 0.0021;
    return job;
}

TEST(Kernels, TiersAgreeOnRandomShapes) {
    std::mt19937 random(7);
    unsigned seed = 1;
    for (const MatmulType type : kTypes) {
        for (int i = 0; i < 24; ++i) {
            const size_t K = 32 * (1 + random() % 9);
            const size_t N = kernel_group(input_type(type)) * (1 + random() % 7);
            check(job_of(type, 1 + random() % 15, K, N), seed++);
        }
    }
}

TEST(Kernels, TiersAgreeBeyondTheBlockSizes) {
    unsigned seed = 1000;
    for (const MatmulType type : kTypes) {
        const size_t group = kernel_group(input_type(type));
        check(job_of(type, 199, 96, group), seed++);           // several blocks of rows
        check(job_of(type, 5, 2048 + 96, 2 * group), seed++);  // several chunks of K
        check(job_of(type, 1, 8192 + 1056, group), seed++);    // segments of K
        check(job_of(type, 4, 8192 + 32, group), seed++);
        check(job_of(type, 97, 64, 5 * group), seed++);
        check(job_of(type, 53, 1024 + 96, 3 * group), seed++);  // blocks of rows, each in chunks of K
    }
}

TEST(Kernels, TiersAgreeOnSaturationPerSegmentAndOnRoundings) {
    Job job = job_of(MatmulType::kI4I4I16, 3, 8192 + 512, 64);
    job.int4_saturation = Int4Saturation::kSegment;
    check(job, 2001);
    job = job_of(MatmulType::kI8I8I8, 3, 64, 32);
    for (const Rounding rounding : {Rounding::kHalfEven, Rounding::kHalfAway, Rounding::kDown}) {
        job.rounding = rounding;
        job.scale = 1.0 / 1024;
        check(job, 2002);
    }
}

// The clipped sums of four segments are added, and their sum is clipped once: what leaves 16 bits on the way
// may come back. Every tier also says how many sums were clipped.
TEST(Kernels, SegmentsOfInt4AreClippedThenAdded) {
    for (const size_t M : {1, 2, 5}) {
        Job job = job_of(MatmulType::kI4I4I16, M, 4 * 8192, 64);
        job.int4_saturation = Int4Saturation::kSegment;
        Data data;
        data.a.assign(M * job.K / 2, 0x77);  // 7
        data.b.assign(job.K * job.N / 2, 0x77);
        std::fill(data.b.begin() + static_cast<ptrdiff_t>(data.b.size() / 2), data.b.end(), 0x88);  // -8
        for (const KernelTier* tier : {&kReferenceTier, &kGenericTier, avx2_tier()}) {
            if (tier == nullptr) continue;
            uint64_t clipped = 5;
            job.clipped = &clipped;
            Scratch scratch;
            const std::vector<uint8_t> bytes = compute(*tier, job, data, scratch);
            std::vector<int16_t> c(M * job.N);
            std::memcpy(c.data(), bytes.data(), bytes.size());
            EXPECT_EQ(c, std::vector<int16_t>(c.size(), 2 * 32767 - 2 * 32768)) << tier->name;
            EXPECT_EQ(clipped, 5 + 4 * c.size()) << tier->name;
        }
    }
    // Nothing is clipped at the edges of 16 bits.
    Job job = job_of(MatmulType::kI4I4I16, 1, 512, 64);
    Data data{std::vector<uint8_t>(256, 0x88), std::vector<uint8_t>(512 * 32, 0x88)};  // 64 a product
    for (const KernelTier* tier : {&kReferenceTier, &kGenericTier, avx2_tier()}) {
        if (tier == nullptr) continue;
        for (const size_t K : {480, 512}) {
            uint64_t clipped = 0;
            job.K = K;
            job.clipped = &clipped;
            Scratch scratch;
            compute(*tier, job, data, scratch);
            EXPECT_EQ(clipped, K == 480 ? 0U : 64U) << tier->name;
        }
    }
}

TEST(Kernels, ZerosArePositive) {
    // Every product is -0; a sum that starts from +0 stays +0. 1, 5 and 6 rows take different loops.
    for (const size_t M : {1, 5, 6, 55}) {
        const Job job = job_of(MatmulType::kF16F16F32, M, 96, 48);
        Data data;
        data.a.assign(job.M * job.K * 2, 0);
        data.b.assign(job.K * job.N * 2, 0);
        for (size_t i = 1; i < data.a.size(); i += 2)
            data.a[i] = 0x80;  // -0
        Scratch scratch;
        const std::vector<uint8_t> zeros(job.M * job.N * 4, 0);
        EXPECT_TRUE(compute(kReferenceTier, job, data, scratch) == zeros) << M;
        EXPECT_TRUE(compute(kGenericTier, job, data, scratch) == zeros) << M;
        if (avx2_tier() != nullptr) {
            EXPECT_TRUE(compute(*avx2_tier(), job, data, scratch) == zeros) << M;
        }
    }
}

TEST(Kernels, AllHalvesWidenAlike) {
    // One row, one k different from zero: C is the widened half, in each tier.
    Scratch scratch;
    Job job = job_of(MatmulType::kF16F16F32, 1, 32, 16);
    Data data;
    data.a.assign(job.K * 2, 0);
    data.b.assign(job.K * job.N * 2, 0);
    const uint16_t one = 0x3C00;
    std::memcpy(data.a.data(), &one, sizeof one);
    for (uint32_t half = 0; half < 0x10000; half += job.N) {
        for (size_t n = 0; n < job.N; ++n) {
            const auto value = static_cast<uint16_t>(half + n);
            std::memcpy(data.b.data() + n * 64, &value, sizeof value);
        }
        const std::vector<uint8_t> want = compute(kReferenceTier, job, data, scratch);
        ASSERT_TRUE(compute(kGenericTier, job, data, scratch) == want) << half;
        if (avx2_tier() == nullptr) continue;
        ASSERT_TRUE(compute(*avx2_tier(), job, data, scratch) == want) << half;
    }
}

TEST(Kernels, Float16IsRoundedOnce) {
    // 1 + 2^-11 is a tie between two halves; a little more must go up even where fp32 cannot hold the little.
    EXPECT_EQ(round_to_float16(1.0 + 0x1p-11), 0x3C00);
    EXPECT_EQ(round_to_float16(1.0 + 0x1p-11 + 0x1p-40), 0x3C01);
    EXPECT_EQ(round_to_float16(-1.0 - 0x1p-11 - 0x1p-40), 0xBC01);
    EXPECT_EQ(round_to_float16(1.0 + 0x3p-11 - 0x1p-40), 0x3C01);
    EXPECT_EQ(round_to_float16(1.0 + 0x3p-11), 0x3C02);
    EXPECT_EQ(round_to_float16(65519.99999999), 0x7BFF);
    EXPECT_EQ(round_to_float16(65520.0), 0x7C00);
    EXPECT_EQ(round_to_float16(-1e300), 0xFC00);
    EXPECT_EQ(round_to_float16(std::numeric_limits<double>::quiet_NaN()), 0x7E00);
    EXPECT_EQ(round_to_float16(0x1p-25 + 0x1p-60), 0x0001);
    EXPECT_EQ(round_to_float16(0x1p-25), 0x0000);
    EXPECT_EQ(round_to_float16(1e-300), 0x0000);
}

TEST(Kernels, Int8IsRoundedAsAsked) {
    EXPECT_EQ(requantise(5, 0.5, Rounding::kHalfEven), 2);
    EXPECT_EQ(requantise(7, 0.5, Rounding::kHalfEven), 4);
    EXPECT_EQ(requantise(-5, 0.5, Rounding::kHalfEven), -2);
    EXPECT_EQ(requantise(5, 0.5, Rounding::kHalfAway), 3);
    EXPECT_EQ(requantise(-5, 0.5, Rounding::kHalfAway), -3);
    EXPECT_EQ(requantise(-5, 0.5, Rounding::kDown), -3);
    EXPECT_EQ(requantise(1 << 30, 1.0, Rounding::kHalfEven), 127);
    EXPECT_EQ(requantise(-(1 << 30), 1.0, Rounding::kHalfEven), -128);
}

TEST(Kernels, FloatSumsFollowTheWrittenRule) {
    // Groups of 32 in fp32: 2^24 + 1 is lost inside a group, but kept between groups.
    Job job = job_of(MatmulType::kF16F16F32, 1, 64, 16);
    std::vector<uint16_t> a(64, 0), b(64 * 16, 0);
    std::vector<float> c(16);
    const auto half = [](float x) { return rknpu2::float_to_float16(x); };
    a[0] = half(4096);
    a[1] = half(1);
    a[32] = half(1);
    for (size_t n = 0; n < 16; ++n) {
        b[n * 32] = half(4096);
        b[n * 32 + 1] = half(1);
        b[512 + n * 32] = half(1);
    }
    job.a = a.data();
    job.b = b.data();
    job.c = c.data();
    Scratch scratch;
    ASSERT_TRUE(kReferenceTier.load_a(job, scratch));
    ASSERT_TRUE(kReferenceTier.multiply(job, scratch));
    EXPECT_EQ(c[0], static_cast<float>(16777216.0 + 0.0 + 1.0));
    a[33] = half(1);
    for (size_t n = 0; n < 16; ++n)
        b[512 + n * 32 + 1] = half(1);
    ASSERT_TRUE(kReferenceTier.load_a(job, scratch));
    ASSERT_TRUE(kReferenceTier.multiply(job, scratch));
    EXPECT_EQ(c[0], 16777218.0F);  // the one of the first group is gone, the two of the second are not
}

TEST(Kernels, TiersAreFoundByName) {
    EXPECT_EQ(find_tier("reference"), &kReferenceTier);
    EXPECT_EQ(find_tier("generic"), &kGenericTier);
    EXPECT_EQ(find_tier("avx2"), avx2_tier());
    EXPECT_NE(find_tier("auto"), nullptr);
    EXPECT_EQ(find_tier("fast"), nullptr);
}

}  // namespace
}  // namespace rknnsim
