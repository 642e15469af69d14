// SPDX-License-Identifier: MIT
// The simulator's kernels against digests that are checked in: the same bits on every architecture and in
// every tier.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/kernels/tier.hpp"
#include "matrix/layout.hpp"
#include "support/golden.hpp"

namespace rknnsim {
namespace {

using rknpu2::test::Bytes;

struct Case {
    const char* name;
    MatmulType type;
    Rounding rounding = Rounding::kHalfEven;
    Int4Saturation saturation = Int4Saturation::kRun;
};
constexpr Case kCases[] = {
    {"int8", MatmulType::kI8I8I32},
    {"int8_int8", MatmulType::kI8I8I8},
    {"int8_int8_away", MatmulType::kI8I8I8, Rounding::kHalfAway},
    {"int8_int8_down", MatmulType::kI8I8I8, Rounding::kDown},
    {"fp16", MatmulType::kF16F16F32},
    {"fp16_fp16", MatmulType::kF16F16F16},
    {"int4", MatmulType::kI4I4I16},
    {"int4_segment", MatmulType::kI4I4I16, Rounding::kHalfEven, Int4Saturation::kSegment}};

struct Size {
    size_t M, K, groups;  // N in groups of kernels
};
constexpr Size kSizes[] = {{1, 32, 1},  {1, 576, 3},  {5, 96, 2},  {13, 288, 4},
                           {55, 64, 1}, {7, 2144, 1}, {2, 8224, 1}};

// Any bytes at all, or halves of ordinary size, so that both special values and rounding are met.
std::vector<uint8_t> operand(std::mt19937& random, size_t bytes, bool ordinary_halves) {
    std::vector<uint8_t> data(bytes);
    for (uint8_t& byte : data)
        byte = static_cast<uint8_t>(random());
    for (size_t i = 1; ordinary_halves && i < bytes; i += 2)
        data[i] = static_cast<uint8_t>((data[i] & 0x83U) | ((8 + random() % 8) << 2));
    return data;
}

void compute(const KernelTier& tier, const Case& c, const Size& size, bool ordinary, Bytes& out) {
    Job job;
    job.type = c.type;
    job.M = size.M;
    job.K = size.K;
    job.N = size.groups * rknpu2::kernel_group(input_type(c.type));
    job.rounding = c.rounding;
    job.int4_saturation = c.saturation;
    job.scale = 0.0021;
    std::mt19937 random(static_cast<unsigned>(size.M * 7919 + size.K + (ordinary ? 1 : 0)));
    const std::vector<uint8_t> a =
        operand(random, rknpu2::dtype_bytes(input_type(c.type), job.M * job.K), ordinary);
    const std::vector<uint8_t> b =
        operand(random, rknpu2::dtype_bytes(input_type(c.type), job.K * job.N), ordinary);
    std::vector<uint8_t> result(rknpu2::dtype_bytes(output_type(c.type), job.M * job.N));
    job.a = a.data();
    job.b = b.data();
    job.c = result.data();
    Scratch scratch;
    ASSERT_TRUE(tier.load_a(job, scratch));
    ASSERT_TRUE(tier.multiply(job, scratch));
    out.add(result.data(), result.size());
}

TEST(GoldenSimulator, BitsAreTheSameOnEveryArchitecture) {
    rknpu2::test::Golden golden(SIMULATOR_DIGESTS);
    std::vector<const KernelTier*> tiers = {&kReferenceTier, &kGenericTier};
    if (avx2_tier() != nullptr) tiers.push_back(avx2_tier());
    for (const Case& c : kCases) {
        for (const Size& size : kSizes) {
            for (const KernelTier* tier : tiers) {
                Bytes bytes;
                compute(*tier, c, size, false, bytes);
                if (is_float(c.type)) compute(*tier, c, size, true, bytes);
                golden.check(std::string(c.name) + " " + std::to_string(size.M) + "x" +
                                 std::to_string(size.K) + "x" + std::to_string(size.groups),
                             tier->name, bytes);
            }
        }
    }
    golden.finish();
}

}  // namespace
}  // namespace rknnsim
